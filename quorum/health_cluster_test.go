package quorum

import (
	"context"
	"errors"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// write adds a transaction if the gate admits one, as an application would; what
// it returns true for is acknowledged.
func (n *testNode) write(sum uint64) bool {
	n.gate.mu.Lock() // a fence drains: it waits for this lock
	defer n.gate.mu.Unlock()
	if n.gate.epoch == 0 || n.clock.Boot() >= n.gate.until {
		return false
	}
	n.lite.commit("db", sum)
	return true
}

// allMarked waits until all nodes are marked with the newest Open, and the writer
// has heard so.
func (c *testCluster) allMarked(w *testNode) {
	c.t.Helper()
	eventually(c.t, "all are in step", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.markedLocked(w.fsm.state().ref())) == len(c.nodes)-1
	})
}

func TestUnhealthyVotersDoNotCount(t *testing.T) {
	t.Parallel()
	const h = 900 * time.Millisecond // raft must not step down because the machine is late
	c := newCluster(t, 3, func(cfg *Config) { cfg.HeartbeatTimeout, cfg.Lease = h, h/2 })
	w := c.writer()
	c.allMarked(w)
	a, b := c.others(w)[0], c.others(w)[1]
	a.UpdateHealth(false, "test")
	eventually(t, "a's answers end to count", func() bool {
		return !w.vouches(w.raft.CurrentTerm(), a.raftID())
	})
	require.True(t, w.gate.admits(), "b's are enough")
	c.cut.set(b.name, true)
	eventually(t, "no lease", func() bool { return !w.gate.admits() && !w.HasQuorum() })
	lapsed := time.Now()
	for time.Since(lapsed) < 2*h { // while raft leads on by a's answers, or a leads by w's
		require.False(t, w.gate.admits())
		time.Sleep(5 * time.Millisecond)
	}
	a.UpdateHealth(true, "")
	c.writer() // w or a: whoever holds the key asks for it anew
	c.cut.set(b.name, false)
}

// An unhealthy primary gives way, loses nothing of what it acknowledged, and does
// not get the role back when it is well again.
func TestUnhealthyPrimaryGivesWay(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	old := c.writer()
	c.allMarked(old)
	var acked atomic.Uint64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sum := uint64(1); ctx.Err() == nil; sum++ {
			if !old.write(sum) {
				sum-- // checksums name the transactions
			} else {
				acked.Store(sum)
			}
			sleep(ctx, time.Millisecond)
		}
	}()
	eventually(t, "rows", func() bool { return acked.Load() > 20 })
	before := old.fsm.state().Index
	old.UpdateHealth(false, "disk is dying")
	next := c.writer(old.name)
	cancel()
	<-done
	require.Greater(t, next.fsm.state().Index, before)
	require.True(t, next.lite.InHistory(map2("db", acked.Load(), acked.Load())), "the last acknowledged transaction")
	index := next.fsm.state().Index

	old.UpdateHealth(true, "")
	c.allMarked(next)
	require.True(t, next.gate.admits())
	require.Equal(t, index, next.fsm.state().Index, "nothing has moved back")
}

// With nobody better the unhealthy primary goes on: its own vote counts.
func TestUnhealthyPrimaryStaysWithoutAnHeir(t *testing.T) {
	t.Parallel()
	t.Run("alone", func(t *testing.T) {
		c := newCluster(t, 1, nil)
		w := c.writer()
		w.UpdateHealth(false, "test")
		c.staysPrimary(w, nil)
	})
	t.Run("others fenced", func(t *testing.T) {
		c := newCluster(t, 3, nil)
		w := c.writer()
		c.allMarked(w)
		for _, n := range c.others(w) {
			require.NoError(t, n.SetFence(true, "test"))
		}
		eventually(t, "it knows", func() bool { return w.knows(func(s PeerState) bool { return s.Reason == policy.ReasonManual }) })
		w.UpdateHealth(false, "test")
		c.staysPrimary(w, nil)
	})
	t.Run("an heir would find no majority", func(t *testing.T) {
		c := newCluster(t, 3, nil)
		w := c.writer()
		c.allMarked(w)
		a := c.others(w)[0]
		a.UpdateHealth(false, "test")
		eventually(t, "its answers end to count", func() bool { return !w.vouches(w.raft.CurrentTerm(), a.raftID()) })
		w.UpdateHealth(false, "test")
		c.staysPrimary(w, nil)
		a.UpdateHealth(true, "")
		require.NotEqual(t, w.name, c.writer(w.name).name, "now there is one")
	})
	t.Run("behind", func(t *testing.T) {
		c := newCluster(t, 3, nil)
		w := c.writer()
		c.allMarked(w)
		for _, n := range c.others(w) {
			n.lite.stuck.Store(true)
		}
		require.True(t, w.write(1))
		w.UpdateHealth(false, "test")
		c.staysPrimary(w, func() bool { // it has tried twice, and opened again under the same Open
			w.gate.mu.Lock()
			defer w.gate.mu.Unlock()
			return len(w.gate.epochs) > 2
		})
		for _, n := range c.others(w) {
			n.lite.stuck.Store(false)
		}
		next := c.writer(w.name)
		require.True(t, next.lite.InHistory(map2("db", 1, 1)))
	})
}

