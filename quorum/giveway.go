package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// givingWay is when an unhealthy primary may try again to hand over. Only reign's
// goroutine touches it.
type givingWay struct {
	after   time.Time
	backoff time.Duration
}

// giveWay hands an unhealthy primary's role to a healthy node, where one could
// hold it, and reports that the grant shall end. Where there is none, or it does
// not get everything in time, the primary stays: an unhealthy writer is better
// than none. Each try costs a pause of the writes, so they grow rarer. Where
// LiteFS has a lease of its own the role is not this node's to give.
func (n *Node) giveWay(ctx context.Context, g *grant) bool {
	if n.follows() || n.health.counts() {
		n.giving = givingWay{}
		return false
	}
	n.mu.Lock()
	fenced := n.fence.On || n.handing != nil || n.closing.Load()
	n.mu.Unlock()
	if fenced || time.Now().Before(n.giving.after) {
		return false
	}
	heir, ok := n.healthyHeir(g.term)
	if !ok {
		return false
	}
	n.giving.backoff = min(max(2*n.giving.backoff, 5*n.cfg.HeartbeatTimeout), skipMax)
	n.giving.after = time.Now().Add(n.giving.backoff)
	log := n.log.With("to", nodeName(heir.ID), "term", g.term, "reason", n.health.get().Reason)
	if err := n.passRole(ctx, heir); err != nil {
		log.Warn("unhealthy, but the role stays here", "err", err)
		return false
	}
	log.Info("unhealthy: giving the role to a healthy node")
	return true
}

// healthyHeir is the node that can best take over from this one now: fit for a
// handoff, heard of lately, not behind what a majority holds, not passed over,
// and with a majority of healthy voters for its lease.
func (n *Node) healthyHeir(term uint64) (heir raft.Server, ok bool) {
	if !n.healthyMajority(term) {
		return heir, false
	}
	st := n.fsm.state()
	held, has := st.Held, st.lineage().Has
	return n.bestTarget(func(s raft.Server, p PeerState) bool {
		return has(string(s.ID)) && n.vouches(term, s.ID) && !n.skippedLocked(nodeName(s.ID)) && !p.Positions.Behind(held)
	})
}

// vouches reports whether a voter's answers, which count only while it is
// healthy, carry this term's lease at present.
func (n *Node) vouches(term uint64, id raft.ServerID) bool {
	at, ok := n.lease.lastAck(term, id)
	return ok && since(n.clock, at) <= n.cfg.Lease
}

// healthyMajority reports whether a healthy node would find a majority for its
// lease: this node, if it is unhealthy, would be no part of it.
func (n *Node) healthyMajority(term uint64) bool {
	ids, self := n.voters()
	healthy := 0
	if self && n.health.counts() {
		healthy++
	}
	for _, id := range ids {
		if id != n.raftID() && n.vouches(term, id) {
			healthy++
		}
	}
	return healthy >= len(ids)/2+1
}

// passRole shuts the gate, drains it, and returns once to has every transaction
// that this node has. An error leaves the role here; the gate opens again.
func (n *Node) passRole(ctx context.Context, to raft.Server) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ReaderGrace+handOnGrace)
	defer cancel()
	n.lease.shut()
	if err := n.cfg.Fence(ctx); err != nil {
		return err
	}
	own, primary, err := n.cfg.LiteFS.Positions(ctx)
	if err == nil && !primary {
		err = errors.New("LiteFS is not primary any more")
	}
	ref := n.fsm.state().ref()
	for err == nil {
		p, asked := n.peers.state(ctx, string(to.Address))
		if asked == nil && p.RaftID == string(to.ID) && p.Marker == ref && p.Positions.Equal(own) {
			return nil
		}
		select {
		case <-time.After(reignTick / 4):
		case <-ctx.Done():
			err = fmt.Errorf("%s does not have everything in time", nodeName(to.ID))
		}
	}
	return err
}

// awaitLease returns whether enough voters vouch for this leader. Without them
// nothing is offered to LiteFS: raft may lead on for long by the answers of
// unhealthy voters.
func (n *Node) awaitLease(ctx context.Context, term uint64) bool {
	late := time.Now().Add(n.cfg.HeartbeatTimeout / 2)
	for !n.lease.valid(term) {
		if ctx.Err() != nil || n.closing.Load() || n.lease.over(term) || time.Now().After(late) {
			return false
		}
		n.pause(ctx, reignTick/4)
	}
	return true
}
