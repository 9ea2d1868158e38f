package report

import (
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/litefence/litefence/test/history"
)

// Heights in pixels. Across, everything is in per cent of the width, so that
// text keeps its size on a phone.
const (
	headHeight = 18 // the line that names healed and normal
	laneHeight = 19
	rowHeight  = 30
	axisHeight = 22
)

// timeline is the picture of a round: faults on lanes, below them a row for each
// node.
type timeline struct {
	Height, Bottom int // of the picture, and the end of the rows in it
	Names          int // width of the column of names
	Lanes          []lane
	Rows           []row
	Marks          []mark
	Note           label
	Ticks          []tick
}

type lane struct {
	X, W   float64
	Y      int
	Tone   string
	Name   label
	Title  string
	Across []int // y of the rows that the fault hit
}

type row struct {
	Name string
	Y    int
	Bars []bar
}

// bar is a stretch of acknowledged writes.
type bar struct {
	X, W  float64
	Lost  int
	End   float64
	Title string
}

// mark is a vertical line at an instant.
type mark struct {
	X     float64
	Tone  string
	Title string
}

type label struct {
	X      float64
	Y      int
	Anchor string // SVG's text-anchor
	Text   string
}

// clock turns instants of a round into places.
type clock struct{ start, end int64 }

func clockOf(r history.Result) clock {
	c := clock{start: r.Round.Start, end: max(r.Round.End, r.Round.Normal, r.Round.Healed)}
	for _, e := range r.Epochs {
		c.end = max(c.end, e.Last)
	}
	c.end = max(c.end, c.start+1e6) // an empty round has a width
	return c
}

func (c clock) at(t int64) float64 {
	t = min(max(t, c.start), c.end)
	return float64(t-c.start) / float64(c.end-c.start) * 100
}

func (c clock) seconds(t int64) string {
	return strconv.FormatFloat(float64(t-c.start)/1e9, 'f', 2, 64) + " s"
}

func timelineOf(r history.Result) timeline {
	c := clockOf(r)
	t := timeline{Lanes: lanesOf(r, c), Ticks: secondsAxis(float64(c.end-c.start) / 1e9)}
	top := headHeight
	for _, l := range t.Lanes {
		top = max(top, l.Y+laneHeight)
	}
	at := map[string]int{}
	for i, name := range nodesOf(r) {
		at[name] = top + 6 + i*rowHeight
		t.Rows = append(t.Rows, row{Name: name, Y: at[name], Bars: barsOf(r, c, name)})
		t.Names = max(t.Names, 8*utf8.RuneCountInString(name)+12)
	}
	for i, f := range r.Faults {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(f.Targets))) {
			if y, ok := at[name]; ok {
				t.Lanes[i].Across = append(t.Lanes[i].Across, y)
			}
		}
	}
	t.Bottom = top + 6 + len(t.Rows)*rowHeight
	t.Height = t.Bottom + axisHeight
	t.Marks, t.Note = marksOf(r, c)
	return t
}

// nodesOf has those of the round, and any other that wrote.
func nodesOf(r history.Result) []string {
	nodes := slices.Clone(r.Round.Nodes)
	for _, e := range r.Epochs {
		if !slices.Contains(nodes, e.Node) {
			nodes = append(nodes, e.Node)
		}
	}
	return nodes
}

func barsOf(r history.Result, c clock, node string) (bars []bar) {
	for _, e := range r.Epochs {
		if e.Node != node {
			continue
		}
		b := bar{X: c.at(e.First), W: max(c.at(e.Last)-c.at(e.First), 0.3), Lost: e.LostHere, End: c.at(e.Last)}
		b.Title = node + ": " + count(e.Acked, "write", "writes") + " acknowledged, " + c.seconds(e.First) + " to " + c.seconds(e.Last)
		if e.LostHere > 0 {
			b.Title += ", " + number(e.LostHere) + " lost"
		}
		bars = append(bars, b)
	}
	return bars
}

// marksOf draws the end of the faults, the return to normal, and anomalies whose
// instant is known. One note names the first two, on the side where there is
// room.
func marksOf(r history.Result, c clock) (marks []mark, note label) {
	note = label{Y: headHeight - 6, Anchor: "start"}
	if h := r.Round.Healed; h != 0 {
		note.X, note.Text = c.at(h), "last fault ends "+c.seconds(h)
		marks = append(marks, mark{note.X, "calm", note.Text})
	}
	if n := r.Round.Normal; n != 0 {
		text := "normal " + c.seconds(n)
		marks = append(marks, mark{c.at(n), "ok", text})
		if note.Text != "" {
			text = note.Text + ", " + text
		}
		note.Text, note.X = text, max(note.X, c.at(n))
	} else if note.Text != "" {
		note.Text += ", never normal"
	}
	if note.X > 50 {
		note.Anchor = "end"
	}
	for _, a := range r.Anomalies {
		if a.At != 0 {
			marks = append(marks, mark{c.at(a.At), "bad", a.Rule + " " + c.seconds(a.At)})
		}
	}
	return marks, note
}
