// Package nemesis does to a cluster what networks, disks, operators and power
// supplies do. A plan is made from a seed and nothing else; whom a fault hits
// where the plan says "the primary" is decided when it begins.
package nemesis

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Plan is one round's faults.
type Plan struct {
	Seed  uint64
	Nodes int
	Steps []Step
}

// Step begins a fault After the one before it began, and takes it back Hold
// later.
type Step struct {
	After time.Duration
	Hold  time.Duration
	Fault string
	// Pick makes the fault's own choices at the time it begins.
	Pick uint64
}

// String names the faults in their order.
func (p Plan) String() string {
	var names []string
	for _, s := range p.Steps {
		names = append(names, fmt.Sprintf("%s %v", s.Fault, s.Hold.Round(10*time.Millisecond)))
	}
	return strings.Join(names, ", ")
}

// Limits bounds a plan.
type Limits struct {
	Steps int           // at most; 3
	Hold  time.Duration // a fault lasts at most so long; 30 s
	// Clock allows steps of this machine's clock.
	Clock bool
	// Only, where given, are the faults to choose from.
	Only []string
}

// NewPlan makes the plan of seed for a cluster of nodes.
func NewPlan(seed uint64, nodes int, l Limits) Plan {
	if l.Steps == 0 {
		l.Steps = 3
	}
	if l.Hold == 0 {
		l.Hold = 30 * time.Second
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	p := Plan{Seed: seed, Nodes: nodes}
	destroyed := false
	for range 1 + rng.IntN(l.Steps) {
		f := choose(rng, nodes, l, destroyed)
		destroyed = destroyed || f.destroys
		s := Step{Fault: f.name, Pick: rng.Uint64(), Hold: hold(rng, f, l.Hold)}
		if len(p.Steps) > 0 {
			last := p.Steps[len(p.Steps)-1]
			s.After = last.Hold + time.Duration(rng.Int64N(int64(time.Second)))
			if rng.IntN(5) < 2 { // into the one before
				s.After = time.Duration(rng.Int64N(int64(last.Hold) + 1))
			}
		}
		p.Steps = append(p.Steps, s)
	}
	return p
}

func choose(rng *rand.Rand, nodes int, l Limits, destroyed bool) kind {
	var from []kind
	for _, k := range kinds {
		if nodes < k.nodes || destroyed && k.destroys || k.name == ClockStep && !l.Clock {
			continue
		}
		if l.Only != nil && !slices.Contains(l.Only, k.name) {
			continue
		}
		for range k.weight {
			from = append(from, k)
		}
	}
	return from[rng.IntN(len(from))]
}

// hold is log-uniform: short faults are as likely as long ones. Most rounds
// would otherwise wait for something that was over in a second.
func hold(rng *rand.Rand, k kind, most time.Duration) time.Duration {
	from, to := k.from, min(k.to, most)
	if from >= to {
		return to
	}
	return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), rng.Float64()))
}

// Names lists all faults.
func Names() (all []string) {
	for _, k := range kinds {
		all = append(all, k.name)
	}
	return all
}

// NeedsDisks reports whether the plan fills a disk, so that the nodes must have
// disks of their own.
func (p Plan) NeedsDisks() bool {
	for _, s := range p.Steps {
		if strings.HasPrefix(s.Fault, "disk full") {
			return true
		}
	}
	return false
}
