package test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestPowerLoss: everything is killed at once; whatever comes back first, the
// primary's last acknowledged row is there in the end.
func TestPowerLoss(t *testing.T) {
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	others := c.Others(old)
	for name, order := range map[string][]*cluster.Node{
		"old primary first": {old, others[0], others[1]},
		"old primary last":  {others[0], others[1], old},
	} {
		if writable(t, c.Nodes...) != old {
			moveTo(t, c, old)
		}
		w, err := old.StartApp("write", appDB(old), nil, "-name", name)
		require.NoError(t, err)
		eventually(t, name, atLeast(w, 50))
		for _, n := range c.Nodes {
			require.NoError(t, n.PowerOff())
		}
		require.NoError(t, w.Kill())
		for _, n := range order {
			require.NoError(t, n.Start())
		}
		writable(t, c.Nodes...)
		allInStep(t, c)
		acked := w.Acked()
		for _, n := range c.Nodes {
			rows := rowsOf(t, n)
			require.True(t, rows[acked[len(acked)-1].ID], "%s: the last acknowledged row is missing on %s", name, n.Name)
		}
		integrity(t, c.Nodes...)
	}
}

// TestWipedNodeIsNoPrimary: LiteFS's directory is lost on the primary. The
// node comes back as a replica, and never as an empty primary.
func TestWipedNodeIsNoPrimary(t *testing.T) {
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)
	require.NoError(t, old.PowerOff())
	require.NoError(t, old.WipeLiteFS())
	require.NoError(t, old.Start())
	writable(t, c.Others(old)...)
	allInStep(t, c)
	require.True(t, rowsOf(t, old)["before"])
	s, err := old.Status()
	require.NoError(t, err)
	require.Equal(t, "replica", s.Role)
	integrity(t, c.Nodes...)
}

// TestBetterNodeLeads: a node that lacks rows and one that has them are back
// after a power loss: the one that has them becomes primary, whoever raft
// elects first.
func TestBetterNodeLeads(t *testing.T) {
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "delete")
	others := c.Others(old)
	require.NoError(t, others[0].PowerOff())
	insert(t, old, "known to two")
	require.NoError(t, cluster.WaitInStep(deadline(t), old, others[1]))
	for _, n := range []*cluster.Node{old, others[1]} {
		require.NoError(t, n.PowerOff())
	}
	// others[0] lacks the row; with others[1] it has a majority, and others[1]
	// must become the primary.
	require.NoError(t, others[0].Start())
	require.NoError(t, others[1].Start())
	require.Same(t, others[1], writable(t, others...))
	require.NoError(t, cluster.WaitInStep(deadline(t), others[1], others[0]))
	require.True(t, rowsOf(t, others[0])["known to two"])
}
