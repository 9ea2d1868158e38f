package quorum

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// simClock is a machine's pair of clocks, made of the bubble's. Their rate is
// the machine's own and their zero says nothing.
type simClock struct {
	start  time.Time
	rate   float64
	offset int64

	mu    sync.Mutex
	slept time.Duration // suspended so far
	since time.Time     // suspended since; zero = awake
}

func newSimClock(rng *rand.Rand, drift float64) *simClock {
	rate := 1 + drift*(rng.Float64()-0.5)
	if rng.IntN(2) == 0 { // often the worst: two machines as far apart as is allowed
		rate = 1 + drift/2*float64(1-2*rng.IntN(2))
	}
	return &simClock{start: time.Now(), rate: rate, offset: int64(time.Hour) + rng.Int64N(int64(time.Hour))}
}

func (c *simClock) read(d time.Duration) int64 { return c.offset + int64(float64(d)*c.rate) }

func (c *simClock) Boot() int64 { return c.read(time.Since(c.start)) }

func (c *simClock) Mono() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	slept := c.slept
	if !c.since.IsZero() {
		slept += time.Since(c.since)
	}
	return c.read(time.Since(c.start) - slept)
}

func (c *simClock) suspend(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case on && c.since.IsZero():
		c.since = time.Now()
	case !on && !c.since.IsZero():
		c.slept += time.Since(c.since)
		c.since = time.Time{}
	}
}

// simFile is a process's handle on what a crash leaves. Writes take up to slow;
// after a crash they are lost, as those are that had not returned by then.
type simFile struct {
	*raft.InmemStore
	slow *atomic.Int64
	dead *atomic.Bool
	mu   sync.Mutex
	rng  *rand.Rand
}

func (f *simFile) write(do func() error) error {
	if slow := f.slow.Load(); slow > 0 {
		f.mu.Lock()
		d := f.rng.Int64N(slow)
		f.mu.Unlock()
		time.Sleep(time.Duration(d))
	}
	if f.dead.Load() {
		return nil
	}
	return do()
}

func (f *simFile) Set(k, v []byte) error {
	return f.write(func() error { return f.InmemStore.Set(k, v) })
}

func (f *simFile) SetUint64(k []byte, v uint64) error {
	return f.write(func() error { return f.InmemStore.SetUint64(k, v) })
}

func (f *simFile) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *simFile) StoreLogs(l []*raft.Log) error {
	return f.write(func() error { return f.InmemStore.StoreLogs(l) })
}

func (f *simFile) DeleteRange(from, to uint64) error {
	return f.write(func() error { return f.InmemStore.DeleteRange(from, to) })
}

// simGate is a gate as the fenced mount has it, with the checks of the
// simulation: whenever it begins to admit, no other may.
type simGate struct {
	p *simProc
	// The simulation's lock guards the rest.
	epoch  uint64
	until  int64
	over   bool // revoked
	shut   bool
	inside int
	dead   bool // the process is gone
}

func (g *simGate) admitsLocked() bool {
	if g.epoch == 0 || g.dead || g.shut || g.over {
		return false
	}
	if g.p.rules.raftState {
		r := g.p.live.Load()
		return r != nil && r.State() == raft.Leader
	}
	return g.p.node.clock.Boot() < g.until
}

func (g *simGate) Open(epoch uint64, until int64) error {
	s := g.p.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.dead {
		return errLeaseOver
	}
	if epoch < g.epoch || epoch == g.epoch && g.over || epoch > g.epoch && g.inside > 0 {
		return errLeaseOver
	}
	if epoch > g.epoch {
		g.epoch, g.until, g.over = epoch, until, false
	}
	g.until, g.shut = max(g.until, until), false
	s.openedLocked(g)
	return nil
}

func (g *simGate) Extend(epoch uint64, until int64) {
	s := g.p.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == g.epoch && !g.over {
		g.until = max(g.until, until)
		s.checkLocked(g, "extended")
	}
}

func (g *simGate) Revoke() {
	if g.p.rules.deathless {
		return
	}
	s := g.p.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	g.over = true
}

// fence shuts the door and returns when the last one has left.
func (g *simGate) fence() {
	s := g.p.sim
	s.mu.Lock()
	g.shut = true
	s.mu.Unlock()
	for {
		s.mu.Lock()
		out := g.inside == 0 || g.dead
		s.mu.Unlock()
		if out {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
