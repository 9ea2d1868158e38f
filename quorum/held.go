package quorum

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/litefence/litefence/policy"
)

// heldEvery is how often the positions that a majority holds are recorded.
const heldEvery = time.Second

// record commits what a majority holds by now, and the cluster id once the
// primary's LiteFS has it on disk.
func (n *Node) record(ctx context.Context, g *grant) {
	if !n.recording.TryLock() {
		return
	}
	defer n.recording.Unlock()
	ctx, cancel := context.WithTimeout(ctx, heldEvery)
	defer cancel()
	st := n.fsm.state()
	if st.ClusterID != "" && !st.Confirmed {
		if id, err := n.cfg.LiteFS.ClusterID(ctx); err == nil && id == st.ClusterID {
			_, _ = n.apply(Record{Kind: KindConfirmed, Term: g.term, ClusterID: id}, heldEvery)
		}
	}
	own, primary, err := n.cfg.LiteFS.Positions(ctx)
	if err != nil || !primary {
		return
	}
	held := n.heldBy(own, st)
	if len(held) == 0 || held.Equal(st.Held) || held.Behind(st.Held) || !n.inOwnHistory(own, held) {
		return
	}
	_, _ = n.apply(Record{Kind: KindHeld, Term: g.term, ID: st.Open.ID, Positions: held}, heldEvery)
}

// heldBy returns what a majority holds; with quorum.confirm: replicated, what all
// of those hold of whom one will be the next primary.
func (n *Node) heldBy(own policy.Positions, st state) policy.Positions {
	marked := n.markedPositions(st.ref())
	ids, _ := n.voters()
	k := len(ids)/2 + 1
	if n.cfg.Replicated && !n.copies.certain() {
		return nil // another set may follow, of whom not all hold it
	}
	if st.Copied {
		k = len(st.Copies) + 1
		maps.DeleteFunc(marked, func(id string, _ policy.Positions) bool { return !slices.Contains(st.Copies, id) })
	}
	return policy.MajorityHolds(own, slices.Collect(maps.Values(marked)), k)
}

// inOwnHistory spares LiteFS's files where a database stands where it stood.
func (n *Node) inOwnHistory(own, held policy.Positions) bool {
	older := policy.Positions{}
	for db, pos := range held {
		if own[db] != pos {
			older[db] = pos
		}
	}
	return len(older) == 0 || n.cfg.LiteFS.InHistory(older)
}
