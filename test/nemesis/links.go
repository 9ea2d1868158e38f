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

// packets are some of those on a link, in the words of iptables.
type packets struct {
	match  string // "" = all
	except string // "" = none
}

// links is what is cut. Faults may overlap: a link is whole again when the last
// of them has ended.
type links struct {
	c *cluster.Cluster

	mu   sync.Mutex
	cuts map[int]map[link]packets // by fault
	next int
}

func (l *links) init(c *cluster.Cluster) { l.c, l.cuts = c, map[int]map[link]packets{} }

// cut drops on each link the packets given, until undo.
func (l *links) cut(drop map[link]packets) (undo func() error, err error) {
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
func (l *links) applyLocked(changed map[link]packets) error {
	at := map[*cluster.Node]bool{}
	for w := range changed {
		at[w.to] = true
	}
	var errs []error
	for n := range at {
		var rules []string
		for _, drop := range l.cuts {
			for w, which := range drop {
				if w.to == n {
					if which.except != "" {
						rules = append([]string{fmt.Sprintf("-A INPUT -i eth0 -s %s %s -j ACCEPT", w.from.IP, which.except)}, rules...)
					}
					rules = append(rules, fmt.Sprintf("-A INPUT -i eth0 -s %s %s -j DROP", w.from.IP, which.match))
				}
			}
		}
		errs = append(errs, n.Filter(rules...))
	}
	return errors.Join(errs...)
}

// some is a part of all packets.
func some(part float64) packets {
	return packets{match: fmt.Sprintf("-m statistic --mode random --probability %.3f", part)}
}

func (l *links) heal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts = map[int]map[link]packets{}
	var errs []error
	for _, n := range l.c.Nodes {
		errs = append(errs, n.Heal())
	}
	return errors.Join(errs...)
}

// between are all links between two groups, both ways.
func between(as, bs []*cluster.Node) map[link]packets {
	all := map[link]packets{}
	for _, a := range as {
		for _, b := range bs {
			all[link{a, b}], all[link{b, a}] = packets{}, packets{}
		}
	}
	return all
}