func (n *testNode) knows(of func(PeerState) bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, rec := range n.peerStates {
		if !of(rec.state) {
			return false
		}
	}
	return true
}

// staysPrimary watches w for a while, or until the condition: it keeps its Open
// and admits writes at the end of it.
func (c *testCluster) staysPrimary(w *testNode, until func() bool) {
	c.t.Helper()
	index, began := w.fsm.state().Index, time.Now()
	if until == nil {
		until = func() bool { return time.Since(began) > 2*peersEvery }
	}
	eventually(c.t, "a while has passed", func() bool {
		for _, n := range c.others(w) {
			require.False(c.t, n.gate.admits())
		}
		return until()
	})
	eventually(c.t, "writes pass", w.gate.admits)
	require.Equal(c.t, index, w.fsm.state().Index)
}

func TestAllUnhealthyHasNoLeaseUntilTwoAreWell(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	c.allMarked(w)
	for _, n := range c.nodes {
		n.UpdateHealth(false, "test")
	}
	eventually(t, "no lease", func() bool {
		for _, n := range c.nodes {
			if n.gate.admits() {
				return false
			}
		}
		return true
	})
	for _, n := range c.others(w) {
		n.UpdateHealth(true, "")
	}
	c.writer()
}

// A probe that flaps on every node moves nothing, however long.
func TestFlappingProbeMovesNothing(t *testing.T) {
	t.Parallel()
	var asked, ill atomic.Int64
	c := newCluster(t, 3, func(cfg *Config) {
		var mine atomic.Int64
		cfg.ProbeEvery = 150 * time.Millisecond // also what a probe may take, on a busy machine
		cfg.Probes = []Probe{{"flapping", func(context.Context) error {
			asked.Add(1)
			if mine.Add(1)%policy.FailuresToUnhealthy == 0 {
				return nil
			}
			ill.Add(1)
			return errors.New("ill")
		}}}
	})
	w := c.writer()
	c.allMarked(w)
	index := w.fsm.state().Index
	began := asked.Load()
	eventually(t, "it flaps", func() bool {
		for _, n := range c.nodes {
			if h := n.HealthStatus().Health; h != policy.Degraded {
				require.Empty(t, ill.Load(), "%s is %s", n.name, h)
			}
		}
		return asked.Load() > began+100
	})
	require.True(t, w.gate.admits())
	require.Equal(t, index, w.fsm.state().Index)
}

// A replica that lags is degraded and says so to the others; its vote counts.
func TestLagDegradesAndVotes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(cfg *Config) { cfg.MaxLag, cfg.ProbeEvery = 300*time.Millisecond, 20*time.Millisecond })
	w := c.writer()
	c.allMarked(w)
	for _, n := range c.others(w) {
		n.lite.stuck.Store(true)
	}
	require.True(t, w.write(1))
	eventually(t, "both lag, and the primary knows", func() bool {
		return w.knows(func(s PeerState) bool { return s.Health.Health == policy.Degraded })
	})
	lagging := c.others(w)[0]
	said := regexp.MustCompile(`^lag: behind ` + w.name + ` for .*; policy.health.max-lag is 300ms$`)
	eventually(t, "it says by what", func() bool { return said.MatchString(lagging.HealthStatus().Reason) })
	require.Equal(t, policy.Healthy, w.HealthStatus().Health)
	require.True(t, w.vouches(w.raft.CurrentTerm(), lagging.raftID()))
	require.True(t, w.gate.admits())
	status := w.Status(t.Context())
	require.Equal(t, policy.Healthy, status.HealthStatus)
	require.True(t, status.Health.IsHealthy)
	require.Equal(t, policy.Degraded, status.Peers[0].HealthStatus)
	require.Contains(t, status.Peers[0].Health.Reason, "behind "+w.name)
	for _, n := range c.others(w) {
		n.lite.stuck.Store(false)
		eventually(t, "healthy again", func() bool { return n.HealthStatus().Health == policy.Healthy })
	}
}
