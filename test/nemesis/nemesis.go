package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/workload"
)

// Apps is what the nemesis may do to applications. The index is a node's place
// in the cluster.
type Apps interface {
	Kill(node int) error
	Restart(node int) error
	Stop(node int) error
	Continue(node int) error
}

// Nemesis acts on one cluster.
type Nemesis struct {
	c    *cluster.Cluster
	apps Apps
	links
	held

	mu     sync.Mutex
	faults []history.Fault
	errs   []error
	old    *cluster.Node // the last primary seen
	all    sync.WaitGroup
}

// New returns the nemesis of c.
func New(c *cluster.Cluster, apps Apps) *Nemesis {
	n := &Nemesis{c: c, apps: apps}
	n.links.init(c)
	n.held.init(c)
	return n
}

// Run carries p out and returns when every fault has been taken back. The
// errors are those of the nemesis: a fault that could not be made.
func (n *Nemesis) Run(ctx context.Context, p Plan) ([]history.Fault, error) {
	for _, s := range p.Steps {
		if sleep(ctx, s.After) != nil {
			break
		}
		k := kindOf(s.Fault)
		n.all.Go(func() { n.one(ctx, k, s) })
	}
	n.all.Wait()
	err := errors.Join(append(n.errs, n.links.heal(), n.held.startAll())...)
	return n.faults, err
}

func kindOf(name string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
}

func (n *Nemesis) one(ctx context.Context, k kind, s Step) {
	a := &acting{Nemesis: n, ctx: ctx, rng: rand.New(rand.NewPCG(s.Pick, 3))}
	a.fault = history.Fault{Name: k.name, Start: workload.Now()}
	undo, err := k.begin(a)
	if undo != nil {
		if err == nil {
			_ = sleep(ctx, s.Hold) // the fault itself
		}
		err = errors.Join(err, undo())
	}
	a.fault.End = workload.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, a.fault)
	if err != nil {
		n.errs = append(n.errs, fmt.Errorf("%s: %w", k.name, err))
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// acting is one fault being made.
type acting struct {
	*Nemesis
	ctx   context.Context
	rng   *rand.Rand
	fault history.Fault
}

// hits notes whom the fault befalls.
func (a *acting) hits(nodes ...*cluster.Node) {
	for _, n := range nodes {
		a.fault.Targets = append(a.fault.Targets, n.Name)
	}
}

// stops notes on which nodes reads may hang or fail.
func (a *acting) stops(nodes ...*cluster.Node) {
	a.hits(nodes...)
	for _, n := range nodes {
		a.fault.Stops = append(a.fault.Stops, n.Name)
	}
}

// primary is the node that writes, or the last one that did.
func (n *Nemesis) primary() *cluster.Node {
	for _, node := range n.c.Nodes {
		if s, err := node.Status(); err == nil && s.Writable {
			n.mu.Lock()
			n.old = node
			n.mu.Unlock()
			return node
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.old == nil {
		n.old = n.c.Nodes[0]
	}
	return n.old
}

func primary(a *acting) *cluster.Node { return a.primary() }

func replica(a *acting) *cluster.Node {
	return a.another(a.primary())
}

// another is some node but n.
func (a *acting) another(n *cluster.Node) *cluster.Node {
	others := a.c.Others(n)
	return others[a.rng.IntN(len(others))]
}

func anyNode(a *acting) *cluster.Node {
	if a.rng.IntN(2) == 0 {
		return primary(a)
	}
	return replica(a)
}
