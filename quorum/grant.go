package quorum

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// A grant is one time that the local LiteFS holds the key. Every grant needs an
// Open of its own: an operation admitted under one never reaches LiteFS under
// another.
type grant struct {
	id     uint64
	term   uint64
	taken  chan struct{}      // closed when LiteFS has the key
	left   chan struct{}      // closed when LiteFS has given it up by itself
	gone   chan struct{}      // closed when the gate is shut and drained: LiteFS may be told
	ended  chan struct{}      // closed when the Close record has been tried too
	ctx    context.Context    // ends with the role; streams to replicas hang on it
	cancel context.CancelFunc //

	// Guarded by Node.mu.
	hostname string
	isTaken  bool
	hasLeft  bool
	opened   bool
	index    uint64 // of its Open in raft's log
	ending   bool
	yielding bool  // a fenced leader is looking for an heir
	noHeir   bool  // no heir got everything in time
	renewed  int64 // boot time of LiteFS's last sign of life as primary
}

// offer lets the local LiteFS have the key.
func (n *Node) offer(term uint64) *grant {
	g := &grant{
		id: n.grantSeq.Add(1), term: term,
		taken: make(chan struct{}), left: make(chan struct{}), gone: make(chan struct{}), ended: make(chan struct{}),
	}
	g.ctx, g.cancel = context.WithCancel(n.ctx)
	n.mu.Lock()
	n.grant = g
	n.takeLocked()
	n.mu.Unlock()
	n.poke()
	return g
}

// Looped is told that LiteFS has begun another turn of its lease loop: it is
// not primary, and no stream is being applied.
func (n *Node) Looped() {
	n.mu.Lock()
	n.loops++
	close(n.looped)
	n.looped = make(chan struct{})
	if n.grant == nil || !n.grant.isTaken {
		n.role = policy.RoleReplica
	}
	n.mu.Unlock()
	n.poke()
}

// offerWithin is how long LiteFS's request for the key is held while this leader
// may be about to offer it: refused, LiteFS comes again only after its
// reconnect-delay, and writes wait for that.
const offerWithin = 200 * time.Millisecond

