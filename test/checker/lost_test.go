package checker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/history"
)

// long makes the primary write for three seconds more before n2 takes over. n3
// follows it, and shows that at the times for which look says so.
func long(look func(t int64) bool) func(s *story) {
	return func(s *story) {
		s.end = 6500
		s.cut = func() {
			s.held["n3"] = s.held["n1"]
			s.look("n3", 1120)
			for t := int64(1200); t <= 4150; t += 295 {
				s.ack("n1", history.Set, "b", t, t+5)
				s.held["n3"] = s.held["n1"]
				if look(t) {
					s.look("n3", t+20)
				}
			}
			s.say("n1", 4160)
		}
	}
}

func always(int64) bool { return true }

func faulty(fs ...history.Fault) func(s *story) {
	return func(s *story) {
		long(always)(s)
		for _, f := range fs {
			f.Start, f.End = 2000*ms, 4000*ms
			s.r.Faults = append(s.r.Faults, f)
		}
	}
}

// replicatedRound is a round in which a commit waits for copies: the last write of n1,
// which nobody has, was not acknowledged.
func replicatedRound(s *story) {
	s.r.Confirm = history.Replicated
	s.cut = func() { s.lost.Outcome, s.lost.Err = history.Unknown, "disk I/O error (10)" }
}

// rowGone takes a row, of n2, from all that every node holds and reads.
func rowGone(s *story, r *history.Round) {
	everywhere(r, func(st *history.State) { delete(st.IDs, s.row2.ID); st.Rows-- })
	for _, o := range r.Ops {
		if o.Saw != nil && o.Start > s.row2.Start {
			o.Saw.Rows--
		}
	}
}

func wipe(nodes ...string) []history.Fault {
	return []history.Fault{{Name: "wipe", Start: 1590 * ms, End: 1600 * ms, Wiped: nodes}}
}

func TestLostReplicated(t *testing.T) {
	run(t, []plant{
		{name: "nothing of it was acknowledged", write: replicatedRound},
		{name: "the last write of a primary that went", rule: LostReplicated, write: func(s *story) { s.r.Confirm = history.Replicated }},
		{name: "which waits for a majority's answer only", write: func(s *story) { s.r.Confirm = history.Quorum }},
		{name: "a row, before one of the same grant", rule: LostReplicated, write: replicatedRound, alter: rowGone},
		{name: "a row, one node of three wiped", rule: LostReplicated, write: replicatedRound, alter: func(s *story, r *history.Round) {
			rowGone(s, r)
			r.Faults = append(wipe("n1"), wipe("n1")...)
		}},
		{name: "the last write, two nodes of three wiped", write: func(s *story) {
			s.r.Confirm = history.Replicated
			s.r.Faults = append(wipe("n1"), wipe("n3")...)
		}},
		{name: "a row, two nodes wiped, but the same grant kept a later one", rule: LostKnown, text: "same grant", write: func(s *story) {
			s.r.Confirm, s.r.Faults = history.Replicated, wipe("n1", "n3")
			s.begun = func() { s.stray("n1", history.Insert, "", 1026, 1028) }
		}},
		{name: "seen together with what came after it", rule: LostReplicated, write: func(s *story) {
			s.r.Confirm = history.Replicated
			s.over = func() {
				s.look("n3", 1500).Saw.Lists = map[string][]string{"l": {s.listed.ID, s.lost.ID}, "m": {s.listed2.ID}}
			}
		}},
		{name: "one that nobody acknowledged, and every node held", rule: LostKnown, text: "every node", write: func(s *story) {
			s.r.Confirm = history.Replicated
			s.cut = func() {
				s.lost.Outcome = history.Unknown
				for _, n := range []string{"n2", "n3"} {
					was := s.held[n]
					s.held[n] = s.held["n1"]
					s.look(n, 1120)
					s.held[n] = was
				}
			}
		}},
		{name: "a register's value that another replaced", write: func(s *story) {
			replicatedRound(s)
			s.over = func() { s.ack("n2", history.Set, "a", 1480, 1485) }
		}},
		{name: "a refused one", write: func(s *story) {
			replicatedRound(s)
			s.over = func() { refuse(s, "n3", history.Insert, "", 1480) }
		}},
		{name: "what is there in the end is not known", rule: NotBack, write: func(s *story) { s.r.Confirm = history.Replicated }, alter: func(s *story, r *history.Round) {
			r.Normal = 0
		}},
	})
}

// TestLostReplicatedOfFive: two of five are a minority.
func TestLostReplicatedOfFive(t *testing.T) {
	for wiped, want := range map[int]int{0: 1, 1: 1, 2: 1, 3: 0} {
		w := newWorld(5)
		w.r.Confirm = history.Replicated
		w.follow("n2", "n3", "n4", "n5")
		w.r.Faults = wipe(w.r.Nodes[:wiped]...)
		o := w.do("n1", history.Insert, "", 1010*ms, 1015*ms, history.Acked)
		w.promote("n2")
		found := Check(w.finish(1600*ms, 1700*ms, 2000*ms)).Anomalies
		require.Len(t, found, want, "%d wiped", wiped)
		if want > 0 {
			require.Equal(t, LostReplicated, found[0].Rule)
			require.Contains(t, found[0].Text, o.ID)
		}
	}
}

