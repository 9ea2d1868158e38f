package quorum

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// simNode is a machine: what outlives the processes on it.
type simNode struct {
	sim   *sim
	name  string
	clock *simClock
	disk  *raft.InmemStore
	slow  atomic.Int64 // a write to disk takes up to this, in nanoseconds
	snaps *simSnaps
	id    raft.ServerID // guarded by the sim's lock
	lives int           // data directories that it has had
	lease time.Duration // D of the next process
	proc  *simProc      // nil = down; guarded by the sim's lock
	busy  atomic.Bool   // a fault has the process down
}

// simProc is one run of the daemon: raft, transport, lease and records as Node
// puts them together, and a leader that waits, opens and closes as Node's does.
// It has no LiteFS: who leads opens.
type simProc struct {
	sim   *sim
	rules simRules
	node  *simNode
	id    raft.ServerID // guarded by the sim's lock
	D     time.Duration
	rng   *rand.Rand // under rngMu
	rngMu sync.Mutex

	stream *simStream
	dead   atomic.Bool
	front  *simFront
	trans  *transport
	lease  *lease
	fsm    *simFSM
	gate   *simGate
	raft   *raft.Raft
	live   atomic.Pointer[raft.Raft]
	notify chan bool
	orders chan simOrder
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	joined atomic.Bool
	sick   atomic.Bool
}

type simOrder struct {
	close    bool          // shut, drain, Close
	transfer raft.ServerID // and then hand leadership on
	idle     time.Duration // before the gate is opened again
}

// simFSM has the simulation look at every record.
type simFSM struct {
	*fsm
	p *simProc
}

func (f *simFSM) Apply(l *raft.Log) any {
	f.p.sim.logged(f.p, l)
	return f.fsm.Apply(l)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))

func (n *simNode) raftConfig(notify chan bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = n.raftID()
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = simH, simH, simH
	c.CommitTimeout = 50 * time.Millisecond
	c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = 2*time.Second, 6, 3
	c.Logger = hclog.NewNullLogger()
	c.NotifyCh = notify
	c.NoLegacyTelemetry = true
	return c
}

func (n *simNode) raftID() raft.ServerID {
	n.sim.mu.Lock()
	defer n.sim.mu.Unlock()
	return n.id
}

// start runs the daemon on the machine.
func (n *simNode) start() {
	s := n.sim
	p := &simProc{
		sim: s, rules: s.rules, node: n, id: n.raftID(), D: n.lease, rng: s.fork(),
		stream: s.net.listen(n.name), notify: make(chan bool, 1024), orders: make(chan simOrder, 4),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.gate = &simGate{p: p}
	p.lease = &lease{clock: n.clock, duration: p.D, self: p.id, gate: p.gate, voters: p.voters}
	p.fsm = &simFSM{&fsm{log: quiet, changed: func() {}}, p}
	inner := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: p.stream, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: p.D / 2, Logger: hclog.NewNullLogger(),
	})
	p.trans = newTransport(inner, n.clock, p.lease)
	p.trans.admitted = p.joined.Load
	p.trans.healthy = func() bool { return !p.sick.Load() }
	if p.rules.unknownLongAgo {
		p.lease.past.took(0, 1)
	}
	p.front = newSimFront(p)
	file := &simFile{InmemStore: n.disk, slow: &n.slow, rng: s.fork()}
	r, err := raft.NewRaft(n.raftConfig(p.notify), p.fsm, file, file, n.snaps, p.front)
	if err != nil {
		panic(err)
	}
	p.raft = r
	p.live.Store(r)
	p.joined.Store(p.rules.amnesia || len(r.GetConfiguration().Configuration().Servers) > 0)
	p.trans.start()
	s.mu.Lock()
	n.proc = p
	s.procs = append(s.procs, p)
	s.mu.Unlock()
	p.wg.Go(p.front.pump)
	p.wg.Go(p.reign)
	p.wg.Go(p.write)
	p.wg.Go(p.join)
}

func (p *simProc) chance(n int) bool { return p.upTo(time.Duration(n)) == 0 }

// upTo draws a duration in [0, d).
func (p *simProc) upTo(d time.Duration) time.Duration {
	p.rngMu.Lock()
	defer p.rngMu.Unlock()
	return time.Duration(p.rng.Int64N(int64(d)))
}

// crash ends the process at once: its gate, its networking, its disk writes.
// What is left of it winds down unseen.
func (p *simProc) crash() {
	s := p.sim
	s.mu.Lock()
	p.gate.dead = true
	p.node.proc = nil
	s.mu.Unlock()
	p.dead.Store(true)
	p.node.disk, p.node.snaps = copyDisk(p.node.disk), p.node.snaps.copy()
	p.cancel()
	p.stream.Close()
	s.net.freeze(p.node.name, false)
	p.node.clock.suspend(false)
	s.wg.Go(func() {
		_ = p.raft.Shutdown().Error()
		_ = p.trans.Close()
		p.wg.Wait()
	})
}

func (p *simProc) voters() (ids []raft.ServerID, self bool) {
	r := p.live.Load()
	if r == nil {
		return nil, false
	}
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, s.ID)
			self = self || s.ID == p.id
		}
	}
	return ids, self
}

// join is tryJoin: an empty node is admitted once a peer that it can reach
// shows it a configuration with its ID.
func (p *simProc) join() {
	for p.ctx.Err() == nil && !p.joined.Load() {
		p.rest(emptyEvery)
		if p.sim.shown(p) {
			p.joined.Store(true)
		}
	}
}

