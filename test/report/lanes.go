package report

import (
	"strings"
	"unicode/utf8"

	"github.com/litefence/litefence/test/history"
)

// perRune is what a letter of a fault's name takes at most, in per cent of the
// narrowest picture (280 px), so that names do not run into each other there.
const perRune = 2.3

// lanesOf puts each fault on the uppermost lane on which it and its name have
// room. They are in the order of r.Faults.
func lanesOf(r history.Result, c clock) []lane {
	var taken [][]lane
	lanes := make([]lane, 0, len(r.Faults))
	for _, f := range r.Faults {
		l := laneOf(f, c)
		at := 0
		for at < len(taken) && collides(l, taken[at]) {
			at++
		}
		if at == len(taken) {
			taken = append(taken, nil)
		}
		l.Y = headHeight + at*laneHeight
		l.Name.Y = l.Y + 12
		taken[at] = append(taken[at], l)
		lanes = append(lanes, l)
	}
	return lanes
}

func laneOf(f history.Fault, c clock) lane {
	l := lane{X: c.at(f.Start), Tone: toneOf(f)}
	l.W = max(c.at(f.End)-l.X, 0.4)
	l.Title = f.Name + ", " + strings.Join(f.Targets, " ") + ", " + c.seconds(f.Start) + " to " + c.seconds(f.End)
	l.Name = label{X: l.X, Anchor: "start", Text: f.Name}
	width, end := min(nameWidth(f.Name), 100), min(l.X+l.W, 100)
	switch {
	case l.X+width <= 100:
	case end-width >= 0:
		l.Name.X, l.Name.Anchor = end, "end"
	default: // on the band where there is room for more, and within the picture where not
		l.Name.X, l.Name.Anchor = min(max((l.X+end)/2, width/2), 100-width/2), "middle"
	}
	return l
}

func nameWidth(name string) float64 { return perRune * float64(utf8.RuneCountInString(name)+1) }

// toneOf tells apart what is cut, what is stopped, and the rest.
func toneOf(f history.Fault) string {
	switch {
	case len(f.Stops) > 0:
		return "warn"
	case f.Cuts:
		return "calm"
	}
	return "off"
}

func collides(l lane, others []lane) bool {
	from, to := l.extent()
	for _, o := range others {
		if f, t := o.extent(); from < t && f < to {
			return true
		}
	}
	return false
}

// extent is what a fault takes of its lane, the name included.
func (l lane) extent() (from, to float64) {
	width := nameWidth(l.Name.Text)
	switch from = l.Name.X; l.Name.Anchor {
	case "end":
		from -= width
	case "middle":
		from -= width / 2
	}
	to = from + width
	return min(from, l.X), max(to, l.X+l.W)
}
