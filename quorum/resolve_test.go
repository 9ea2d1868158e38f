package quorum

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// witnessed is what a node told of its resolutions.
type witnessed struct {
	mu     sync.Mutex
	events []policy.Event
	called []policy.Event
	broken atomic.Bool
	hold   atomic.Pointer[chan struct{}] // the strategy waits for it
}

func (w *witnessed) edit(c *Config) {
	c.OnEvent = func(e policy.Event) {
		if e.Node == c.Name && (e.Kind == policy.EventState || e.Kind == policy.EventResolution) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		}
	}
	c.Strategy = func(ctx context.Context, e policy.Event) error {
		w.mu.Lock()
		w.called = append(w.called, e)
		w.mu.Unlock()
		if ch := w.hold.Load(); ch != nil {
			select {
			case <-*ch:
			case <-ctx.Done():
			}
		}
		if w.broken.Load() {
			return errors.New("the pager is off")
		}
		return nil
	}
}

func (w *witnessed) said() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		all = append(all, e.Message)
	}
	return all
}

func (w *witnessed) calls() []policy.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]policy.Event(nil), w.called...)
}

// witnessedCluster has three nodes, the writer of which is returned with what it
// is going to tell.
func witnessedCluster(t *testing.T, more func(*Config)) (c *testCluster, old *testNode, w *witnessed) {
	all := map[string]*witnessed{"n1": {}, "n2": {}, "n3": {}}
	c = newCluster(t, 3, func(cfg *Config) {
		// A busy machine is late; a lapse that nobody asked for would be another
		// split brain.
		cfg.HeartbeatTimeout, cfg.Lease = 800*time.Millisecond, 600*time.Millisecond
		all[cfg.Name].edit(cfg)
		if more != nil {
			more(cfg)
		}
	})
	old = c.writer()
	old.lite.commit("db", 1)
	c.inStep(old)
	w = all[old.name]
	w.mu.Lock()
	w.events, w.called = nil, nil
	w.mu.Unlock()
	return c, old, w
}

func (n *testNode) stateNow() State { return n.Status(context.Background()).State }

func TestStaleLeaderGivesWay(t *testing.T) {
	c, old, w := witnessedCluster(t, nil)
	c.cut.set(old.name, true)
	eventually(t, "resolved", func() bool { return old.stateNow() == StateResolved })
	require.Equal(t, []string{
		"state: split_brain_detected, was healthy",
		"fence: done", "recover: done", "step-down: done", "follow: done",
		"state: resolved, was split_brain_detected",
	}, w.said())
	require.Len(t, w.calls(), 1)
	e := w.calls()[0]
	require.Equal(t, policy.Event{
		Kind: policy.EventStale, Node: old.name, Reason: policy.ReasonStale, State: string(StateSplitBrain),
		Time: e.Time, Term: e.Term, Leader: e.Leader, Role: e.Role, Message: e.Message,
	}, e)
	require.NotZero(t, e.Term)
	next := c.writer(old.name)
	c.cut.set(old.name, false)
	eventually(t, "healthy", func() bool { return old.stateNow() == StateHealthy })
	state, err := old.CheckAndResolve()
	require.NoError(t, err)
	require.Equal(t, StateHealthy, state)
	require.Len(t, w.calls(), 1, "once for one split brain")
	require.Equal(t, Resolutions{Resolved: 1}, old.Status(t.Context()).Resolutions)
	require.True(t, next.gate.admits())
}

// An answer that is late costs the role, but nobody else can have led: the
// strategy is for split brains.
func TestLateAnswerAppliesNoStrategy(t *testing.T) {
	t.Parallel()
	c, old, w := witnessedCluster(t, func(cfg *Config) {
		cfg.HeartbeatTimeout, cfg.Lease, cfg.RecoverManual = 3*time.Second, 1200*time.Millisecond, true
	})
	term := old.raft.CurrentTerm()
	for name := range c.nodes {
		c.cut.set(name, true)
	}
	eventually(t, "fenced", func() bool { return slices.Contains(w.said(), "fence: done") })
	for name := range c.nodes {
		c.cut.set(name, false)
	}
	c.writer()
	if old.raft.CurrentTerm() != term {
		t.Skip("this machine is so late that raft has elected anew")
	}
	require.Empty(t, w.calls())
	require.Contains(t, w.said(), "state: resolved, was split_brain_detected")
	require.Empty(t, old.Status(t.Context()).FenceReason, "nor is anything latched")
}

