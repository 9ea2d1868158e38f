package report

import (
	"math"
	"slices"
	"time"
)

// spread is durations in ascending order.
type spread []time.Duration

func spreadOf(ds []time.Duration) spread {
	s := slices.Clone(ds)
	slices.Sort(s)
	return s
}

// at is the q-quantile by nearest rank: the least measured value that at least
// that part of all does not exceed. q is in (0, 1]; of nothing it is 0.
func (s spread) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	// Less than any step of rank, more than the error of q*n: 0.07*100 > 7.
	const slack = 1e-9
	rank := int(math.Ceil(q*float64(len(s)) - slack))
	return s[min(max(rank, 1), len(s))-1]
}

// N, Median, P99 and Worst are for templates; the last three are seconds, or a
// dash where nothing was measured.
func (s spread) N() int         { return len(s) }
func (s spread) Median() string { return s.text(0.5) }
func (s spread) P99() string    { return s.text(0.99) }
func (s spread) Worst() string  { return s.text(1) }

// All is the three of them in a sentence.
func (s spread) All() string {
	if len(s) == 0 {
		return "none measured"
	}
	return "median " + s.Median() + ", p99 " + s.P99() + ", worst " + s.Worst() + " s of " + number(len(s))
}

func (s spread) text(q float64) string {
	if len(s) == 0 {
		return "–"
	}
	return seconds(s.at(q))
}
