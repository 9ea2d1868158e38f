package checker

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/history"
)

// story is a round in which n1 writes, is cut off with a last write that nobody
// else has, and n2 takes over. Times are milliseconds. Tests add to it, while it
// is told or afterwards.
type story struct {
	*world
	set, listed, lost   *history.Op // on n1
	listed2, set2, row2 *history.Op // on n2

	begun, cut, over func() // called at 1090, 1120 and 1480
	end              int64
}

func newStory() *story {
	nothing := func() {}
	return &story{world: newWorld(3), begun: nothing, cut: nothing, over: nothing, end: 2000}
}

func (s *story) ack(node, kind, key string, from, to int64) *history.Op {
	return s.do(node, kind, key, from*ms, to*ms, history.Acked)
}

// stray is an acknowledged write that nobody has.
func (s *story) stray(node, kind, key string, from, to int64) *history.Op {
	was := s.held[node]
	defer func() { s.held[node] = was }()
	return s.ack(node, kind, key, from, to)
}

func (s *story) look(node string, t int64) *history.Op { return s.read(node, t*ms, (t+2)*ms) }

func (s *story) say(node string, t int64) { s.sample(node, t*ms, (t+1)*ms) }

func (s *story) sayWritable(node string, open uint64, t int64) {
	s.say(node, t)
	last := &s.r.Samples[len(s.r.Samples)-1]
	last.Writable, last.Open, last.Role = true, open, "primary"
}

func (s *story) ask(t int64) {
	for _, n := range s.r.Nodes {
		s.say(n, t)
	}
}

func (s *story) tell() *history.Round {
	s.follow("n2", "n3")
	s.ask(1000)
	s.set = s.ack("n1", history.Set, "a", 1010, 1015)
	s.listed = s.ack("n1", history.Append, "l", 1020, 1025)
	s.ack("n1", history.Insert, "", 1030, 1035)
	s.ack("n1", history.Transfer, "", 1040, 1045)
	s.follow("n2", "n3")
	for _, n := range s.r.Nodes {
		s.look(n, 1070)
	}
	s.begun()
	s.lost = s.ack("n1", history.Append, "l", 1100, 1105)
	s.look("n1", 1110)
	s.ask(1115)
	s.cut()
	t := s.end - 2000
	if s.at != "n2" {
		s.promote("n2")
	}
	s.ask(t + 1410)
	s.listed2 = s.ack("n2", history.Append, "m", t+1420, t+1425)
	s.set2 = s.ack("n2", history.Set, "a", t+1440, t+1445)
	s.row2 = s.ack("n2", history.Insert, "", t+1460, t+1465)
	s.look("n2", t+1470)
	s.over()
	s.follow("n1", "n3")
	for _, n := range s.r.Nodes {
		s.look(n, t+1650)
	}
	s.ask(t + 1660)
	s.ack("n2", history.Append, "l", t+1710, t+1715)
	s.ask(s.end - 10)
	return s.finish((t+1600)*ms, (t+1700)*ms, s.end*ms)
}

// plant is a story with something in it, and what is to be found.
type plant struct {
	name  string
	text  string                           // part of what is said
	rule  string                           // "" where it is legal
	write func(s *story)                   // before it is told
	alter func(s *story, r *history.Round) // afterwards
}

func run(t *testing.T, plants []plant) {
	t.Helper()
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			s := newStory()
			if p.write != nil {
				p.write(s)
			}
			r := s.tell()
			if p.alter != nil {
				p.alter(s, r)
			}
			found := Check(r).Anomalies
			if p.rule == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, p.rule, found[0].Rule, found[0].Text)
			require.Contains(t, found[0].Text, p.text)
			require.NotContains(t, found[0].Text, "%!")
			t.Log(found[0].Text)
		})
	}
}

// everywhere changes what every node holds in the end.
func everywhere(r *history.Round, change func(*history.State)) {
	for _, n := range r.Nodes {
		st := r.Final[n]
		change(&st)
		r.Final[n] = st
	}
}

// op returns the operation in r that o became.
func op(r *history.Round, o *history.Op) *history.Op {
	i := slices.IndexFunc(r.Ops, func(x history.Op) bool { return x.ID == o.ID && x.Kind == o.Kind && x.Start == o.Start })
	return &r.Ops[i]
}

func TestStoryIsLegal(t *testing.T) {
	run(t, []plant{{name: "as it is"}})
}