// A strategy that fails: the node gives way all the same, follows, and becomes
// primary again only once the strategy has succeeded.
func TestFailedStrategyKeepsTheNodeOut(t *testing.T) {
	t.Parallel()
	c, old, w := witnessedCluster(t, nil)
	w.broken.Store(true)
	c.cut.set(old.name, true)
	eventually(t, "failed, with every step taken", func() bool {
		said := w.said()
		return old.stateNow() == StateFailed && said[len(said)-1] == "follow: done"
	})
	require.Contains(t, w.said(), "recover: failed: the pager is off")
	next := c.writer(old.name)
	c.cut.set(old.name, false)
	c.inStep(next)
	s := old.Status(t.Context())
	require.Equal(t, policy.ReasonFailed, s.Reason)
	require.Contains(t, s.StateError, "split-brain detected: recover: the pager is off")

	for name, n := range c.nodes {
		if name != old.name && name != next.name {
			require.NoError(t, n.SetFence(true, "only the other is left"))
		}
	}
	c.stop(next.name)
	calls := len(w.calls())
	never(t, "a node with a failed resolution admits writes", old.gate.admits, func() {
		eventually(t, "it leads, with a lease", func() bool {
			for _, n := range c.nodes {
				if s, ok := n.server(old.name); ok && n != old && n.raft.State() == raft.Leader {
					_ = n.raft.LeadershipTransferToServer(s.ID, s.Address).Error()
				}
			}
			return old.HasQuorum()
		})
		state, err := old.CheckAndResolve()
		require.ErrorContains(t, err, "the pager is off")
		require.Equal(t, StateFailed, state, "a lease does not make good what has failed")
		eventually(t, "it is tried again by itself", func() bool { return len(w.calls()) > calls+1 })
		sleep(t.Context(), 2*time.Second) // time enough for the role to come
	})
	w.broken.Store(false)
	eventually(t, "the node writes", old.gate.admits)
	require.Equal(t, StateHealthy, old.stateNow())
	require.Empty(t, old.Status(t.Context()).StateError)
}

// An operator's unfence takes the place of a step that will not succeed.
func TestUnfenceForgives(t *testing.T) {
	t.Parallel()
	c, old, w := witnessedCluster(t, nil)
	w.broken.Store(true)
	c.cut.set(old.name, true)
	eventually(t, "failed", func() bool { return old.stateNow() == StateFailed })
	c.cut.set(old.name, false)
	eventually(t, "follows", func() bool { return old.Status(t.Context()).Role == "replica" })
	require.NoError(t, old.SetFence(false, ""))
	eventually(t, "healthy", func() bool { return old.stateNow() == StateHealthy })
}

// While steps are being taken the gate stays shut, whoever answers again.
func TestGateStaysShutWhileResolving(t *testing.T) {
	t.Parallel()
	c, old, w := witnessedCluster(t, nil)
	release := make(chan struct{})
	w.hold.Store(&release)
	for name := range c.nodes {
		c.cut.set(name, true)
	}
	eventually(t, "the strategy is applied", func() bool { return len(w.calls()) > 0 })
	for name, n := range c.nodes {
		c.cut.set(name, false)
		if name != old.name {
			require.NoError(t, n.SetFence(true, "only the other is left"))
		}
	}
	never(t, "the gate opens during a resolution", old.gate.admits, func() {
		eventually(t, "a leader", func() bool { return c.leader() != "" })
		sleep(t.Context(), 2*c.H)
	})
	require.Equal(t, StateSplitBrain, old.stateNow())
	close(release)
	eventually(t, "the node writes again", old.gate.admits)
}

// A write that hangs below: fence and step-down fail, what comes after is done,
// and when the write comes back all is made good.
func TestHangingWriteIsAFailedFence(t *testing.T) {
	t.Parallel()
	var hung atomic.Pointer[string]
	c, old, w := witnessedCluster(t, func(cfg *Config) {
		fence := cfg.Fence
		cfg.Fence = func(ctx context.Context) error {
			err := fence(ctx)
			for p := hung.Load(); p != nil && *p == cfg.Name && ctx.Err() == nil; p = hung.Load() {
				sleep(ctx, fakeDelay)
			}
			return errors.Join(err, ctx.Err())
		}
	})
	hung.Store(&old.name)
	c.cut.set(old.name, true)
	eventually(t, "failed", func() bool {
		err := old.Status(t.Context()).StateError
		return old.stateNow() == StateFailed && err != ""
	})
	require.Contains(t, old.Status(t.Context()).StateError, "fence: context deadline exceeded")
	require.Contains(t, old.Status(t.Context()).StateError, "step-down: LiteFS keeps the key")
	require.Contains(t, w.said(), "recover: done")
	require.True(t, c.writer(old.name).gate.admits())
	hung.Store(nil)
	eventually(t, "resolved", func() bool { return old.stateNow() == StateResolved })
	c.cut.set(old.name, false)
	eventually(t, "healthy", func() bool { return old.stateNow() == StateHealthy })
}

func TestRecoverManualOutlivesARestart(t *testing.T) {
	t.Parallel()
	c, old, _ := witnessedCluster(t, func(cfg *Config) { cfg.RecoverManual = true })
	c.cut.set(old.name, true)
	eventually(t, "resolved", func() bool { return old.stateNow() == StateResolved })
	next := c.writer(old.name)
	c.cut.set(old.name, false)
	c.inStep(next)
	latched := func(n *testNode) {
		s := n.Status(t.Context())
		require.Equal(t, policy.ReasonManual, s.Reason)
		require.Contains(t, s.FenceReason, "policy.recover is manual")
	}
	latched(old)
	name, dir := old.name, old.dir
	c.stop(name)
	old = c.start(name, dir)
	eventually(t, "follows", func() bool { _, ok := old.Primary(); return ok })
	latched(old)
	eventually(t, "in step", func() bool { m, _ := old.lite.Marker(); return m == next.fsm.state().ref() })
	for other, n := range c.nodes {
		if other != name {
			require.NoError(t, n.SetFence(true, "only the other is left"))
		}
	}
	never(t, "a latched node admits writes", old.gate.admits, func() { sleep(t.Context(), 2*c.H) })
	require.NoError(t, old.SetFence(false, ""))
	eventually(t, "the node writes", old.gate.admits)
}
