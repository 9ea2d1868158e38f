package quorum

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// Close leaves the cluster's work to the others and stops: gate, drain, Close
// record, key, leadership, raft. The mount above must be gone or fenced: after
// Close nothing opens the gate again. ctx bounds the polite part.
func (n *Node) Close(ctx context.Context) error {
	if n.closed.Swap(true) {
		return nil
	}
	n.StepDown(ctx)
	n.starting.Lock()
	n.cancel()
	n.starting.Unlock()
	var errs []error
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
	}
	if n.trans != nil {
		errs = append(errs, n.trans.Close())
	}
	if n.http != nil {
		n.http.Close()
	}
	n.wg.Wait()
	n.peers.close()
	n.mux.close()
	errs = append(errs, n.store.close())
	return errors.Join(errs...)
}

// StepDown hands the role to a node that has everything, if there is one;
// otherwise it shuts the gate, takes the key back and hands leadership on, as
// far as ctx allows. The node takes no role afterwards.
func (n *Node) StepDown(ctx context.Context) {
	n.mu.Lock()
	g := n.grant
	turn := n.loops
	n.mu.Unlock()
	n.leave(ctx)
	n.mu.Lock()
	n.closing.Store(true)
	if n.grant != nil {
		g, turn = n.grant, n.loops
	}
	n.mu.Unlock()
	n.poke()
	n.wake()
	if g != nil {
		select {
		case <-g.ended:
		case <-ctx.Done():
		}
	}
	if err := n.cfg.Fence(ctx); err != nil {
		n.log.Error("gate did not drain at shutdown", "err", err)
	}
	if n.raft != nil && n.raft.State() == raft.Leader && len(n.servers()) > 1 {
		if err := n.transfer(ctx, n.raft.LeadershipTransfer); err != nil {
			n.log.Warn("leadership was not handed on at shutdown", "err", err)
		}
	}
	if g != nil && !n.follows() {
		n.waitTold(ctx, turn)
	}
}

// waitTold returns when LiteFS has heard that it is primary no more, or is late:
// a renewal that finds nobody listening keeps it primary for a second longer
// (store.go, monitorLeaseAsPrimary).
func (n *Node) waitTold(ctx context.Context, turn uint64) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RenewWithin())
	defer cancel()
	for {
		n.mu.Lock()
		told, ch := n.loops != turn, n.looped
		n.mu.Unlock()
		if told {
			return
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return
		}
	}
}

// transfer runs a leadership transfer and waits until raft has let go of the
// leadership. Raft's own future is not waited for: at a shutdown nobody answers
// it.
func (n *Node) transfer(ctx context.Context, begin func() raft.Future) error {
	ctx, cancel := context.WithTimeout(ctx, 2*n.cfg.HeartbeatTimeout)
	defer cancel()
	term := n.raft.CurrentTerm()
	begin()
	leads := func() bool { return n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term }
	for leads() {
		select {
		case <-ctx.Done():
			if !leads() { // ctx is that of the leadership
				return nil
			}
			return errors.New("raft still leads: the target did not take over in time")
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}
