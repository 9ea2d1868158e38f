package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litefence/litefence/policy"
)

const (
	// reignTick is how often a leader looks at what it does not hear of at once.
	reignTick = 20 * time.Millisecond
	// lapseGrace is how long after the lease has run out the role is taken from
	// LiteFS; the gate has refused since the instant itself.
	lapseGrace = 60 * time.Millisecond
	// acquireWithin is how long an eligible LiteFS may take to ask for the key.
	acquireWithin = 2 * time.Second
)

// serve offers the key to the local LiteFS and stays until the role is gone
// from it again.
func (n *Node) serve(ctx context.Context, term uint64) {
	g := n.offer(term)
	reason, err := n.hold(ctx, g)
	if err != nil && ctx.Err() == nil {
		n.log.Warn("primary role not used", "term", term, "reason", reason, "err", err)
	}
	n.end(g, reason)
	n.passOn(ctx, g)
}

// hold takes a grant from its offer to its end and says why it ended.
func (n *Node) hold(ctx context.Context, g *grant) (policy.Reason, error) {
	if reason, err := n.awaitLiteFS(ctx, g); err != nil {
		return reason, err
	}
	if err := n.open(ctx, g); err != nil {
		return policy.ReasonNotOpen, err
	}
	n.unskip(n.cfg.Name)
	return n.keep(ctx, g), nil
}

// awaitLiteFS returns when LiteFS has taken the key.
func (n *Node) awaitLiteFS(ctx context.Context, g *grant) (policy.Reason, error) {
	late := time.NewTimer(n.cfg.acquireWithin)
	defer late.Stop()
	tick := time.NewTicker(reignTick)
	defer tick.Stop()
	for {
		select {
		case <-g.taken:
			return policy.ReasonNone, nil
		case <-late.C:
			n.skipFor(n.cfg.Name)
			return policy.ReasonNoRole, errors.New("LiteFS did not ask for the key")
		case <-tick.C:
		}
		if reason := n.endReason(ctx, g); reason != policy.ReasonNone {
			return reason, fmt.Errorf("%s", reason)
		}
	}
}

// open waits the old lease out, commits the Open of this grant and opens the
// gate.
func (n *Node) open(ctx context.Context, g *grant) error {
	// What came before this leader's own barrier is in the state: the barrier
	// was applied before the grant was offered.
	st := n.fsm.state()
	if err := n.waitOut(ctx, g, waitFor(st.Newest, string(n.raftID()), n.cfg.ClockDrift)); err != nil {
		return err
	}
	n.mu.Lock()
	asides := n.asides // none begins while there is a grant
	n.mu.Unlock()
	pos, err := n.primaryPositions(ctx, g)
	if err != nil {
		return err
	}
	if err := n.recheck(pos); err != nil {
		return err
	}
	r := Record{
		Kind: KindOpen, Term: g.term, RaftID: string(n.raftID()), Node: n.cfg.Name,
		Hostname: g.hostname, ID: randomHex(8), Lease: n.cfg.Lease, Positions: pos,
	}
	index, err := n.apply(r, n.cfg.HeartbeatTimeout)
	if err != nil {
		return fmt.Errorf("open not committed: %w", err)
	}
	n.noteLost(st, r, index)
	// The marker stands before the first write passes: data written under this
	// Open is in step with it whatever happens next.
	if err := n.setMarker(policy.OpenRef{Index: index, ID: r.ID}, asides); err != nil {
		return fmt.Errorf("in-step marker: %w", err)
	}
	if pos.Sum() == 0 {
		if err := n.used(r); err != nil {
			return err
		}
	}
	return n.openGate(g, index)
}

// used records that writes are about to pass under an Open without data. From
// then on no data is no longer as good as the opener's; before, it has to be, or
// an opener that dies without its marker would leave nobody in step.
func (n *Node) used(open Record) error {
	r := Record{Kind: KindHeld, Term: open.Term, ID: open.ID, Positions: open.Positions}
	if _, err := n.apply(r, n.cfg.HeartbeatTimeout); err != nil {
		return fmt.Errorf("use of the open not committed: %w", err)
	}
	return nil
}

func (n *Node) openGate(g *grant, index uint64) error {
	// In one step: whoever fences says so under this lock before it shuts the
	// gate, which must not open behind its back.
	n.mu.Lock()
	defer n.mu.Unlock()
	g.opened, g.index = true, index
	if g.ending || g.hasLeft || n.fence.On || n.handing.of(g) || n.closing.Load() || n.resolve.holds() {
		return errors.New("fenced meanwhile")
	}
	if n.cfg.Replicated {
		n.copies.begin(n.fsm.state().ref(), g.term)
	}
	if err := n.lease.open(g.term, index); err != nil {
		return err
	}
	n.warm = true
	n.poke()
	return nil
}

