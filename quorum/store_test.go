package quorum

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func TestIdentityLivesInTheStore(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	first := s.id
	require.Equal(t, "n1", nodeName(first.raftID()))
	_, err = openStore(dir, "n1", testLog("n1"))
	require.ErrorContains(t, err, "another litefence runs on this data directory")
	require.NoError(t, s.close())

	_, err = openStore(dir, "n2", testLog("n2"))
	require.ErrorContains(t, err, `this is the state of node "n1", the config says node: n2`)

	s, err = openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	require.Equal(t, first, s.id, "the same store, the same ID")
	require.NoError(t, s.close())

	require.NoError(t, os.RemoveAll(dir))
	s, err = openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	require.NotEqual(t, first, s.id, "a node without its store forgot its votes")
	require.NoError(t, s.close())
}

func TestBrokenStoreIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "raft.db")
	junk := []byte("not a database, but somebody's data, longer than a header would be")
	require.NoError(t, os.WriteFile(path, junk, 0o600))
	_, err := openStore(dir, "n1", testLog("n1"))
	require.ErrorContains(t, err, "to start this node empty")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, junk, b)
}

func TestSnapshotsWithoutStoreAreRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "snapshots", "2-10-1"), 0o755))
	_, err := openStore(dir, "n1", testLog("n1"))
	require.ErrorContains(t, err, "raft.db is missing beside its snapshots")
}

// An empty node neither votes nor acknowledges until a peer has shown it a
// configuration with its ID.
func TestEmptyNodeHasNoVote(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	victim := "n1"
	if w.name == victim {
		victim = "n2"
	}
	eventually(t, "in step", func() bool { m, _ := c.lites[victim].Marker(); return m == w.fsm.state().ref() })
	old := c.nodes[victim].raftID()
	c.stop(victim)
	again := c.start(victim, t.TempDir())
	require.NotEqual(t, old, again.raftID())
	target := raft.ServerAddress(c.addrs[victim])
	var vote raft.RequestVoteResponse
	ask := func() error {
		return askPort(t, w.clusterID(), func(tr *raft.NetworkTransport) error {
			return tr.RequestVote(again.raftID(), target, &raft.RequestVoteRequest{RPCHeader: headerOf("x", tr), Term: 99}, &vote)
		})
	}
	require.Error(t, ask(), "without a cluster it takes no connection")
	require.NoError(t, again.setCluster(w.clusterID()))
	require.ErrorContains(t, ask(), "not admitted", "nor a message before it is admitted")
	require.False(t, vote.Granted)
	require.False(t, again.joined.Load())
	require.Empty(t, again.servers())
	require.True(t, w.gate.admits(), "the other two go on")
}

func TestFenceFileUnreadableFailsClosed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(fencePath(dir), []byte("{"), 0o600))
	_, err := loadFence(dir)
	require.ErrorContains(t, err, "remove the file if no manual fence is wanted")
}
