package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// commitRow is what was measured of a load, by the variants' names.
type commitRow struct {
	commitLoad
	Figures map[string]*commitFigures
}

// commitFigures of one variant. The ratios are to LiteFS alone in the same round.
type commitFigures struct {
	Rates      []float64 // commits a second, one of each round that it came through
	Ratios     []float64 // of Rates
	TimeRatios []float64 // of the round's median time of a commit
	Fails      []string  // what its application was told
	// Of all commits of all rounds.
	Commits     int
	Median, P99 time.Duration

	took []time.Duration
}

// commitRoundSum is one variant's part of a round.
type commitRoundSum struct {
	rate float64
	took []time.Duration
}

func newCommitRow(l commitLoad) *commitRow {
	r := &commitRow{commitLoad: l, Figures: map[string]*commitFigures{}}
	for _, v := range l.Variants {
		r.Figures[v] = &commitFigures{}
	}
	return r
}

// add takes what a round has come to; who failed is not in it.
func (r *commitRow) add(sums map[string]commitRoundSum) {
	base, there := sums[alone]
	for name, sum := range sums {
		f := r.Figures[name]
		f.Rates = append(f.Rates, sum.rate)
		if there && base.rate > 0 { // in a short turn not one may have ended
			f.Ratios = append(f.Ratios, sum.rate/base.rate)
			f.TimeRatios = append(f.TimeRatios, float64(quantile(sum.took, 0.5))/float64(quantile(base.took, 0.5)))
		}
		f.took = append(f.took, sum.took...)
		f.Commits, f.Median, f.P99 = len(f.took), quantile(f.took, 0.5), quantile(f.took, 0.99)
	}
}

// quantile is the least value that a share q of all does not exceed; 0 of none.
func quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[max(0, int(math.Ceil(q*float64(len(v))))-1)]
}

// spread is a median and what it lies between.
func spread(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f..%.2f)", median(v), slices.Min(v), slices.Max(v))
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

func (f *commitFigures) line() string {
	fails := ""
	if len(f.Fails) > 0 {
		fails = fmt.Sprintf("\tfails (%s) %dx", f.Fails[0], len(f.Fails))
	}
	if f.Commits == 0 {
		return "-\t-\t-\t-\t-" + fails
	}
	return fmt.Sprintf("%.0f\t%s\t%s\t%s\t%s%s", median(f.Rates), spread(f.Ratios), millis(f.Median), spread(f.TimeRatios), millis(f.P99), fails)
}

func printCommits(out io.Writer, rows []*commitRow) {
	fmt.Fprintf(out, "\nSmall commits: one row in each transaction, WAL, synchronous=FULL. Ratios to LiteFS alone in the same round: median (least..greatest).\n")
	for _, r := range rows {
		fmt.Fprintf(out, "\n%s\n", strings.TrimPrefix(r.Name, "commit/"))
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "\tcommits/s\tratio\tmedian time\tratio\t99 % within")
		for _, v := range r.Variants {
			fmt.Fprintf(t, "%s\t%s\n", v, r.Figures[v].line())
		}
		t.Flush()
	}
}
