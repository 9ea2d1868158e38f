package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// passOn offers leadership to the target of a handover that has ended g. Where
// that fails this node chooses a primary as ever, itself most likely.
func (n *Node) passOn(ctx context.Context, g *grant) {
	n.mu.Lock()
	h := n.handing
	if !h.of(g) || !h.sure {
		n.mu.Unlock()
		return
	}
	n.mu.Unlock()
	h.err = n.transfer(ctx, func() raft.Future { return n.raft.LeadershipTransferToServer(h.to.ID, h.to.Address) })
	if h.err != nil {
		n.log.Warn("leadership not handed off", "to", h.name(), "err", h.err)
	}
	n.mu.Lock()
	n.handing = nil
	n.mu.Unlock()
	close(h.over)
	n.poke()
}

// takenOver returns the primary that followed, once its gate is open.
func (n *Node) takenOver(ctx context.Context, h *handover) (string, error) {
	select {
	case <-h.over:
	case <-ctx.Done():
		return "", fmt.Errorf("%w: this node has not let go of leadership; nothing is lost", ErrLate)
	}
	tick := time.NewTicker(2 * handoffTick)
	defer tick.Stop()
	for {
		if st := n.fsm.state(); st.Index > h.g.index && st.Open.Node != h.name() {
			return st.Open.Node, fmt.Errorf("%s did not take over (%w); %s is primary, nothing is lost", h.name(), orNoReason(h.err), st.Open.Node)
		}
		if s, err := n.askTarget(ctx, h.to); err == nil && !s.Fenced && s.Term > h.g.term {
			return h.name(), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %s has everything, but is not writable yet; nothing is lost", ErrLate, h.name())
		case <-tick.C:
		}
	}
}

func orNoReason(err error) error {
	if err == nil {
		return errors.New("it got leadership, but its LiteFS did not take the role")
	}
	return err
}

// heir reports whether the last primary has handed this node everything that it
// ever acknowledged: then nobody can have more, and nobody else is asked.
func (n *Node) heir(ctx context.Context) bool {
	c := n.fsm.state()
	if c.Newest.Kind != KindClose || c.Newest.To != string(n.raftID()) || n.isSkipped(n.cfg.Name) || !n.health.counts() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ReaderGrace+handOnGrace)
	defer cancel()
	r, err := n.ownReport(ctx)
	if err != nil || !r.Eligible || r.Marker != c.ref() || !r.Positions.Equal(c.Newest.Positions) {
		return false
	}
	n.mu.Lock()
	n.lastReports = []policy.Report{r} // what the Open will be compared with (recheck)
	n.mu.Unlock()
	return true
}