// waitOut returns d after the first majority of this term, by CLOCK_MONOTONIC,
// less what had passed before it.
func (n *Node) waitOut(ctx context.Context, g *grant, d time.Duration) error {
	if n.cfg.Unsafe.noWait() {
		d = 0
	}
	for {
		if err := n.lapsed(ctx, g); err != nil {
			return err
		}
		left, ok := n.lease.leftToWait(g.term, d, n.fsm.state().creditable())
		if ok && left <= 0 {
			return nil
		}
		if !ok {
			left = reignTick
		}
		n.pause(ctx, min(left, reignTick))
	}
}

// primaryPositions reads LiteFS's positions once it holds itself for primary.
func (n *Node) primaryPositions(ctx context.Context, g *grant) (policy.Positions, error) {
	for {
		ask, cancel := context.WithTimeout(ctx, n.cfg.RenewWithin()) // LiteFS may be stopped
		pos, primary, err := n.cfg.LiteFS.Positions(ask)
		cancel()
		if err == nil && primary {
			return pos, nil
		}
		if err := n.lapsed(ctx, g); err != nil {
			return nil, err
		}
		n.pause(ctx, reignTick/2)
	}
}

// lapsed says why a grant cannot go on, or nil.
func (n *Node) lapsed(ctx context.Context, g *grant) error {
	if reason := n.endReason(ctx, g); reason != policy.ReasonNone {
		return fmt.Errorf("%s", reason)
	}
	return nil
}

func (n *Node) endReason(ctx context.Context, g *grant) policy.Reason {
	now := n.clock.Boot()
	until, ok := n.lease.until(g.term)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return policy.ReasonNoLeader
	case n.closing.Load():
		return policy.ReasonShutdown
	case n.handing.of(g) && n.handing.sure:
		return policy.ReasonHandoff
	case n.fence.On && (!g.opened || g.noHeir) && n.heirLocked():
		if n.fence.Command {
			return policy.ReasonCommand
		}
		return policy.ReasonManual
	case n.leaving.Load() && n.heirLocked():
		return policy.ReasonLeaving
	case g.hasLeft:
		return policy.ReasonNoRole
	case n.resolve.holds(), !ok || now > until+int64(lapseGrace):
		return policy.ReasonStale
	case g.isTaken && now > g.renewed+int64(n.cfg.RenewWithin()):
		return policy.ReasonLowerAbsent
	}
	return policy.ReasonNone
}

// heirLocked reports whether another node could take over from a fenced leader.
// While there is none the role stays, with the gate shut: its stream to the
// replicas is the only way in which one can come into step.
func (n *Node) heirLocked() bool {
	if n.follows() {
		return false // an heir is whose LiteFS is primary, and then this one's has left
	}
	st := n.fsm.state()
	for id, pos := range n.markedLocked(st.ref()) {
		if !pos.Behind(st.Held) && st.lineage().Has(id) {
			return true
		}
	}
	return false
}

// reopen opens the gate again after a fence that came and went within a grant.
// It is the same Open: no Close has been appended.
func (n *Node) reopen(g *grant) {
	n.mu.Lock()
	shut := g.opened && !g.ending && !n.fence.On && !n.handing.of(g) && !n.closing.Load() && !n.resolve.holds()
	n.mu.Unlock()
	if !shut || n.lease.isOpen() {
		return
	}
	if err := n.openGate(g, g.index); err != nil {
		n.log.Warn("gate not opened again", "err", err)
	}
}

// keep watches an open grant until it has to end.
func (n *Node) keep(ctx context.Context, g *grant) policy.Reason {
	n.log.Info("writes pass", "node", n.cfg.Name, "term", g.term, "lease", n.cfg.Lease)
	if n.cfg.Replicated {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		n.goes(func() { n.keepCopies(ctx, g) })
	}
	held := time.NewTicker(heldEvery)
	defer held.Stop()
	tick := time.NewTicker(reignTick)
	defer tick.Stop()
	for {
		if reason := n.endReason(ctx, g); reason != policy.ReasonNone {
			return reason
		}
		if n.giveWay(ctx, g) {
			return policy.ReasonUnhealthy
		}
		n.reopen(g)
		n.lease.extend()
		n.yield(g)
		select {
		case <-ctx.Done():
		case <-g.left:
		case <-n.wakeLead:
		case <-tick.C:
		case <-held.C:
			n.goes(func() { n.record(ctx, g) })
		}
	}
}
