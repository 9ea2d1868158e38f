package nemesis

import (
	"errors"
	"fmt"
	"sync"

	"github.com/litefence/litefence/test/cluster"
)

// link is the way from one node to another; packets are dropped where they
// arrive, so that the two directions of a wire are two links.
type link struct{ from, to *cluster.Node }

// links is what is cut. Faults may overlap: a link is whole again when the last
// of them has ended.
type links struct {
	c *cluster.Cluster

	mu   sync.Mutex
	cuts map[int]map[link]float64 // by fault: the part of packets that is dropped
	next int
}

func (l *links) init(c *cluster.Cluster) { l.c, l.cuts = c, map[int]map[link]float64{} }

// cut drops on each link the part given of all packets, until undo.
func (l *links) cut(drop map[link]float64) (undo func() error, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	id := l.next
	l.cuts[id] = drop
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.cuts, id)
		return l.applyLocked(drop)
	}, l.applyLocked(drop)
}

// applyLocked renews the filters of the nodes that the links lead to.
func (l *links) applyLocked(changed map[link]float64) error {
	at := map[*cluster.Node]bool{}
	for w := range changed {
		at[w.to] = true
	}
	var errs []error
	for n := range at {
		var rules []string
		for _, drop := range l.cuts {
			for w, part := range drop {
				if w.to == n {
					rules = append(rules, rule(w.from.IP, part))
				}
			}
		}
		errs = append(errs, n.Filter(rules...))
	}
	return errors.Join(errs...)
}

func rule(from string, part float64) string {
	some := ""
	if part < 1 {
		some = fmt.Sprintf(" -m statistic --mode random --probability %.3f", part)
	}
	return fmt.Sprintf("-A INPUT -i eth0 -s %s%s -j DROP", from, some)
}

func (l *links) heal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts = map[int]map[link]float64{}
	var errs []error
	for _, n := range l.c.Nodes {
		errs = append(errs, n.Heal())
	}
	return errors.Join(errs...)
}

// between are all links between two groups, both ways.
func between(as, bs []*cluster.Node) map[link]float64 {
	all := map[link]float64{}
	for _, a := range as {
		for _, b := range bs {
			all[link{a, b}], all[link{b, a}] = 1, 1
		}
	}
	return all
}
