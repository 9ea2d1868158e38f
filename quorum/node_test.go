package quorum

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

func TestSingleVoterWrites(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := c.writer()
	require.Equal(t, "n1", w.name)
	require.True(t, w.HasQuorum())
	require.False(t, w.DetectStaleLeadership())
}

func TestPartitionMovesTheWriter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	old := c.writer()
	old.lite.commit("db", 7)
	eventually(t, "replicas in step", func() bool {
		for _, n := range c.nodes {
			m, _ := n.lite.Marker()
			if m != old.fsm.state().ref() || n.lite.at("db").TXID != 1 {
				return false
			}
		}
		return true
	})
	c.cut.set(old.name, true)
	eventually(t, "the old primary is fenced", func() bool { return !old.gate.admits() })
	next := c.writer(old.name)
	require.NotEqual(t, old.name, next.name)
	next.lite.commit("db", 8)
	next.lite.commit("db", 9)
	old.lite.commit("db", 99) // nobody saw it
	c.cut.set(old.name, false)
	eventually(t, "the old primary follows", func() bool {
		m, _ := old.lite.Marker()
		return m == next.fsm.state().ref() && old.lite.at("db") == next.lite.at("db")
	})
	require.False(t, old.gate.admits())
}

// After healing, leadership is thrown straight back at the old primary: raft
// elects without regard to LiteFS's position, and what the new primary
// acknowledged must survive that (FACTS: the worst trap).
func TestLeadershipThrownBackLosesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	old := c.writer()
	old.lite.commit("db", 1)
	eventually(t, "in step", func() bool {
		for _, n := range c.nodes {
			if m, _ := n.lite.Marker(); m != old.fsm.state().ref() {
				return false
			}
		}
		return true
	})
	c.cut.set(old.name, true)
	next := c.writer(old.name)
	for i := range 5 {
		next.lite.commit("db", uint64(100+i))
	}
	old.lite.commit("db", 666)
	old.lite.stopped.Store(true) // cannot catch up before it is elected
	c.cut.set(old.name, false)
	eventually(t, "the old primary hears the new leader", func() bool {
		return old.raft.AppliedIndex() >= next.fsm.state().Index
	})
	s, ok := next.server(old.name)
	require.True(t, ok)
	_ = next.raft.LeadershipTransferToServer(s.ID, s.Address).Error()
	old.lite.stopped.Store(false)
	w := c.writer()
	eventually(t, "somebody writes with all rows", func() bool {
		w = c.writer()
		return w.lite.InHistory(map2("db", 6, 104))
	})
	require.False(t, w.lite.InHistory(map2("db", 2, 666)), "the deposed primary's transaction came back")
}

func TestManualFenceHandsOnAndSticks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	old := c.writer()
	require.NoError(t, old.SetFence(true, "maintenance"))
	require.False(t, old.gate.admits())
	next := c.writer(old.name)
	require.NotEqual(t, old.name, next.name)
	dir, name := old.dir, old.name
	c.stop(name)
	again := c.start(name, dir)
	eventually(t, "follows", func() bool { _, ok := again.Primary(); return ok })
	require.Equal(t, "maintenance", again.fence.Reason)
	require.NoError(t, again.SetFence(false, ""))
}

// With nobody in step to take over, a fenced leader keeps the role with its gate
// shut: its stream is the only way in which anybody can come into step.
func TestFenceWithoutHeirKeepsTheStream(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := c.writer()
	require.NoError(t, w.SetFence(true, "maintenance"))
	require.False(t, w.gate.admits())
	_, err := w.Serving()
	require.NoError(t, err)
	require.NoError(t, w.SetFence(false, ""))
	eventually(t, "the gate opens again", w.gate.admits)
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	require.Equal(t, w.gate.epochs[0], w.gate.epochs[len(w.gate.epochs)-1], "under the same Open")
}

func TestShutdownHandsOnWithoutWaiting(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	old := c.writer()
	name := old.name
	c.inStep(old)
	c.stop(name)
	next := c.writer(name)
	require.NotEqual(t, name, next.name)
}

func TestOpensOnlyWithKeyAndPerGrant(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := c.writer()
	w.lite.stopped.Store(true)
	eventually(t, "silent LiteFS loses the role", func() bool { return !w.gate.admits() })
	w.lite.stopped.Store(false)
	eventually(t, "opens again", w.gate.admits)
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	require.Len(t, w.gate.epochs, 2)
	require.Greater(t, w.gate.epochs[1], w.gate.epochs[0])
}

// A stream belongs to one Open: when another is committed, in the same term
// too, it ends, and its LiteFS connects and is asked anew. Otherwise a follower
// that heard of the Open late would never be in step with it.
func TestStreamsEndWithTheirOpen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	var f *testNode
	for _, n := range c.nodes {
		if n != w {
			f = n
		}
	}
	var up context.Context
	eventually(t, "it follows", func() bool {
		var err error
		up, _, err = f.Upstream()
		return err == nil
	})
	again, _, err := f.Upstream()
	require.NoError(t, err)
	require.Equal(t, up, again, "all streams of one Open")
	st := f.fsm.state()
	open := st.Open
	open.ID = "another"
	require.Nil(t, f.fsm.Apply(&raft.Log{Index: st.Index + 1, Term: open.Term, Data: open.encode()}))
	require.Error(t, up.Err())
	again, _, err = f.Upstream()
	require.NoError(t, err)
	require.NoError(t, again.Err())
}

func TestOtherTimingsAreRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	c.writer()
	gate := &testGate{}
	cfg := Config{
		Name: "n2", Listen: "127.0.0.1:0", Advertise: "127.0.0.1:1", DataDir: t.TempDir(),
		Peers:            map[string]string{"n1": c.addrs["n1"], "n2": "127.0.0.1:1"},
		HeartbeatTimeout: c.H, Lease: c.D * 2, Secure: Insecure{}, Gate: gate, Fence: gate.fence,
		LiteFS: newFakeLiteFS(), Log: testLog("n2"), ReaderGrace: time.Second,
	}
	n, err := Open(cfg)
	require.NoError(t, err)
	require.NoError(t, n.Start(nil))
	require.ErrorContains(t, n.CheckPeers(), "quorum.lease: 300ms here, 150ms on n1; make them equal on all nodes")
	require.NoError(t, n.Close(t.Context()))
}

func map2(db string, txid, sum uint64) policy.Positions {
	return policy.Positions{db: {TXID: txid, Checksum: sum}}
}
