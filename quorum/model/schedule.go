package model

import (
	"fmt"
	"math/bits"
	"strings"
)

// A Step is one choice: which move, and up to three small integers that it may
// use. A step whose move cannot be made at that point changes nothing, so that
// any part of a schedule is a schedule too.
type Step [4]uint8

// A Schedule is all that a run depends on, beside the rules. The first step
// chooses the cluster.
type Schedule []Step

// NewSchedule draws a schedule of n steps from seed (splitmix64).
func NewSchedule(seed uint64, n int) Schedule {
	s := make(Schedule, n)
	for i := range s {
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z = bits.ReverseBytes64(z ^ z>>31)
		s[i] = Step{uint8(z), uint8(z >> 8), uint8(z >> 16), uint8(z >> 24)}
	}
	return s
}

// A Violation says which promise was broken, and at which step.
type Violation struct {
	Step int
	What string
}

func (v *Violation) Error() string { return fmt.Sprintf("step %d: %s", v.Step, v.What) }

// Run plays s under the rules and returns the first violation, or nil. say is
// told what happens, if it is not nil.
func (w World) Run(off Rules, s Schedule, say func(string)) *Violation {
	return w.play(off, s, say).broken
}

func (w World) play(off Rules, s Schedule, say func(string)) *oracle {
	o := &oracle{say: say}
	if len(s) == 0 {
		return o
	}
	m := worlds[w].make(off, s[0], o)
	for i, st := range s[1:] {
		o.step = i + 1
		m.move(st)
		if o.broken != nil {
			break
		}
	}
	return o
}

// machine is a world in motion.
type machine interface{ move(Step) }

// Length is the number of steps of a drawn schedule.
func (w World) Length() int { return worlds[w].length }

// Find runs schedules drawn from seed on, at most n, and returns the first
// that breaks a promise with the seed it was drawn from.
func (w World) Find(off Rules, seed uint64, n int) (bad Schedule, at uint64, tried int) {
	for i := range n {
		s := NewSchedule(seed+uint64(i), w.Length())
		if v := w.Run(off, s, nil); v != nil {
			return s[:v.Step+1], seed + uint64(i), i + 1
		}
	}
	return nil, 0, n
}

// Shrink leaves out what the violation does not need: ever smaller runs of
// steps, for as long as something can go.
func (w World) Shrink(off Rules, s Schedule) Schedule {
	for size := len(s) / 2; size > 0; {
		before := len(s)
		for at := 1; at+size <= len(s); {
			t := append(append(Schedule{}, s[:at]...), s[at+size:]...)
			if v := w.Run(off, t, nil); v != nil {
				s = t[:v.Step+1]
			} else {
				at += size
			}
		}
		if len(s) == before || size > len(s)/2 {
			size /= 2
		}
	}
	return s
}

// Transcript is the run of s in words, one line for each thing that happens.
func (w World) Transcript(off Rules, s Schedule) string {
	var b strings.Builder
	v := w.Run(off, s, func(line string) { b.WriteString(line + "\n") })
	if v != nil {
		fmt.Fprintf(&b, "BROKEN: %s\n", v.What)
	}
	return b.String()
}
