package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// A split brain as this node sees it is its own stale leadership. The
// Coordinator orders what is done against one; here is what it acts through.
//
// The gate needs none of this: it has refused since the instant at which the
// lease ended, by its own look at the clock.

const (
	// fenceWithin bounds the drain of a resolution. The drain itself goes on
	// without a bound (Node.drain): a write that hangs in LiteFS keeps the key.
	fenceWithin = time.Second
	// retryFirst and retryMost bound the pause before failed steps are taken
	// again; it doubles.
	retryFirst = time.Second
	retryMost  = 10 * time.Second
	// followWithin is how long LiteFS may take to hear that it is primary no more
	// and to have had its locks: it waits for every reader.
	followWithin = 5 * time.Second
)

// resolving is this node's side of its Coordinator.
type resolving struct {
	*policy.Coordinator

	running atomic.Bool // a resolution that publish has begun
	ended   counts

	// Guarded by Node.mu.
	shut  bool         // the gate is not to open: steps are being taken
	event policy.Event // what they are taken against
	lost  bool         // the leadership too, not only the lease for a moment

	// publish's alone.
	stale int64 // boot time since which this node has been a stale leader; 0 = it is not
	done  bool  // this stretch of it has been acted on
	again int64 // boot time of the next try of failed steps; 0 = none is due
	pause time.Duration
}

// holds reports that the gate must not open, nor the key be given. Called with
// Node.mu held.
func (r *resolving) holds() bool { return r.shut || r.Failed() }

type counts struct{ resolved, failed atomic.Uint64 }

// Resolutions counts the ends of CheckAndResolve since the start.
type Resolutions struct {
	Resolved uint64 `json:"resolved"`
	Failed   uint64 `json:"failed"` // each failed try counts
}

func (n *Node) newCoordinator() {
	a := actor{n}
	n.resolve.Coordinator = policy.NewCoordinator(policy.Ports{
		Detector: n, Resolver: a, Office: a, Ended: n.stepEnded, Moved: n.stateMoved,
	})
}

// CheckAndResolve does what policy.Coordinator.CheckAndResolve says. Whoever
// asks and goes away does not cut a step short: each has a bound of its own, and
// ends with the node.
func (n *Node) CheckAndResolve() (policy.State, error) {
	was := n.DetectStaleLeadership() || n.resolve.Failed()
	state, err := n.resolve.CheckAndResolve(n.ctx)
	n.mu.Lock()
	n.resolve.shut = false
	n.mu.Unlock()
	switch {
	case err != nil:
		n.resolve.ended.failed.Add(1)
	case was && state == policy.StateResolved:
		n.resolve.ended.resolved.Add(1)
		n.log.Info("split brain resolved", "node", n.cfg.Name, "term", n.raft.CurrentTerm())
	}
	n.poke()
	n.wake()
	return state, err
}

// resolveIfDue begins a resolution where this node has been a stale leader for
// longer than a majority may be late, and repeats what has failed. Called by
// publish alone.
func (n *Node) resolveIfDue(v policy.Verdict) {
	r, now := &n.resolve, n.clock.Boot()
	switch {
	case !v.Stale:
		r.stale, r.done = 0, false
	case r.stale == 0:
		r.stale = now
	}
	failed := r.Failed()
	if !failed {
		r.again, r.pause = 0, 0
	}
	due := r.stale != 0 && !r.done && now-r.stale >= int64(lapseGrace)
	if failed && r.again == 0 {
		r.pause = min(max(2*r.pause, retryFirst), retryMost)
		r.again = now + int64(r.pause)
	}
	due = due || failed && now >= r.again
	if !due || n.closing.Load() || !r.running.CompareAndSwap(false, true) {
		return
	}
	r.done, r.again = r.stale != 0, 0
	n.goes(func() {
		defer n.poke()
		defer r.running.Store(false)
		_, _ = n.CheckAndResolve() // each step has been logged
	})
}

func (n *Node) stepEnded(s policy.Step, err error) {
	if err == nil {
		n.eventNow(policy.EventResolution, fmt.Sprintf("%s: done", s))
		return
	}
	n.log.Error("split-brain: a step of the resolution failed; writes stay refused, and it is tried again", "step", string(s), "err", err)
	n.eventNow(policy.EventResolution, fmt.Sprintf("%s: failed: %v", s, err))
}

func (n *Node) stateMoved(from, to policy.State) {
	n.eventNow(policy.EventState, fmt.Sprintf("state: %s, was %s", to, from))
	n.poke()
}

// actor carries the steps out.
type actor struct{ *Node }

var (
	_ policy.ConflictResolver = actor{}
	_ policy.Office           = actor{}
)