func (p *simProc) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.ctx.Done():
	}
}

func (p *simProc) leads(term uint64) bool {
	return p.ctx.Err() == nil && p.raft.State() == raft.Leader && p.raft.CurrentTerm() == term
}

// reign carries out raft's words, as late as a loaded machine may.
func (p *simProc) reign() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case leads := <-p.notify:
			if leads {
				p.lead(p.raft.CurrentTerm())
			}
		}
	}
}

func (p *simProc) lead(term uint64) {
	p.sim.note("%s leads in term %d", p.id, term)
	p.lease.lead(term)
	for p.raft.Barrier(simH).Error() != nil {
		if !p.leads(term) {
			return
		}
		p.rest(reignTick)
	}
	for p.leads(term) && !p.lease.over(term) {
		p.serve(term)
	}
	for p.leads(term) && p.lease.over(term) {
		p.raft.LeadershipTransfer()
		p.handedOn(term)
	}
}

// serve is one grant: Node.open, Node.keep and Node.end.
func (p *simProc) serve(term uint64) {
	if p.chance(4) {
		p.rest(p.upTo(300 * time.Millisecond)) // LiteFS takes its time to ask for the key
	}
	r, err := p.open(term)
	if err != nil {
		p.rest(10 * time.Millisecond)
		return
	}
	order := p.keep(term)
	p.lease.shut()
	p.gate.fence()
	if st := p.fsm.state(); r != nil && st.Open.ID == r.ID && p.lease.valid(term) {
		c := Record{Kind: KindClose, Term: term, RaftID: r.RaftID, ID: r.ID}
		_, _ = p.apply(c, p.D)
	}
	if order.transfer != "" {
		p.raft.LeadershipTransferToServer(order.transfer, raft.ServerAddress(nodeName(order.transfer)))
		p.handedOn(term)
	}
	p.rest(order.idle)
}

// handedOn waits as Node.transfer does: raft's own future may stay unanswered
// at a shutdown.
func (p *simProc) handedOn(term uint64) {
	for end := time.Now().Add(2 * simH); p.leads(term) && time.Now().Before(end); {
		p.rest(time.Millisecond)
	}
}

func (p *simProc) open(term uint64) (*Record, error) {
	st := p.fsm.state()
	d := waitFor(st.Newest, string(p.id), simDrift)
	if p.rules.noWait {
		d = 0
	}
	for {
		if !p.leads(term) || p.lease.over(term) {
			return nil, errLeaseOver
		}
		left, ok := p.lease.leftToWait(term, d, p.fsm.state().creditable())
		if ok && left <= 0 {
			_, credit, _ := p.lease.firstMajority(term)
			p.sim.note("%s has waited %v, credited with %v", p.id, d, credit)
			break
		}
		p.rest(max(time.Millisecond, min(left, reignTick)))
	}
	r := &Record{Kind: KindOpen, Term: term, RaftID: string(p.id), Node: p.node.name, ID: p.sim.recordID(), Lease: p.D}
	index, err := p.apply(*r, simH)
	if err != nil {
		return nil, err
	}
	p.rest(p.upTo(20 * time.Millisecond)) // the marker's fsync
	if err := p.lease.open(term, index); err != nil {
		return r, err
	}
	if p.rules.deathless {
		p.lease.mu.Lock()
		p.lease.opened = false
		p.lease.mu.Unlock()
	}
	return r, nil
}

func (p *simProc) apply(r Record, within time.Duration) (uint64, error) {
	f := p.raft.Apply(r.encode(), within)
	if err := f.Error(); err != nil {
		return 0, err
	}
	if err, _ := f.Response().(error); err != nil {
		return 0, err
	}
	return f.Index(), nil
}

// keep returns when the grant has to end.
func (p *simProc) keep(term uint64) (order simOrder) {
	for {
		select {
		case <-p.ctx.Done():
			return
		case order = <-p.orders:
			return order
		case <-time.After(reignTick):
		}
		until, ok := p.lease.until(term)
		if !ok || p.node.clock.Boot() > until+int64(lapseGrace) || !p.leads(term) {
			p.rest(p.upTo(700 * time.Millisecond)) // the gate must not depend on this
			return order
		}
	}
}

// write is an application: look, write below, look again, answer. Either look
// may be followed by a pause.
func (p *simProc) write() {
	for p.ctx.Err() == nil {
		p.rest(5*time.Millisecond + p.upTo(40*time.Millisecond))
		epoch := p.sim.enter(p.gate)
		if epoch == 0 {
			continue
		}
		d := p.upTo(8 * time.Millisecond)
		if p.chance(20) {
			d = p.upTo(500 * time.Millisecond)
		}
		p.rest(d)
		p.sim.leave(p.gate, epoch, d)
	}
}

func (p *simProc) String() string {
	if p == nil {
		return "down"
	}
	st := p.raft.Stats()
	ids, _ := p.voters()
	return fmt.Sprintf("%s: %s in term %s, last log %s, applied %s, joined %v, voters %v, newest %+v, lease term %d dead %v",
		p.id, st["state"], st["term"], st["last_log_index"], st["applied_index"], p.joined.Load(), ids, p.fsm.state().Newest, p.lease.term, p.lease.dead)
}
