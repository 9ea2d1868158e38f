package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHysteresisByExample(t *testing.T) {
	h := Hysteresis{Fail: 3, Heal: 2}
	for i, step := range []struct {
		ok   bool
		want Health
	}{
		{true, Healthy},
		{false, Degraded}, {false, Degraded}, {true, Degraded}, // interrupted
		{false, Degraded}, {false, Degraded}, {false, Unhealthy}, {false, Unhealthy},
		{true, Unhealthy}, {false, Unhealthy}, // one good result is none
		{true, Unhealthy}, {true, Healthy}, {true, Healthy},
	} {
		require.Equal(t, step.want, h.Note(step.ok), "step %d", i)
	}
	require.Equal(t, Degraded, (&Hysteresis{Fail: 2, Heal: 2}).Note(false), "the very first result")
	require.Equal(t, Unhealthy, (&Hysteresis{Fail: 1, Heal: 2}).Note(false))
}

// An oracle looks through all results for the newest run that settled the
// matter.
func healthByOracle(results []bool, fail, heal int) Health {
	h := Healthy
	run := 0
	for i, ok := range results {
		if i > 0 && results[i-1] == ok {
			run++
		} else {
			run = 1
		}
		switch {
		case !ok && run >= fail:
			h = Unhealthy
		case !ok && h == Healthy:
			h = Degraded
		case ok && run >= heal:
			h = Healthy
		}
	}
	return h
}

func TestHysteresisAgreesWithOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hysteresis{Fail: rapid.IntRange(1, 5).Draw(t, "fail"), Heal: rapid.IntRange(1, 5).Draw(t, "heal")}
		results := rapid.SliceOfN(rapid.Bool(), 0, 60).Draw(t, "results")
		was, falls := Healthy, 0
		for i, ok := range results {
			now := h.Note(ok)
			require.Equal(t, healthByOracle(results[:i+1], h.Fail, h.Heal), now, "after %v", results[:i+1])
			if now == Unhealthy && was != Unhealthy {
				falls++
			}
			was = now
		}
		// However the probe behaves, the leadership is shaken off only this often.
		require.LessOrEqual(t, falls, (len(results)+h.Heal)/(h.Fail+h.Heal))
	})
}

// A probe that never fails often enough in a row, however often it does, makes
// nobody unhealthy.
func TestFlappingProbeOnlyDegrades(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hysteresis{Fail: FailuresToUnhealthy, Heal: SuccessesToHealthy}
		for range rapid.IntRange(1, 30).Draw(t, "turns") {
			for range rapid.IntRange(0, h.Fail-1).Draw(t, "failures") {
				require.Equal(t, Degraded, h.Note(false))
			}
			for range rapid.IntRange(1, 2*h.Heal).Draw(t, "successes") {
				require.NotEqual(t, Unhealthy, h.Note(true))
			}
		}
	})
}

func TestWorseAndBetter(t *testing.T) {
	all := []Health{Healthy, Degraded, Unhealthy}
	for i, a := range all {
		for j, b := range all {
			require.Equal(t, all[max(i, j)], a.Worse(b))
			require.Equal(t, all[min(i, j)], a.Better(b))
		}
	}
	require.Equal(t, Degraded, Health("").Worse(Degraded), "a node that says nothing counts as healthy")
}

func TestElectPrefersHealthAmongEqualsOnly(t *testing.T) {
	l := Lineage{Open: open7, Held: at(5, 55)}
	with := func(r Report, h Health) Report { r.Health = h; return r }
	self, b, c := node("self", at(6, 66), open7), node("b", at(6, 66), open7), node("c", at(6, 66), open7)
	elect := func(r ...Report) string { return Elect("self", 3, l, r).Winner }
	require.Equal(t, "self", elect(self, b, c))
	require.Equal(t, "b", elect(with(self, Unhealthy), b, c))
	require.Equal(t, "c", elect(with(self, Unhealthy), with(b, Degraded), c))
	require.Equal(t, "b", elect(with(self, Unhealthy), with(b, Degraded), with(c, Unhealthy)))
	require.Equal(t, "self", elect(with(self, Unhealthy), with(b, Unhealthy), with(c, Unhealthy)), "nobody is better")
	require.Equal(t, "self", elect(with(self, Unhealthy), node("b", at(5, 55), open7)),
		"what b lacks and self has must not be lost")
	b.Eligible = false
	require.Equal(t, "self", elect(with(self, Unhealthy), b), "fenced by hand")
}

// Whatever the nodes say of their health, the winner has all that any node that
// qualifies has.
func TestElectLosesNothingForHealth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Lineage{Open: open7, Held: at(2, 2)}
		var reports []Report
		var most uint64
		for _, n := range []string{"a", "b", "c"} {
			x := rapid.Uint64Range(0, 4).Draw(t, "txid")
			r := node(n, at(x, x), open7)
			r.Health = rapid.SampledFrom([]Health{"", Healthy, Degraded, Unhealthy}).Draw(t, "health")
			reports = append(reports, r)
			most = max(most, x)
		}
		res := Elect("a", 3, l, reports)
		for _, r := range reports {
			if r.Node == res.Winner {
				require.Equal(t, most, r.Positions.Sum())
			}
		}
		require.Equal(t, most >= 2, res.Winner != "")
	})
}

func TestLag(t *testing.T) {
	var l Lag
	now := time.Unix(1000, 0)
	look := func(after time.Duration, own, primary uint64) time.Duration {
		now = now.Add(after)
		return l.Look(now, open7, at(own, own), at(primary, primary))
	}
	require.Zero(t, look(0, 5, 5))
	require.Zero(t, look(time.Second, 5, 8), "seen to be behind just now")
	require.Equal(t, time.Second, look(time.Second, 7, 12), "8 is still missing")
	require.Equal(t, 3*time.Second, look(2*time.Second, 7, 20))
	require.Zero(t, look(time.Second, 8, 30), "8 is reached, 30 was seen just now")
	require.Equal(t, time.Minute, look(time.Minute, 29, 30))
	require.Zero(t, look(time.Second, 30, 30))
	require.Zero(t, look(time.Hour, 30, 30))

	look(0, 30, 40)
	require.Equal(t, time.Second, look(time.Second, 30, 40))
	require.Zero(t, l.Look(now.Add(time.Second), OpenRef{Index: 9, ID: "nine"}, at(30, 30), at(31, 31)),
		"what a deposed primary had need not be reached")
}

// A replica that is never further behind than it was lag looks ago is never
// said to be behind by more than that.
func TestLagIsNotExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const step = 500 * time.Millisecond
		lag := rapid.IntRange(0, 8).Draw(t, "lag in steps")
		var l Lag
		var primary []uint64
		worst := time.Duration(0)
		for i := range rapid.IntRange(1, 60).Draw(t, "looks") {
			last := uint64(1)
			if i > 0 {
				last = primary[i-1]
			}
			primary = append(primary, last+rapid.Uint64Range(0, 3).Draw(t, "transactions"))
			own := primary[max(0, i-lag)]
			worst = max(worst, l.Look(time.Unix(0, 0).Add(time.Duration(i)*step), open7, at(own, own), at(primary[i], primary[i])))
		}
		require.LessOrEqual(t, worst, time.Duration(lag)*step)
	})
}
