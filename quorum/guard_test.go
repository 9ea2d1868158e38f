package quorum

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func fatal(t *testing.T, n *testNode) error {
	select {
	case err := <-n.Fatal():
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("no fatal error")
		return nil
	}
}

func (n *testNode) closeInTime(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_ = n.Close(ctx)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the node does not close")
	}
}

// The disk of a leader fills up: it stops writing at once and says why; another
// node takes over.
func TestDiskFillsUpWhileLeading(t *testing.T) {
	t.Parallel()
	dirs := map[string]bool{}
	c := newCluster(t, 3, func(cfg *Config) {
		if !dirs[cfg.DataDir] {
			dirs[cfg.DataDir] = true
			mountAt(t, "tmpfs", cfg.DataDir, "tmpfs", 0, "size=8m")
		}
	})
	w := c.writer()
	w.lite.commit("db", 1)
	eventually(t, "all are in step", func() bool {
		for _, n := range c.nodes {
			if m, _ := n.lite.Marker(); m != w.fsm.state().ref() || n.lite.at("db").TXID != 1 {
				return false
			}
		}
		return true
	})
	fillUp(t, w.dir)
	var err error
	for i := 0; err == nil; i++ { // until the store has to grow
		require.Less(t, i, 10_000)
		_, err = w.apply(Record{Kind: KindClusterID, Term: w.raft.CurrentTerm(), ClusterID: strings.Repeat("x", 1<<14)}, time.Second)
	}
	err = fatal(t, w)
	require.ErrorIs(t, err, ErrDisk)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "quorum.data-dir "+w.dir)
	require.ErrorContains(t, err, "make room on its filesystem")
	require.NotContains(t, err.Error(), "\n")
	require.False(t, w.gate.admits(), "no writes, from before it is said")
	w.closeInTime(t)
	next := c.writer(w.name)
	require.NotEqual(t, w.name, next.name)
	_, err = checkState(w.dir, w.name)
	require.NoError(t, err, "what is on disk is whole")
}

// The disk goes away, and then raft has a term to save: it would panic. The
// node says what is wrong instead, and ends in order.
func TestDiskGoneWhenATermIsToBeSaved(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	victim := c.others(w)[0]
	require.NoError(t, victim.store.bolt.Close())
	id := victim.raftID()
	var resp raft.RequestVoteResponse
	err := askPort(t, w.clusterID(), func(tr *raft.NetworkTransport) error {
		return tr.RequestVote(id, raft.ServerAddress(c.addrs[victim.name]), &raft.RequestVoteRequest{
			RPCHeader: headerOf("x", tr), Term: 99, LeadershipTransfer: true,
		}, &resp)
	})
	require.NoError(t, err)
	require.False(t, resp.Granted, "the term is not on disk")
	require.Less(t, resp.Term, uint64(99))
	err = fatal(t, victim)
	require.ErrorIs(t, err, ErrDisk)
	require.True(t, victim.lease.over(victim.raft.CurrentTerm()))
	victim.closeInTime(t)
	require.True(t, c.writer().gate.admits(), "the others go on")
}
