//go:build litefence_unsafe

package quorum

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUnsafeRaftLease(t *testing.T) {
	l, c, g := newTestLease(3)
	leads := true
	l.word = raftWord{func(term uint64) bool { return leads && term == 5 }}
	require.False(t, l.valid(5), "it has not begun")
	l.lead(5)
	require.NoError(t, l.open(5, 17), "nobody has answered")
	l.saw(9)
	c.add(time.Minute)
	require.True(t, l.valid(5), "whatever was seen, however long ago")
	require.Greater(t, g.until, c.Boot())
	l.resigned()
	require.True(t, l.valid(5), "of an earlier term")
	_, ok := l.leftToWait(5, 0, true)
	require.False(t, ok, "the wait still counts from a majority")

	leads = false
	require.False(t, l.valid(5))
	l.resigned()
	require.True(t, l.over(5))
	require.Zero(t, g.epoch, "the gate is revoked")
	leads = true
	require.False(t, l.valid(5), "for good")
}

// In a real node the word is raft's: it ends with the leadership.
func TestUnsafeRaftLeaseEndsWithLeadership(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.Unsafe.RaftLease = true })
	old := c.writer()
	old.lite.commit("db", 1)
	eventually(t, "all are in step", func() bool {
		for _, n := range c.nodes {
			if m, _ := n.lite.Marker(); m != n.fsm.state().ref() {
				return false
			}
		}
		return true
	})
	old.lease.saw(old.raft.CurrentTerm() + 1)
	require.True(t, old.gate.admits())
	c.cut.set(old.name, true)
	time.Sleep(c.D + c.D/3)
	require.True(t, old.gate.admits(), "beyond the lease that it should have")
	next := c.writer(old.name)
	require.NotSame(t, old, next)
	eventually(t, "raft lets go", func() bool { return !old.gate.admits() })
}

func TestUnsafeNoWait(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) { cfg.Unsafe.NoWait = true })
	w := c.writer()
	w.mu.Lock()
	g := w.grant
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, w.waitOut(ctx, g, time.Hour))
}

// The node that raft prefers becomes primary without what two others have.
func TestUnsafeBlindElection(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.Unsafe.BlindElection = true })
	old := c.writer()
	var behind *testNode
	for _, n := range c.nodes {
		if n != old {
			behind = n
		}
	}
	old.lite.commit("db", 1)
	eventually(t, "all have the first", func() bool { return behind.lite.at("db").TXID == 1 })
	behind.lite.stuck.Store(true)
	old.lite.commit("db", 2)
	eventually(t, "raft knows that a majority has the second", func() bool { return behind.fsm.state().Held["db"].TXID == 2 })
	s, ok := old.server(behind.name)
	require.True(t, ok)
	old.raft.LeadershipTransferToServer(s.ID, s.Address)
	eventually(t, behind.name+" opens with the first alone", func() bool {
		st := behind.fsm.state()
		return behind.gate.admits() && st.Open.Node == behind.name && st.Open.Positions["db"].TXID == 1
	})
}
