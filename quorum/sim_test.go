package quorum

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// The simulation runs the lease over real raft nodes, which talk through raft's
// own NetworkTransport and ours, in a bubble of testing/synctest: its time goes
// on only when every goroutine waits for it, so that raft's timers, all delays
// and both clocks of every machine are simulated. A schedule of faults follows
// from its seed, and so do its delays as far as messages are sent in the same
// order. Not repeatable is what Go leaves open: which case of a select and which
// of several goroutines that wake at one instant comes first, and raft's
// randomized timeouts, which come from a source that all schedules of a process
// share. A seed that failed fails again often, not always: replay it some times
// (-count).
//
//	go test ./quorum -run 'TestSimulation$' -sim.seed=N -sim.rounds=1 -v
//
// Abstracted: LiteFS (who leads opens), disks that fail, and pauses of a process
// between two of its own steps other than a read or write of the network, a
// write to disk or a write of the application.
var (
	simSeed   = flag.Uint64("sim.seed", 1, "first seed of the simulation")
	simRounds = flag.Int("sim.rounds", 120, "schedules of the simulation")
)

const (
	simH     = 600 * time.Millisecond
	simD     = 300 * time.Millisecond
	simDrift = 0.01
	// simSpan is how long faults begin, simBack how long after the last one
	// somebody has to admit writes again.
	simSpan = 5 * time.Second
	simBack = 15 * time.Second
)

// simRules says which rules of the lease are off.
type simRules struct {
	noWait         bool // a new leader opens at once
	raftState      bool // raft's word that it leads is taken for a lease
	arrival        bool // the lease counts from an answer's arrival
	fastPath       bool // raft answers heartbeats beside its main loop and our stamps
	unknownLongAgo bool // a voter that knows nothing says "long ago"
	lateStamp      bool // an older leader's message is stamped after raft has answered it
	deathless      bool // a lease does not die at a vote or a higher term
	amnesia        bool // an empty node comes back under its old ID and takes part
}

// sim is one run.
type sim struct {
	rules simRules
	net   *simNet
	nodes []*simNode
	wg    sync.WaitGroup
	began time.Time

	mu       sync.Mutex
	rng      *rand.Rand
	procs    []*simProc
	bad      []string
	trace    []string
	newest   uint64            // newest Open under which a gate has opened
	records  map[uint64]string // what the log holds, by index
	ids      int
	acks     int // acknowledged writes
	opens    int
	changing bool          // a change of the voters is under way
	back     time.Duration // from the end of the faults to the first new write
}

// fork makes a source of its own for somebody.
func (s *sim) fork() *rand.Rand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rand.New(rand.NewPCG(s.rng.Uint64(), s.rng.Uint64()))
}

func (s *sim) recordID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return fmt.Sprint(s.ids)
}

func (s *sim) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(format, args...)
}

func (s *sim) noteLocked(format string, args ...any) {
	at := fmt.Sprintf("%11v ", time.Since(s.began).Round(time.Microsecond))
	s.trace = append(s.trace, at+fmt.Sprintf(format, args...))
}

func (s *sim) failLocked(format string, args ...any) {
	s.bad = append(s.bad, fmt.Sprintf(format, args...))
	s.noteLocked("VIOLATION: "+format, args...)
}

func (s *sim) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bad) > 0
}

// openedLocked and checkLocked are asked whenever a gate may begin to admit: two
// that admit at one instant are seen when the later one begins.
func (s *sim) openedLocked(g *simGate) {
	s.opens++
	s.noteLocked("%s opens under %d", g.p.id, g.epoch)
	s.checkLocked(g, "opened")
	s.newest = max(s.newest, g.epoch)
}

func (s *sim) checkLocked(g *simGate, how string) {
	if !g.admitsLocked() {
		return
	}
	if g.epoch < s.newest {
		s.failLocked("%s %s under %d after %d", g.p.id, how, g.epoch, s.newest)
	}
	for _, other := range s.procs {
		if other != g.p && other.gate.admitsLocked() {
			s.failLocked("%s %s under %d while %s admits under %d", g.p.id, how, g.epoch, other.id, other.gate.epoch)
		}
	}
}

// enter is a write's first look.
func (s *sim) enter(g *simGate) (epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !g.admitsLocked() {
		return 0
	}
	s.checkLocked(g, "admitted a write")
	g.inside++
	return g.epoch
}

