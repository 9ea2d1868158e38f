package quorum

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// A mandate is one word of raft on this node's leadership.
type mandate struct {
	leads bool
	ctx   context.Context // ends with raft's next word
}

// hearRaft reads raft's words as they come, for raft blocks on the channel, and
// ends the mandate before it.
func (n *Node) hearRaft(news chan mandate) {
	cancel := func() {}
	for {
		select {
		case <-n.ctx.Done():
			cancel()
			close(news)
			return
		case leads := <-n.notify:
			cancel()
			if !leads {
				n.lease.resigned()
			}
			var m mandate
			m.leads = leads
			m.ctx, cancel = context.WithCancel(n.ctx)
			select {
			case <-news: // superseded before anybody looked
			default:
			}
			news <- m
		}
	}
}

// reign carries raft's mandates out, one at a time: the next begins when the one
// before has given everything back.
func (n *Node) reign() {
	news := make(chan mandate, 1)
	n.goes(func() { n.hearRaft(news) })
	for m := range news {
		if m.leads && m.ctx.Err() == nil {
			n.lead(m.ctx, n.raft.CurrentTerm())
		}
	}
}

// lead is one term of leadership.
func (n *Node) lead(ctx context.Context, term uint64) {
	n.lease.lead(term)
	if err := n.barrier(ctx); err != nil {
		return // raft has another leader by now
	}
	n.mu.Lock()
	n.reigning = term
	n.mu.Unlock()
	n.poke()
	defer func() {
		n.mu.Lock()
		n.reigning, n.ineligible, n.conflict = 0, false, ""
		n.mu.Unlock()
		n.poke()
	}()
	for ctx.Err() == nil && !n.lease.over(term) && !n.closing.Load() {
		n.govern(ctx, term)
	}
	// Raft may go on leading in a term whose lease is dead (it refuses a vote
	// without stepping down); only another term can serve again.
	for ctx.Err() == nil && n.lease.over(term) {
		if err := n.transfer(ctx, n.raft.LeadershipTransfer); err != nil {
			n.pause(ctx, n.cfg.HeartbeatTimeout)
		}
	}
}

// govern makes one choice and carries it out.
func (n *Node) govern(ctx context.Context, term uint64) {
	if n.refuseMode(ctx, term) {
		return
	}
	if n.byClaim() {
		n.governClaim(ctx, term)
		return
	}
	res := n.elect(ctx, term)
	n.mu.Lock()
	n.ineligible, n.conflict = res.Winner != n.cfg.Name, res.Conflict
	n.mu.Unlock()
	n.poke()
	switch {
	case ctx.Err() != nil:
	case res.Winner == n.cfg.Name:
		if n.awaitLease(ctx, term) {
			n.serve(ctx, term)
		}
	case res.Winner != "":
		n.handOn(ctx, res.Winner)
	default:
		n.pause(ctx, n.cfg.HeartbeatTimeout/2)
	}
}

// pause waits for d, for news or for the end.
func (n *Node) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-n.wakeLead:
	case <-t.C:
	}
}

func (n *Node) wake() {
	select {
	case n.wakeLead <- struct{}{}:
	default:
	}
}

// barrier returns when everything that is in the log by now is applied.
func (n *Node) barrier(ctx context.Context) error {
	for {
		err := n.raft.Barrier(n.cfg.HeartbeatTimeout).Error()
		if err == nil || ctx.Err() != nil || errors.Is(err, raft.ErrNotLeader) ||
			errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrRaftShutdown) {
			return err
		}
		n.pause(ctx, reignTick) // refused at once while leadership is being transferred
	}
}

// apply commits a record and returns its index in the log.
func (n *Node) apply(r Record, within time.Duration) (uint64, error) {
	f := n.raft.Apply(r.encode(), within)
	if err := f.Error(); err != nil {
		return 0, err
	}
	if err, _ := f.Response().(error); err != nil {
		return 0, err
	}
	return f.Index(), nil
}
