package checker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/history"
)

func TestRound(t *testing.T) {
	run(t, []plant{
		{name: "never normal", rule: NotBack, alter: func(s *story, r *history.Round) {
			r.Normal = 0
			r.Final["n1"] = history.State{View: view(nil), Integrity: "ok"} // nobody says that it should be in step
		}},
		{name: "late", rule: NotBack, alter: func(s *story, r *history.Round) { r.Healed = r.Normal - 60001*ms }},
		{name: "just in time", alter: func(s *story, r *history.Round) { r.Healed = r.Normal - 60000*ms }},
		{name: "an error", rule: Round, alter: func(s *story, r *history.Round) { r.Errors = []string{"n3 does not start: 100 % of its disk"} }},
		{name: "a node missing", rule: Round, alter: func(s *story, r *history.Round) { delete(r.Final, "n2") }},
	})
}

// TestManyOfOneKind: a round that is broken all over stays small.
func TestManyOfOneKind(t *testing.T) {
	s := newStory()
	s.over = func() {
		for t := range int64(30) {
			refuse(s, "n3", history.Insert, "", 1480+3*t)
		}
	}
	r := s.tell()
	for _, o := range r.Ops {
		if o.Outcome == history.Refused {
			everywhere(r, func(st *history.State) { st.IDs[o.ID] = true })
		}
	}
	found := Check(r).Anomalies
	require.Len(t, found, each+1)
	require.Equal(t, "and 20 more", found[each].Text)
}

func TestFigures(t *testing.T) {
	s := newStory()
	s.over = func() {
		refuse(s, "n3", history.Insert, "", 1480)
		s.do("n2", history.Insert, "", 1480*ms, history.Forever, history.Unknown)
		s.failed("n3", "database is locked (5)", 1480, 1485)
	}
	s.r.Seed, s.r.Journal = 7, "wal"
	s.cut = func() { s.set.Commit, s.lost.Commit = s.set.End-3*ms, s.lost.End-4*ms }
	s.r.Faults = []history.Fault{
		{Name: "cut", Targets: []string{"n1"}, Cuts: true, Start: 1098 * ms, End: 1430 * ms},
		{Name: "stop", Targets: []string{"n3"}, Stops: []string{"n3"}, Start: 1450 * ms, End: 1600 * ms},
		{Name: "another's", Targets: []string{"n3"}, Cuts: true, Stops: []string{"n3"}, Start: 1099 * ms, End: 1430 * ms},
		{Name: "early", Targets: []string{"n1"}, Cuts: true, Start: 1020 * ms, End: 1050 * ms},
		{Name: "short", Targets: []string{"n1"}, Start: 1427 * ms, End: 1430 * ms},
	}
	r := s.tell()
	res := Check(r)
	require.Empty(t, res.Anomalies)
	require.Equal(t, history.RoundInfo{
		Seed: 7, Nodes: r.Nodes, Journal: "wal", Confirm: "lease", Subject: "litefence",
		Start: 1000 * ms, Healed: 1600 * ms, Normal: 1700 * ms, End: 2000 * ms,
	}, res.Round)
	require.Equal(t, []time.Duration{3 * time.Millisecond, 4 * time.Millisecond}, res.Commits, "of those whose COMMIT was seen")
	require.Equal(t, history.Counts{
		Acked: 9, Refused: 1, Unknown: 1, Reads: 8, ReadErrors: 1, Lost: 1, LostIDs: []string{s.lost.ID},
	}, res.Counts)
	require.Equal(t, []history.Epoch{
		{Node: "n1", First: 1015 * ms, Last: 1105 * ms, Acked: 5, LostHere: 1},
		{Node: "n2", First: 1425 * ms, Last: 1715 * ms, Acked: 4},
	}, res.Epochs)
	require.Equal(t, r.Faults, res.Faults)
	// From the lost write's answer to n2's first; from n2's row to normal.
	// The others end where the next one begins.
	var outages []int64
	for _, d := range res.Outages {
		outages = append(outages, d.Milliseconds())
	}
	require.Equal(t, []int64{320, 235, 320, 53, 18}, outages)
	require.Equal(t, []time.Duration{2 * time.Millisecond}, res.Fence)
	require.Equal(t, []int{0}, res.FenceOf)
	require.Equal(t, 100*time.Millisecond, res.Back)
}

// TestEpochs: answers that come late do not make more changes of the writer
// than there were.
func TestEpochs(t *testing.T) {
	type op struct {
		node       string
		start, end int64
	}
	for _, c := range []struct {
		name string
		ops  []op
		want []history.Epoch
	}{
		{"none", nil, nil},
		{"one after the other", []op{{"a", 1, 2}, {"b", 3, 4}, {"a", 5, 6}},
			[]history.Epoch{{Node: "a", First: 2, Last: 2, Acked: 1}, {Node: "b", First: 4, Last: 4, Acked: 1}, {Node: "a", First: 6, Last: 6, Acked: 1}}},
		{"a late answer", []op{{"a", 1, 2}, {"a", 3, 9}, {"b", 5, 6}, {"b", 7, 8}},
			[]history.Epoch{{Node: "a", First: 2, Last: 6, Acked: 2}, {Node: "b", First: 6, Last: 8, Acked: 2}}},
		{"another early question", []op{{"b", 0, 5}, {"a", 1, 2}, {"a", 6, 7}},
			[]history.Epoch{{Node: "b", First: 5, Last: 2, Acked: 1}, {Node: "a", First: 2, Last: 7, Acked: 2}}},
		{"an early question", []op{{"a", 0, 5}, {"b", 1, 2}, {"b", 6, 7}, {"b", 8, 9}},
			[]history.Epoch{{Node: "a", First: 5, Last: 2, Acked: 1}, {Node: "b", First: 2, Last: 9, Acked: 3}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &history.Round{Nodes: []string{"a", "b"}}
			for i, o := range c.ops {
				r.Ops = append(r.Ops, history.Op{Node: o.node, Kind: history.Insert, ID: string(rune('p' + i)), Start: o.start, End: o.end, Outcome: history.Acked})
			}
			require.Equal(t, c.want, Check(r).Epochs)
		})
	}
}