func (n *Node) awaitOffer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, offerWithin)
	defer cancel()
	for {
		n.mu.Lock()
		leads := n.reigning != 0 || n.followed.id == n.raftID()
		done := n.grant != nil || !leads || n.closing.Load()
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Acquire is asked by LiteFS for the key. Only the eligible leader's LiteFS
// gets it; the role counts as primary from before the answer.
func (n *Node) Acquire(ctx context.Context, hostname string) (uint64, bool) {
	n.awaitOffer(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.grant
	if g == nil || g.isTaken || g.ending || n.asiding || n.closing.Load() || !n.lease.valid(g.term) {
		return 0, false
	}
	g.isTaken, g.hostname, g.renewed = true, hostname, n.clock.Boot()
	n.role = policy.RolePrimary
	close(g.taken)
	n.poke()
	return g.id, true
}

// renewWait bounds how long a renewal waits for the drain: LiteFS's request has
// no timeout of its own, and no answer at all would keep it primary for ever.
const renewWait = time.Second

// Renew is asked by LiteFS whether it still is primary. It answers no only
// after the gate is shut and drained: told earlier, LiteFS would exit with the
// application told COMMIT OK.
func (n *Node) Renew(ctx context.Context, id uint64) bool {
	n.mu.Lock()
	g := n.grant
	if g == nil || g.id != id {
		n.mu.Unlock()
		return false // ended before: drained
	}
	g.renewed = n.clock.Boot()
	ending := g.ending
	n.mu.Unlock()
	if !ending && n.lease.valid(g.term) {
		return true
	}
	n.wake() // after a pause of this process the renewal may be the first to see it
	select {
	case <-g.gone:
		return false
	case <-ctx.Done():
	case <-time.After(renewWait):
	}
	return true
}

// Release is told that LiteFS has given the key up by itself.
func (n *Node) Release(_ context.Context, id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g := n.grant; g != nil && g.id == id && !g.hasLeft {
		// LiteFS is primary no more: what reaches it now it exits on, or keeps to
		// itself. A commit under way is not acknowledged.
		n.lease.shut()
		n.cfg.Gate.Revoke()
		g.hasLeft = true
		close(g.left)
	}
	n.role = policy.RoleUnknown
	n.poke()
}

// Serving returns a context that ends with this node's role, or an error where
// it has none: only an open primary's stream leaves this node.
func (n *Node) Serving() (context.Context, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g := n.grant; g != nil && g.opened && !g.ending && n.lease.valid(g.term) {
		return g.ctx, nil
	}
	return nil, errNoPrimary
}

// end takes the role away: gate, drain, Close record, and only then the key.
// Safe to call once per grant.
func (n *Node) end(g *grant, reason policy.Reason) {
	n.mu.Lock()
	g.ending = true
	opened := g.opened
	n.mu.Unlock()
	n.poke()
	n.lease.shut()
	n.copies.end() // or the drain would wait for commits that wait
	if !n.lease.valid(g.term) {
		g.cancel() // the lease is gone: nothing more may leave
	}
	drained := n.drain(reason)
	g.cancel()
	orderly := n.lease.valid(g.term)
	n.mu.Lock()
	if n.grant == g {
		n.grant = nil
	}
	if orderly && n.role == policy.RolePrimary && !n.follows() {
		// Taken back under a valid lease: LiteFS has yet to be told, but it is no
		// leader gone stale.
		n.role = policy.RoleUnknown
	}
	n.mu.Unlock()
	close(g.gone)
	// A write that hangs may still find the lease valid when it comes back: the
	// next leader has to wait for it.
	if opened && drained {
		n.closeRecord(g)
	}
	close(g.ended)
	n.poke()
}

// drain returns when no admitted write is in flight, or false when the node
// ends before. Without a bound: one that hangs below keeps the role, and LiteFS
// is told nothing, until it is out. A leader that waits for a LiteFS which has
// stopped hands leadership on meanwhile: its lease ends with the term, what
// hangs will end in doubt, and nobody else has to wait.
func (n *Node) drain(reason policy.Reason) (drained bool) {
	out := make(chan struct{})
	n.goes(func() {
		defer close(out)
		err := n.cfg.Fence(n.ctx)
		for ; err != nil && n.ctx.Err() == nil; err = n.cfg.Fence(n.ctx) {
			n.log.Error("fence did not drain", "err", err, "reason", reason)
		}
		drained = err == nil
	})
	late := time.NewTicker(n.cfg.HeartbeatTimeout)
	defer late.Stop()
	for told := false; ; told = true {
		select {
		case <-out:
			return drained
		case <-late.C:
		}
		if !told {
			n.log.Warn("a write hangs in LiteFS, which keeps its role until that is out", "reason", reason)
		}
		if n.raft.State() == raft.Leader && len(n.servers()) > 1 {
			n.log.Warn("handing leadership on without the write that hangs", "reason", reason)
			if err := n.transfer(n.ctx, n.raft.LeadershipTransfer); err != nil {
				n.log.Warn("leadership not handed on", "err", err)
			}
		}
	}
}

// closeRecord tells the next leader that it need not wait. From the append on,
// whatever becomes of it, the gate stays shut until another Open.
func (n *Node) closeRecord(g *grant) {
	st := n.fsm.state()
	if st.Open.Term != g.term || st.Open.RaftID != string(n.raftID()) || !n.lease.valid(g.term) {
		return
	}
	r := Record{Kind: KindClose, Term: g.term, RaftID: st.Open.RaftID, Node: n.cfg.Name, ID: st.Open.ID}
	n.mu.Lock()
	if h := n.handing; h.of(g) && h.sure {
		r.To, r.Positions = string(h.to.ID), h.final
	}
	n.mu.Unlock()
	if _, err := n.apply(r, n.cfg.Lease); err != nil {
		n.log.Debug("close not recorded; the next leader waits", "err", err)
	}
}