// FenceWriteAccess implements policy.ConflictResolver. From here on the grant
// ends, whatever the majority says meanwhile.
func (n actor) FenceWriteAccess(ctx context.Context) error {
	e := n.eventOf(policy.EventStale, n.pictureNow(), staleText)
	e.Reason = policy.ReasonStale
	n.mu.Lock()
	n.resolve.shut, n.resolve.event = true, e
	n.resolve.lost = n.resolve.lost && n.resolve.Failed() // what has failed is not made good by a new beginning
	n.mu.Unlock()
	n.lease.shut()
	n.wake()
	ctx, cancel := context.WithTimeout(ctx, fenceWithin)
	defer cancel()
	return n.cfg.Fence(ctx)
}

// ApplyResolutionStrategy implements policy.ConflictResolver. It waits for raft's
// own judgement, a heartbeat timeout at most: where the majority answers again
// before raft has given the leadership up, nobody else can have led. The role has
// been lost all the same, and comes back under another Open; but a network or a
// machine that was late for a moment is no reason to stop an application, or to
// call an operator.
func (n actor) ApplyResolutionStrategy(ctx context.Context) error {
	if n.onlyLate(ctx) {
		n.log.Info("the majority answers again: a late answer, no split brain; policy.strategy is not applied", "node", n.cfg.Name, "term", n.raft.CurrentTerm())
		return nil
	}
	var err error
	if n.cfg.RecoverManual {
		err = n.latch()
	}
	if n.cfg.Rollback != nil {
		err = errors.Join(err, n.cfg.Rollback.Hold(n.fsm.state().Held))
	}
	if n.cfg.Strategy == nil {
		return err
	}
	n.mu.Lock()
	e := n.resolve.event
	n.mu.Unlock()
	return errors.Join(err, n.cfg.Strategy(ctx, e))
}

// onlyLate returns whether the lease of the leadership that lost it is valid
// again.
func (n *Node) onlyLate(ctx context.Context) bool {
	late := false
	_ = n.until(ctx, 2*n.cfg.HeartbeatTimeout, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		late = !n.resolve.lost && n.reigning != 0 && n.lease.valid(n.reigning)
		if late || n.resolve.lost || n.reigning == 0 || n.raft.State() != raft.Leader {
			return nil
		}
		return errors.New("raft leads, without a lease")
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resolve.lost = !late
	return late
}

// latch is policy.recover: manual: the fence of an operator who has not been
// asked yet. One that is there already stays as it is. The gate is shut and
// drained, as far as it will, by the step before.
func (n *Node) latch() error {
	f := manualFence{
		On: true, Since: time.Now(), Term: n.raft.CurrentTerm(),
		Reason: fmt.Sprintf("split-brain in term %d, and policy.recover is manual", n.raft.CurrentTerm()),
	}
	n.mu.Lock()
	if n.fence.On && !n.fence.Command {
		f = n.fence
	}
	n.fence = f
	n.mu.Unlock()
	n.poke()
	if err := n.saveFence(); err != nil {
		return fmt.Errorf("the fence of policy.recover: manual holds until a restart, but could not be saved: %w", err)
	}
	return nil
}

// StepDown implements policy.Office. The key goes with the grant, after its
// drain, and raft leaves a leader whom no majority answers by itself. One whom
// it does answer, though too few are healthy for a lease, has nothing to step
// down from: the next would stand where it stands.
func (n actor) StepDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewWait+2*n.cfg.HeartbeatTimeout)
	defer cancel()
	n.mu.Lock()
	g := n.grant
	n.mu.Unlock()
	if g != nil {
		select {
		case <-g.gone:
		case <-ctx.Done():
			return errors.New("LiteFS keeps the key: a write hangs in it")
		}
	}
	n.mu.Lock()
	n.resolve.shut = false // the next grant has an Open of its own
	n.mu.Unlock()
	leads := func() error {
		if n.raft.State() == raft.Leader && n.DetectStaleLeadership() {
			return errors.New("raft leads")
		}
		return nil
	}
	_ = n.until(ctx, 2*n.cfg.HeartbeatTimeout, leads)
	return nil
}

// Follow implements policy.Office: it returns when LiteFS has heard that it is
// primary no more. One with a lease of its own is not told by us.
func (n actor) Follow(ctx context.Context) error {
	if n.follows() {
		return nil
	}
	return n.until(ctx, max(followWithin, 2*n.cfg.RenewWithin()), func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.role == policy.RolePrimary && n.grant == nil {
			return errors.New("LiteFS has not asked for the lease again since its role was taken, and may take itself for the primary; if it hangs, restart it")
		}
		return nil
	})
}

// until returns when cond has no error any more, or its last one after d.
func (n *Node) until(ctx context.Context, d time.Duration, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-n.ctx.Done():
			return err
		case <-ctx.Done():
			return err
		case <-time.After(reignTick / 2):
		}
	}
}
