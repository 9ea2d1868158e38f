package cluster

import (
	"slices"
	"sync"
	"time"

	"github.com/litefence/litefence/test/workload"
)

// watchEvery is how often a watched node is asked.
const watchEvery = 50 * time.Millisecond

// Statement is one answer of a node's status: it was true at some time between
// From, the question, and To (CLOCK_MONOTONIC, nanoseconds).
type Statement struct {
	Of       *Node
	From, To int64
	Status   Status
}

// Watch is what all nodes' status says, all the time until Stop.
type Watch struct {
	end  chan struct{}
	wait sync.WaitGroup
	mu   sync.Mutex
	all  []Statement
}

// Watch begins to ask every node. Those that do not answer say nothing.
func (c *Cluster) Watch() *Watch {
	w := &Watch{end: make(chan struct{})}
	for _, n := range c.Nodes {
		w.wait.Go(func() { w.ask(n) })
	}
	return w
}

func (w *Watch) ask(n *Node) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.end:
			return
		case <-tick.C:
		}
		from := workload.Now()
		if s, err := n.Status(); err == nil {
			w.mu.Lock()
			w.all = append(w.all, Statement{n, from, workload.Now(), s})
			w.mu.Unlock()
		}
	}
}

// Statements is all that has been said so far; those of one node in its order.
func (w *Watch) Statements() []Statement {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// Stop ends it, and waits.
func (w *Watch) Stop() {
	close(w.end)
	w.wait.Wait()
}
