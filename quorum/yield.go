package quorum

import (
	"context"
	"errors"
	"time"
)

// stopWithin bounds how long a stopping primary looks for an heir.
const stopWithin = 3 * time.Second

// yield looks for an heir to a leader that was fenced by hand. It is a handoff
// whose gate is shut already and stays so. Where the best one does not get
// everything in time (noHeir), one that has what a majority holds will do:
// waiting on would be a cluster without a writer. Without any in step it is
// tried again.
func (n *Node) yield(g *grant) {
	n.mu.Lock()
	begin := n.fence.On && !n.follows() && n.handing == nil && !g.yielding && !g.noHeir && !g.ending
	g.noHeir = g.noHeir && n.fence.On
	g.yielding = g.yielding || begin
	n.mu.Unlock()
	if !begin {
		return
	}
	n.goes(func() {
		ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ReaderGrace+inStepWithin)
		defer cancel()
		_, err := n.handoff(ctx, "")
		n.mu.Lock()
		g.yielding, g.noHeir = false, errors.Is(err, ErrLate)
		n.mu.Unlock()
		if errors.Is(err, ErrLate) {
			n.log.Warn("fenced, and no node has everything: one that has what a majority holds comes next", "err", err)
		}
		n.wake()
	})
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// leave hands the role of a node that is about to stop to one that has
// everything. Where there is none in time, the rest of the shutdown goes on
// without.
func (n *Node) leave(ctx context.Context) {
	if n.raft == nil || n.closing.Load() || n.follows() {
		return
	}
	within := stopWithin
	if end, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for ctx.Err() == nil {
		n.mu.Lock()
		g := n.grant
		primary := g != nil && g.opened && !g.ending
		n.mu.Unlock()
		if !primary {
			return
		}
		_, err := n.handoff(ctx, "")
		if !errors.Is(err, errUnderWay) { // one that is, a yield say, is as good
			if err != nil && len(n.servers()) > 1 {
				n.log.Warn("stopping as primary without a handoff", "err", err)
			}
			return
		}
		rest(ctx, handoffTick)
	}
}
