package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestElectClaimant(t *testing.T) {
	seen := func(node string, age time.Duration) Claim { return Claim{Node: node, Age: age, Seen: true} }
	found := func(node string, age time.Duration) Claim { return Claim{Node: node, Age: age} }
	for name, c := range map[string]struct {
		claims   []Claim
		single   bool
		winner   string
		conflict bool
	}{
		"nobody claims":                           {},
		"the only one":                            {claims: []Claim{found("a", 0)}, winner: "a"},
		"the only static one":                     {claims: []Claim{found("a", 0)}, single: true, winner: "a"},
		"the newer of two":                        {claims: []Claim{seen("a", time.Hour), seen("b", 10*time.Second)}, winner: "b"},
		"one that began unheard is older":         {claims: []Claim{found("a", time.Hour), seen("b", 10*time.Second)}, winner: "b"},
		"one that began unheard may be older":     {claims: []Claim{seen("a", time.Hour), found("b", 10*time.Second)}, conflict: true},
		"both began unheard":                      {claims: []Claim{found("a", time.Hour), found("b", time.Second)}, conflict: true},
		"too close to tell":                       {claims: []Claim{seen("a", 10*time.Second), seen("b", 9500*time.Millisecond)}, conflict: true},
		"the clocks' drift is more than that":     {claims: []Claim{seen("a", 1010*time.Second), seen("b", 1000*time.Second)}, conflict: true},
		"two static primaries":                    {claims: []Claim{seen("a", time.Hour), seen("b", 10*time.Second)}, single: true, conflict: true},
		"the newest of three":                     {claims: []Claim{seen("a", time.Hour), seen("b", 10*time.Second), found("c", time.Minute)}, winner: "b"},
		"newer than one, unknown against another": {claims: []Claim{seen("a", time.Hour), seen("b", 10*time.Second), found("c", time.Second)}, conflict: true},
	} {
		t.Run(name, func(t *testing.T) {
			winner, conflict := ElectClaimant(c.claims, c.single, 0.01)
			require.Equal(t, c.winner, winner)
			require.Equal(t, c.conflict, conflict)
		})
	}
}

func seconds(t *rapid.T, what string, most int) time.Duration {
	return time.Duration(rapid.IntRange(0, most).Draw(t, what)) * time.Second
}

// Claims with a true beginning each, heard of late or not at all, and ages read
// by clocks that drift: whoever wins truly began last.
func TestElectClaimantIsTheNewest(t *testing.T) {
	const drift = 0.01
	rapid.Check(t, func(t *rapid.T) {
		var claims []Claim
		newest, at := "", time.Duration(-1)
		for _, node := range []string{"a", "b", "c"} {
			if !rapid.Bool().Draw(t, "claims") {
				continue
			}
			age := seconds(t, "age", 3600)
			if at < 0 || age < at {
				newest, at = node, age
			}
			c := Claim{Node: node, Seen: rapid.Bool().Draw(t, "seen")}
			heard := age - min(age, time.Duration(rapid.Int64Range(0, int64(claimSlack/2)).Draw(t, "late")))
			if !c.Seen {
				heard = seconds(t, "heard", int(age/time.Second))
			}
			rate := rapid.Float64Range(1-drift/2, 1+drift/2).Draw(t, "rate")
			c.Age = time.Duration(float64(heard) * rate)
			claims = append(claims, c)
		}
		winner, conflict := ElectClaimant(claims, false, drift)
		if winner != "" {
			require.Equal(t, newest, winner)
		}
		require.Equal(t, len(claims) > 0, winner != "" || conflict)
	})
}
