package test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestObserveFollow: how a deployment with a lease of its own tries litefence. A
// primary that is cut off writes on, as it would without; what would have been
// refused is counted, and the strategy is not applied.
func TestObserveFollow(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{
		OwnLease: staticLease, Fence: "enforce: false",
		Extra: "policy: {strategy: shutdown-safe, recover: manual}",
	})
	n1 := c.Nodes[0]
	require.Same(t, n1, writable(t, c.Nodes...))
	makeTable(t, n1)
	sameRows(t, c)
	require.NoError(t, n1.Isolate())
	eventually(t, "n1 is a stale leader", func() error { return staleLeader(n1) })
	insert(t, n1, "observed")
	s := statusOf(t, n1)
	require.False(t, s.Enforce)
	require.NotZero(t, s.Writes.Refused["wal"], "counted: %v", s.Writes.Refused)
	require.NoFileExists(t, filepath.Join(n1.Fenced(), ".primary.blocked"))
	require.NoFileExists(t, filepath.Join(n1.Fenced(), ".primary"), "as LiteFS has it")
	out, err := n1.CLI("status")
	require.NoError(t, err)
	require.Contains(t, out, "observing only")
	eventually(t, "it is said that the strategy is not applied", func() error {
		return logHas(n1, "the strategy is not applied")
	})
	require.NoError(t, logHas(n1, "a write passes that would have been refused"))
	require.NoError(t, logHas(n1, "observing only; writes are NOT refused"))
	require.NoError(t, n1.Heal())
	require.Same(t, n1, writable(t, n1))
	sameRows(t, c)
	require.Equal(t, "healthy", stateIs(t, n1, "healthy").State)
	require.True(t, rowsOf(t, c.Nodes[1])["observed"])
	b, err := os.ReadFile(filepath.Join(c.Nodes[1].Fenced(), ".primary"))
	require.NoError(t, err)
	require.Equal(t, "n1\n", string(b))
	integrity(t, c.Nodes...)
}

// TestObserveServe: as LiteFS's lease server litefence takes the key away where
// Consul would. What LiteFS then refuses is LiteFS's.
func TestObserveServe(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Fence: "enforce: false"})
	old, next := cutOff(t, c)
	stateIs(t, old, "resolved")
	require.Equal(t, "replica", statusOf(t, old).Role)
	_, err := old.SQL(appDB(old), "INSERT INTO acked VALUES ('x')")
	require.Error(t, err, "LiteFS refuses it")
	require.NotZero(t, statusOf(t, old).Writes.Refused, "it passed the mount")
	insert(t, next, "more")
	comesBack(t, c, old)
}

func logHas(n *cluster.Node, text string) error {
	b, err := os.ReadFile(n.Litefence().Log)
	if err == nil && !bytes.Contains(b, []byte(text)) {
		err = errors.New(n.Name + "'s log does not say: " + text)
	}
	return err
}
