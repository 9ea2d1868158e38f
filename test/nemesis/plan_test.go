package nemesis

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A seed is a plan: the same each time, within its limits, and every fault is
// in some plan.
func TestPlans(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(2000) {
		nodes := 3 + 2*int(seed%2)
		l := Limits{Steps: 3, Hold: 10 * time.Second}
		p := NewPlan(seed, nodes, l)
		require.Equal(t, p, NewPlan(seed, nodes, l))
		require.NotEmpty(t, p.Steps)
		require.LessOrEqual(t, len(p.Steps), 3)
		destroyed := 0
		for _, s := range p.Steps {
			k := kindOf(s.Fault)
			seen[s.Fault] = true
			require.Positive(t, s.Hold)
			require.LessOrEqual(t, s.Hold, min(k.to, l.Hold))
			require.LessOrEqual(t, k.nodes, nodes, s.Fault)
			require.NotEqual(t, ClockStep, s.Fault, "only where it is asked for")
			if k.destroys {
				destroyed++
			}
		}
		require.LessOrEqual(t, destroyed, 1, "what two nodes had is not lost at once")
	}
	for _, name := range Names() {
		require.True(t, seen[name] || name == ClockStep, "%s is in no plan", name)
	}
}

func TestPlanOfSomeFaults(t *testing.T) {
	l := Limits{Only: []string{ClockStep, LateHandoff}, Clock: true}
	seen := map[string]bool{}
	for seed := range uint64(50) {
		for _, s := range NewPlan(seed, 3, l).Steps {
			seen[s.Fault] = true
		}
	}
	require.Equal(t, map[string]bool{ClockStep: true, LateHandoff: true}, seen)
}