func TestLostKnown(t *testing.T) {
	run(t, []plant{
		{name: "before one of the same grant that is there", rule: LostKnown, text: "same grant", write: func(s *story) {
			s.begun = func() { s.stray("n1", history.Insert, "", 1026, 1028) }
		}},
		{name: "while that one was under way", write: func(s *story) {
			s.begun = func() { s.stray("n1", history.Insert, "", 1041, 1048) }
		}},
		{name: "before one of another grant", write: func(s *story) {
			s.cut = func() {
				s.promote("n3")
				s.say("n3", 1200)
				s.follow("n1", "n2")
				s.promote("n1")
				s.ack("n1", history.Insert, "", 1250, 1255)
				s.ask(1260)
				s.follow("n2")
			}
		}},
		{name: "under the last Open, held to the end", rule: LostKnown, text: "last one", alter: func(s *story, r *history.Round) {
			o := *s.row2
			o.ID, o.Start, o.End = "x", 1720*ms, 1725*ms
			r.Ops, r.End = append(r.Ops, o), 3000*ms
			s.say("n2", 2900)
		}},
		{name: "under the last Open, not seen to be held", alter: func(s *story, r *history.Round) {
			o := *s.row2
			o.ID, o.Start, o.End = "x", 1720*ms, 1725*ms
			r.Ops = append(r.Ops, o)
		}},
		{name: "under an Open that was not the last", alter: func(s *story, r *history.Round) {
			o := *s.row2
			o.ID, o.Start, o.End = "x", 1720*ms, 1725*ms
			r.Ops, r.End = append(r.Ops, o), 3000*ms
			s.promote("n3")
			s.say("n3", 2500)
			s.sayWritable("n2", 20, 2900) // which just begins a newer one
		}},
		{name: "seen on every node", rule: LostKnown, text: "every node", write: func(s *story) {
			s.cut = func() {
				for _, n := range []string{"n2", "n3"} {
					was := s.held[n]
					s.held[n] = s.held["n1"]
					s.look(n, 1120)
					s.held[n] = was
				}
			}
		}},
		{name: "seen on two of three", write: func(s *story) {
			s.cut = func() { s.held["n3"] = s.held["n1"]; s.look("n3", 1120) }
		}},
		{name: "held by two of three for long", rule: LostKnown, text: "majority", write: long(always)},
		{name: "but not for as long", write: long(func(t int64) bool { return t < 3900 })},
		{name: "but its node wrote no more", write: long(always), alter: func(s *story, r *history.Round) {
			for i := range r.Ops {
				if o := &r.Ops[i]; o.Start == 4150*ms {
					o.Outcome = history.Unknown
				}
			}
		}},
		{name: "but for a change of role", write: func(s *story) {
			long(func(t int64) bool {
				if t == 2675 {
					s.promote("n1")
					s.say("n1", t+10)
				}
				return true
			})(s)
		}},
		{name: "but for a second in between", write: long(func(t int64) bool { return t < 2000 || t > 2700 })},
		{name: "but without getting more", write: long(always), alter: func(s *story, r *history.Round) {
			for i := range r.Ops {
				if o := &r.Ops[i]; o.Node == "n3" && o.Saw != nil && o.Start > 1200*ms && o.Start < 4200*ms {
					o.Saw.Registers["b"] = ""
				}
			}
		}},
		{name: "though a third is stopped", rule: LostKnown, text: "majority", write: faulty(history.Fault{Stops: []string{"n2"}})},
		{name: "but for two faults", write: faulty(history.Fault{Stops: []string{"n2"}}, history.Fault{Cuts: true})},
		{name: "but for a full disk", write: faulty(history.Fault{Name: "disk full: litefence"})},
		{name: "held by one of three", write: long(func(int64) bool { return false }), alter: func(s *story, r *history.Round) {
			for i := range r.Ops {
				if r.Ops[i].Start == 1120*ms {
					r.Ops[i].Saw.Lists["l"] = r.Ops[i].Saw.Lists["l"][:1]
				}
			}
		}},
		{name: "seen together with what came after it", rule: LostKnown, text: "together", write: func(s *story) {
			s.over = func() {
				s.look("n3", 1500).Saw.Lists = map[string][]string{"l": {s.listed.ID, s.lost.ID}, "m": {s.listed2.ID}}
			}
		}},
		{name: "seen together with what began before it was acknowledged", write: func(s *story) {
			s.over = func() {
				s.lost.End = 1421 * ms
				s.look("n3", 1500).Saw.Lists = map[string][]string{"l": {s.listed.ID, s.lost.ID}, "m": {s.listed2.ID}}
			}
		}},
	})
}
