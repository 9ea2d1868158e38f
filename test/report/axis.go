package report

import (
	"math"
	"strconv"
)

// tick is a number on an axis; X in per cent of its length.
type tick struct {
	X      float64
	Text   string
	Anchor string
}

// secondsAxis has some five ticks at round numbers from 0 to length seconds.
func secondsAxis(length float64) []tick {
	step := roundStep(length / 5)
	digits := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	var ticks []tick
	for i := 0; float64(i)*step <= length*(1+1e-9); i++ {
		at := float64(i) * step
		ticks = append(ticks, tick{X: at / length * 100, Text: strconv.FormatFloat(at, 'f', digits, 64)})
	}
	return anchored(ticks)
}

// roundStep is the least of 1, 2, 5 times a power of ten that is not below x.
func roundStep(x float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= x*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

var logTicks = []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}

// logAxis maps seconds between two bounds to a logarithmic scale.
type logAxis struct{ from, to float64 }

func (a logAxis) at(seconds float64) float64 {
	seconds = min(max(seconds, a.from), a.to)
	return math.Log(seconds/a.from) / math.Log(a.to/a.from) * 100
}

func (a logAxis) ticks() []tick {
	var ticks []tick
	for _, at := range logTicks {
		if at >= a.from && at <= a.to {
			ticks = append(ticks, tick{X: a.at(at), Text: strconv.FormatFloat(at, 'f', -1, 64)})
		}
	}
	return anchored(ticks)
}

// anchored keeps the outermost numbers within the picture.
func anchored(ticks []tick) []tick {
	for i := range ticks {
		switch {
		case ticks[i].X < 2:
			ticks[i].Anchor = "start"
		case ticks[i].X > 98:
			ticks[i].Anchor = "end"
		default:
			ticks[i].Anchor = "middle"
		}
	}
	return ticks
}
