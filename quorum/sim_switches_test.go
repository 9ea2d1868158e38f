package quorum

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each rule of the lease is taken away in turn, and the simulation has to see
// what it was for: else it proves nothing about the rules as they stand. The
// faults are those that hurt without the rule; with all rules the same faults
// are harmless.
func TestSimulationSeesWhatEachRuleIsFor(t *testing.T) {
	for _, c := range []struct {
		name   string
		rules  simRules
		faults []fault
		within int // schedules
	}{
		{"no wait", simRules{noWait: true}, []fault{transferCut, lateTimeoutNow, restartRace}, 40},
		{"raft's state for a lease", simRules{raftState: true}, []fault{transferCut, lateTimeoutNow}, 40},
		{"lease counts from the arrival", simRules{arrival: true}, []fault{slowAnswers}, 200},
		{"nothing known is long ago", simRules{unknownLongAgo: true}, []fault{restartRace}, 200},
		{"stamped late", simRules{lateStamp: true}, []fault{lateTimeoutNow, restartRace}, 200},
		{"a lease does not die", simRules{deathless: true}, []fault{loneVote}, 300},
		{"an empty node takes part", simRules{amnesia: true}, []fault{forgottenOpen}, 300},
		{"heartbeats past our transport", simRules{fastPath: true}, []fault{lateTimeoutNow}, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := plan(simSpan/2, 1, 2, c.faults...)
			for seed := *simSeed; seed < *simSeed+uint64(c.within); seed++ {
				s := simulate(t, seed, c.rules, p)
				if len(s.bad) > 0 {
					t.Logf("seed %d: %s", seed, s.bad[0])
					if testing.Verbose() {
						t.Log("\n" + strings.Join(s.trace, "\n"))
					}
					return
				}
			}
			require.Fail(t, "not seen", "within %d schedules", c.within)
		})
	}
}
