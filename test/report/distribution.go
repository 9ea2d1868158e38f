package report

import (
	"fmt"
	"strings"
	"time"
)

// curve is an empirical distribution: how much of all was at most so long.
type curve struct {
	Name   string
	Says   string // what was measured, from when to when
	Spread spread
	Path   string // in a box of 1000 by 100, 0,0 above
	Median float64
	P99    float64
	Ticks  []tick
}

func curveOf(name, says string, s spread) curve {
	c := curve{Name: name, Says: says, Spread: s}
	if len(s) == 0 {
		return c
	}
	longest := max(s.at(1), 10*time.Millisecond)
	length := longest.Seconds() * 1.04
	x := func(d time.Duration) float64 { return max(0, d.Seconds()) / length * 100 }
	var path strings.Builder
	path.WriteString("M0 100")
	for i, d := range s {
		if i+1 == len(s) || s[i+1] != d {
			fmt.Fprintf(&path, "H%.1fV%.1f", 10*x(d), 100-100*float64(i+1)/float64(len(s)))
		}
	}
	path.WriteString("H1000")
	c.Path, c.Median, c.P99, c.Ticks = path.String(), x(s.at(0.5)), x(s.at(0.99)), secondsAxis(length)
	return c
}

// strips shows every outage as a dot, a row for each kind of fault.
type strips struct {
	Rows  []strip
	Ticks []tick
}

type strip struct {
	Kind   kind
	Dots   []float64
	Median float64
}

func stripsOf(kinds []kind) strips {
	axis := axisFor(kinds)
	out := strips{Ticks: axis.ticks()}
	for _, k := range kinds {
		if len(k.Outage) == 0 {
			continue
		}
		s := strip{Kind: k, Median: axis.at(k.Outage.at(0.5).Seconds())}
		for _, d := range k.Outage {
			s.Dots = append(s.Dots, axis.at(d.Seconds()))
		}
		out.Rows = append(out.Rows, s)
	}
	return out
}

// axisFor reaches from a tick below the shortest outage to beyond the longest.
func axisFor(kinds []kind) logAxis {
	shortest, axis := 0.5, logAxis{from: logTicks[0], to: 1}
	for _, k := range kinds {
		if len(k.Outage) > 0 {
			shortest = min(shortest, k.Outage[0].Seconds())
			axis.to = max(axis.to, k.Outage.at(1).Seconds()*1.1)
		}
	}
	for _, at := range logTicks {
		if at <= shortest {
			axis.from = at
		}
	}
	return axis
}
