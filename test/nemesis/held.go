package nemesis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

type program int

const (
	litefence program = iota
	liteFS
)

func (p program) String() string { return [...]string{"litefence", "LiteFS"}[p] }

type process struct {
	node *cluster.Node
	program
}

// held is which processes faults keep dead or stopped. Faults may overlap: a
// process is started when the last one that wants it dead has ended.
type held struct {
	c *cluster.Cluster

	mu      sync.Mutex
	dead    map[process]int
	stopped map[process]int
	deaths  []Death
}

// Death is a daemon that ended though no fault had killed it. It is started
// again, as a service manager would.
type Death struct {
	Node, Program string
	At            int64
	Code          int
}

func (h *held) init(c *cluster.Cluster) {
	h.c, h.dead, h.stopped = c, map[process]int{}, map[process]int{}
}

func (p process) running() *cluster.Process {
	if p.program == litefence {
		return p.node.Litefence()
	}
	return p.node.LiteFS()
}

// used: LiteFS may be run without litefence.
func (p process) used() bool { return p.running() != nil }

func (p process) start() error {
	if p.running().Running() {
		return nil
	}
	if p.program == litefence {
		return p.node.StartLitefence()
	}
	return p.node.StartLiteFS()
}

// kill keeps the processes dead until undo.
func (h *held) kill(ps ...process) (undo func() error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range ps {
		h.dead[p]++
		_ = p.running().Signal(syscall.SIGKILL) // all at once, like a power loss
	}
	for _, p := range ps {
		err = errors.Join(err, p.running().Kill())
	}
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		var errs []error
		for _, p := range ps {
			if h.dead[p]--; h.dead[p] == 0 {
				errs = append(errs, p.start())
			}
		}
		return errors.Join(errs...)
	}, err
}

// stop keeps the processes stopped until undo.
func (h *held) stop(ps ...process) (undo func() error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range ps {
		h.stopped[p]++
		_ = p.running().Signal(syscall.SIGSTOP) // or it is dead
	}
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i := len(ps) - 1; i >= 0; i-- {
			if h.stopped[ps[i]]--; h.stopped[ps[i]] == 0 {
				_ = ps[i].running().Signal(syscall.SIGCONT)
			}
		}
		return nil
	}, nil
}

// Supervise starts daemons again that have ended by themselves, until ctx ends.
func (n *Nemesis) Supervise(ctx context.Context) {
	for sleep(ctx, 100*time.Millisecond) == nil {
		n.held.revive()
	}
}

func (h *held) revive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, node := range h.c.Nodes {
		for _, p := range []process{{node, litefence}, {node, liteFS}} {
			if !p.used() || h.dead[p] > 0 || p.running().Running() {
				continue
			}
			h.deaths = append(h.deaths, Death{node.Name, p.program.String(), workload.Now(), p.running().ExitCode()})
			_ = p.start() // or at the next look
		}
	}
}

// Deaths lists the daemons that ended by themselves.
func (n *Nemesis) Deaths() []Death {
	n.held.mu.Lock()
	defer n.held.mu.Unlock()
	return append([]Death{}, n.held.deaths...)
}

func (d Death) String() string {
	return fmt.Sprintf("%s on %s ended by itself, code %d", d.Program, d.Node, d.Code)
}

// startAll takes back whatever a fault that failed half-way has left.
func (h *held) startAll() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, node := range h.c.Nodes {
		for _, p := range []process{{node, litefence}, {node, liteFS}} {
			if !p.used() {
				continue
			}
			h.dead[p], h.stopped[p] = 0, 0
			_ = p.running().Signal(syscall.SIGCONT)
			errs = append(errs, p.start())
		}
	}
	return errors.Join(errs...)
}