// leave is its second look; the door may have been shut meanwhile.
func (s *sim) leave(g *simGate, epoch uint64, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.inside--
	valid := !g.dead && !g.over && g.epoch == epoch && g.p.node.clock.Boot() < g.until
	if g.p.rules.raftState {
		valid = g.admitsLocked()
	}
	if !valid {
		return
	}
	s.acks++
	if epoch < s.newest {
		s.failLocked("%s acknowledged a write under %d, begun %v ago, after %d had opened", g.p.id, epoch, took, s.newest)
	}
}

// logged sees every record that a node applies: all must see the same.
func (s *sim) logged(p *simProc, l *raft.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := fmt.Sprintf("%d %s", l.Term, l.Data)
	if was, ok := s.records[l.Index]; ok && was != got && !p.dead.Load() {
		s.failLocked("%s applied %q at %d, another node %q", p.id, got, l.Index, was)
	}
	if _, ok := s.records[l.Index]; !ok {
		s.records[l.Index] = got
		s.noteLocked("%s applies %d: %s", p.id, l.Index, got)
	}
}

// simulate runs one schedule and returns it with what it found.
func simulate(t *testing.T, seed uint64, rules simRules, plan func(s *sim, rng *rand.Rand)) *sim {
	s := &sim{rules: rules, rng: rand.New(rand.NewPCG(seed, 0)), records: map[uint64]string{}}
	synctest.Test(t, func(t *testing.T) {
		s.began = time.Now()
		s.net = newSimNet(s.fork())
		s.boot()
		rng := s.fork()
		plan(s, rng)
		if !s.failed() {
			s.expectProgress()
		}
		for _, n := range s.nodes {
			if p := s.running(n); p != nil {
				p.crash()
			}
		}
		s.wg.Wait()
		time.Sleep(2 * time.Second) // what raft does not wait for: a connection's goroutine in a slow write to disk
	})
	return s
}

// boot makes a cluster and starts it.
func (s *sim) boot() {
	var conf raft.Configuration
	for i := range []int{3, 3, 3, 4, 5}[s.rng.IntN(5)] {
		n := &simNode{sim: s, name: fmt.Sprintf("n%d", i+1), lease: simD, clock: newSimClock(s.rng, simDrift)}
		n.wipe()
		s.nodes = append(s.nodes, n)
		conf.Servers = append(conf.Servers, raft.Server{ID: n.raftID(), Address: raft.ServerAddress(n.name)})
	}
	_, trans := raft.NewInmemTransport("")
	for _, n := range s.nodes {
		if err := raft.BootstrapCluster(n.raftConfig(nil), n.disk, n.disk, n.snaps, trans, conf); err != nil {
			panic(err)
		}
		n.start()
	}
}

// wipe gives the machine an empty data directory, and with it another ID.
func (n *simNode) wipe() {
	n.disk, n.snaps = raft.NewInmemStore(), &simSnaps{}
	n.sim.mu.Lock()
	defer n.sim.mu.Unlock()
	if n.lives == 0 || !n.sim.rules.amnesia {
		n.lives++
	}
	n.id = raft.ServerID(fmt.Sprintf("%s-%d", n.name, n.lives))
}

// expectProgress mends everything and waits for a write.
func (s *sim) expectProgress() {
	s.mend()
	s.mu.Lock()
	before := s.acks
	s.mu.Unlock()
	start := time.Now()
	s.until(simBack, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.acks > before
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.back = time.Since(start); s.acks == before && len(s.bad) == 0 {
		for _, n := range s.nodes {
			s.noteLocked("%s", n.proc)
		}
		s.failLocked("no write within %v of the end of all faults", simBack)
	}
}

func TestSimulation(t *testing.T) {
	t.Logf("seeds %d to %d, H=%v D=%v", *simSeed, *simSeed+uint64(*simRounds)-1, simH, simD)
	var mu sync.Mutex
	var acks, opens int
	var slowest time.Duration
	t.Run("schedule", func(t *testing.T) {
		for i := range *simRounds {
			seed := *simSeed + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				s := simulate(t, seed, simRules{}, anyFaults)
				if len(s.bad) > 0 || *simRounds == 1 {
					t.Log("\n" + strings.Join(s.trace, "\n"))
				}
				require.Empty(t, s.bad, "seed %d; again: go test ./quorum -run 'TestSimulation$' -sim.seed=%d -sim.rounds=1 -v", seed, seed)
				mu.Lock()
				defer mu.Unlock()
				acks, opens, slowest = acks+s.acks, opens+s.opens, max(slowest, s.back)
			})
		}
	})
	t.Logf("%d opens, %d writes acknowledged; back %v after the faults at the latest", opens, acks, slowest)
}
