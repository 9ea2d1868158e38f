package quorum

import (
	"context"
	"sync"

	"github.com/litefence/litefence/policy"
)

// claimWithin is how long a choosing leader waits for the other nodes' claims.
const claimWithin = silentAfter

// governClaim is govern where LiteFS elects by a lease of its own: leadership
// goes to the node whose LiteFS is primary, and stays, fenced, while there is
// none.
func (n *Node) governClaim(ctx context.Context, term uint64) {
	winner, conflict := policy.ElectClaimant(n.claims(ctx), n.cfg.SingleClaim, n.cfg.ClockDrift)
	n.noteClaimant(winner, conflict, term)
	self := winner == n.cfg.Name
	switch {
	case ctx.Err() != nil:
	case self && n.mayServe(term):
		n.serve(ctx, term)
	case winner == "" || self || n.isSkipped(winner):
		n.pause(ctx, n.cfg.HeartbeatTimeout/2)
	default:
		n.forgetHanding(winner)
		n.handOn(ctx, winner)
	}
}

// mayServe spares a grant that could not open.
func (n *Node) mayServe(term uint64) bool {
	n.mu.Lock()
	fenced := n.fence.On || n.resolve.holds()
	n.mu.Unlock()
	return !fenced && !n.closing.Load() && n.lease.valid(term)
}

func (n *Node) noteClaimant(winner string, conflict bool, term uint64) {
	res := policy.ElectionResult{Winner: winner}
	if conflict {
		res.Conflict = "more than one LiteFS is primary"
	}
	n.mu.Lock()
	was := n.lastResult
	n.lastResult, n.conflict = res, res.Conflict
	n.mu.Unlock()
	n.poke()
	if res == was {
		return
	}
	switch {
	case conflict:
		n.log.Error("no writes: more than one LiteFS says that it is primary, and which of them began last is unknown; stop the wrong one", "term", term)
	case winner == "":
		n.log.Warn("no writes: no LiteFS is primary", "term", term)
	default:
		n.log.Info("LiteFS's primary is the one to lead", "primary", winner, "term", term)
	}
}

// claims asks the other nodes for theirs, and adds this node's. One that does
// not answer in time is heard by watchPeers later.
func (n *Node) claims(ctx context.Context) (all []policy.Claim) {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, addr := range n.addresses() {
		wg.Add(1)
		n.goes(func() {
			defer wg.Done()
			s, err := n.peers.state(ctx, addr)
			if err != nil || n.mismatch(name, addr, s) != nil {
				return
			}
			n.notePeer(name, s, nil)
			if s.Claim != nil {
				c := *s.Claim
				c.Node = name // nobody claims in another's name
				mu.Lock()
				all = append(all, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if own, ok := n.claimLocked(); ok {
		all = append(all, own)
	}
	return all
}

// forgetHanding lets leadership be handed at once to a node that has taken the
// role since the last time it was handed to it.
func (n *Node) forgetHanding(name string) {
	st := n.fsm.state()
	term := n.raft.CurrentTerm()
	n.mu.Lock()
	defer n.mu.Unlock()
	if st.Open.Node == name && st.Open.Term > n.handedIn[name] {
		delete(n.skip, name)
	}
	n.handedIn[name] = term
}

// refuseMode keeps a node of the wrong mode from choosing a primary, and gives
// leadership away.
func (n *Node) refuseMode(ctx context.Context, term uint64) bool {
	if !n.outnumbered() {
		return false
	}
	n.mu.Lock()
	n.conflict = "litefs.mode"
	n.mu.Unlock()
	n.poke()
	n.log.Error("no writes: this node's litefs.mode is not that of its peers", "err", n.checkModes(), "term", term)
	if err := n.transfer(ctx, n.raft.LeadershipTransfer); err != nil {
		n.pause(ctx, n.cfg.HeartbeatTimeout)
	}
	return true
}

// inStep is what status shows. A LiteFS that streams by itself is marked only as
// opener; its replicas are in step where they stand at what a majority holds.
func (n *Node) inStep(st state, marker policy.OpenRef, pos policy.Positions) bool {
	if n.follows() {
		return !st.ref().IsZero() && (policy.Report{Positions: pos, Marker: marker}).InStep(st.lineage())
	}
	return !marker.IsZero() && marker == st.ref()
}
