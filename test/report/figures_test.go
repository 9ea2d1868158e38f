package report

import (
	"math"
	"testing"
	"time"

	"github.com/litefence/litefence/test/history"
	"github.com/stretchr/testify/require"
)

func TestQuantilesAreMeasuredValues(t *testing.T) {
	var hundred []time.Duration
	for i := 100; i >= 1; i-- {
		hundred = append(hundred, time.Duration(i)*time.Second)
	}
	s := spreadOf(hundred)
	require.Equal(t, 100*time.Second, hundred[0], "the caller's slice stays as it is")
	for q, want := range map[float64]int{0.001: 1, 0.01: 1, 0.07: 7, 0.5: 50, 0.501: 51, 0.99: 99, 0.991: 100, 1: 100} {
		require.Equal(t, time.Duration(want)*time.Second, s.at(q), "quantile %v", q)
	}
	few := spreadOf([]time.Duration{3, 1, 2})
	require.Equal(t, time.Duration(2), few.at(0.5))
	require.Equal(t, time.Duration(3), few.at(0.99))
	require.Equal(t, "–", spread(nil).Median())
}

func TestWords(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -999: "-999"} {
		require.Equal(t, want, number(n))
	}
	require.Equal(t, "1 h 0 min", took(time.Hour))
	require.Equal(t, "59 min 59 s", took(time.Hour-time.Second))
	require.Equal(t, "0 s", took(0))
	require.Equal(t, "0.07", seconds(66*time.Millisecond))
}

// broken is a result with one anomaly of that rule.
func broken(rule string, seed uint64) history.Result {
	return history.Result{Round: history.RoundInfo{Seed: seed, Normal: 1}, Anomalies: []history.Anomaly{{Rule: rule}}}
}

func TestWhatIsNotJudgedIsNotBroken(t *testing.T) {
	s := summarize([]history.Result{broken("round", 1), broken("bank", 2), broken("no such rule", 3), broken("register-unchecked", 4), {}})
	require.Equal(t, 2, s.Broken, "an unknown rule counts as broken")
	require.Equal(t, 2, s.BrokenRounds)
	require.Equal(t, uint64(2), s.FirstSeed)
	require.Equal(t, 2, s.UnjudgedRounds)
	require.Equal(t, 1, s.NeverNormal)
	require.Equal(t, 4, s.Back.N(), "a round that never became normal has no time until it did")
}

func TestAControlThatMustFailFailsOnlyByABrokenPromise(t *testing.T) {
	for rule, blind := range map[string]bool{"stale-ack": false, "round": true, "register-unchecked": true} {
		mustFail, _ := split([]Control{{MustFail: true, Results: []history.Result{broken(rule, 9)}}})
		require.Equal(t, blind, mustFail[0].Blind(), rule)
	}
	mustFail, comparisons := split([]Control{{Name: "a", MustFail: true}, {Name: "b"}})
	require.Equal(t, "FAILED: was not run", mustFail[0].Verdict())
	require.False(t, comparisons[0].Blind())
}

func TestVerdict(t *testing.T) {
	good := summarize([]history.Result{{}})
	blind := []judged{{Control: Control{MustFail: true}}}
	require.Equal(t, "ok", verdictOf(good, nil).Tone)
	require.Equal(t, "The checks are blind", verdictOf(good, blind).Title)
	require.Equal(t, "1 broken promise", verdictOf(summarize([]history.Result{broken("bank", 1)}), blind).Title)
	require.Equal(t, "warn", verdictOf(summarize([]history.Result{broken("round", 1)}), nil).Tone)
	require.Equal(t, "Nothing was run", verdictOf(summarize(nil), nil).Title)
}

// Two faults overlap; n1's loss is the second's, though another fault began later.
func TestALossIsPutDownToTheFaultThatHitItsPrimary(t *testing.T) {
	r := history.Result{
		Faults: []history.Fault{
			{Name: "early", Targets: []string{"n1"}, Start: 1},
			{Name: "hit", Targets: []string{"n1"}, Start: 5},
			{Name: "elsewhere", Targets: []string{"n3"}, Start: 6},
			{Name: "after", Targets: []string{"n1"}, Start: 20},
		},
		Epochs: []history.Epoch{{Node: "n1", First: 1, Last: 7, LostHere: 3}, {Node: "n2", First: 10, Last: 30, LostHere: 1}},
		Counts: history.Counts{Lost: 6},
		Round:  history.RoundInfo{End: 40},
	}
	require.Equal(t, tally{"hit": 3, "after": 1, noFault: 2}, lostByFault(r), "the sum is that of the round")
	require.Equal(t, tally{"n1": 3, "n2": 1}, lostIn(r).Nodes)
	r.Faults = nil
	require.Equal(t, tally{noFault: 6}, lostByFault(r))
}

func TestFaultsByKind(t *testing.T) {
	r := history.Result{
		Faults:  []history.Fault{{Name: "cut"}, {Name: "kill"}, {Name: "cut"}},
		Outages: []time.Duration{1, 2, 3}, Fence: []time.Duration{7}, FenceOf: []int{2},
	}
	kinds := kindsOf([]history.Result{r, {Faults: []history.Fault{{Name: "cut"}}, Fence: []time.Duration{9}, FenceOf: []int{5}}})
	require.Len(t, kinds, 2)
	require.Equal(t, kind{Name: "cut", Times: 3, Outage: spread{1, 3}, Fence: spread{7}}, kinds[0])
	require.Equal(t, "kill", kinds[1].Name)
}

func TestModes(t *testing.T) {
	round := func(confirm string, acked, lost int, commits ...time.Duration) history.Result {
		return history.Result{Round: history.RoundInfo{Confirm: confirm}, Counts: history.Counts{Acked: acked, Lost: lost}, Commits: commits}
	}
	modes := modesOf([]history.Result{round("replicated", 3, 0, 5, 9), round("", 1, 1, 2), round("lease", 2, 1), round("replicated", 4, 0, 7)})
	require.Len(t, modes, 2)
	require.Equal(t, "lease", modes[0].Name)
	require.Equal(t, history.Counts{Acked: 3, Lost: 2}, modes[0].Sum.Counts)
	require.Equal(t, "replicated", modes[1].Name)
	require.Equal(t, history.Counts{Acked: 7}, modes[1].Sum.Counts)
	require.Equal(t, spread{5, 7, 9}, modes[1].Sum.Commit)
	text := markdownOf(t, Run{Results: []history.Result{round("replicated", 3, 1, 5*time.Second)}})
	require.Contains(t, text, "| replicated | 1 | 3 | 1 | 0 | 0 | 5.00 | 5.00 | 5.00 |")
	require.Regexp(t, `<th>replicated</th><td>1</td><td>3</td><td>1</td>`, htmlOf(t, Run{Results: []history.Result{round("replicated", 3, 1)}}))
}

func TestAxis(t *testing.T) {
	ticks := secondsAxis(20)
	require.Len(t, ticks, 5)
	require.Equal(t, tick{X: 25, Text: "5", Anchor: "middle"}, ticks[1])
	require.Equal(t, "0.1", secondsAxis(0.31)[1].Text)
	require.Equal(t, 0.02, roundStep(0.02))
	require.Equal(t, 5.0, roundStep(2.1))
	a := logAxis{from: 0.1, to: 10}
	require.InDelta(t, 50, a.at(1), 1e-9)
	require.Zero(t, a.at(0))
	require.False(t, math.IsNaN(a.at(math.MaxFloat64)))
}
