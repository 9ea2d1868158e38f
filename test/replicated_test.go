package test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestReplicated: with quorum.confirm: replicated nothing is acknowledged that the
// primary alone has, and nothing that was is lost when it dies, in any journal mode.
func TestReplicated(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			c := start(t, cluster.Options{Confirm: "replicated"})
			createDB(t, c, writable(t, c.Nodes...), mode)
			kept := map[string]bool{}
			for i := range 2 {
				dieAtWork(t, c, fmt.Sprintf("r%d", i), kept)
			}
			stoppedReplicas(t, c)
		})
	}
}

// dieAtWork kills the primary, LiteFS and litefence, while it acknowledges.
func dieAtWork(t *testing.T, c *cluster.Cluster, name string, kept map[string]bool) {
	old := writable(t, c.Nodes...)
	writers := startWriters(t, c, name)
	eventually(t, "rows on the primary", atLeast(writers[old], 50))
	require.NoError(t, old.PowerOff())
	eventually(t, "rows on another", func() error {
		for _, n := range c.Others(old) {
			if len(writers[n].Acked()) >= 50 {
				return nil
			}
		}
		return fmt.Errorf("none has 50")
	})
	require.NoError(t, old.Start())
	allInStep(t, c)
	for _, w := range writers {
		events, err := w.Finish()
		require.NoError(t, err)
		for _, e := range events {
			if e.Op == "write" && e.OK() {
				kept[e.ID] = true
			}
		}
	}
	allInStep(t, c)
	for _, n := range c.Nodes {
		requireRows(t, n, kept)
	}
	integrity(t, c.Nodes...)
}

// stoppedReplicas: with nobody to copy to nothing is acknowledged, reads go on,
// and status says whom commits wait for. One replica is enough for them to go on,
// and that one is the next primary.
func stoppedReplicas(t *testing.T, c *cluster.Cluster) {
	old := writable(t, c.Nodes...)
	others := c.Others(old)
	for _, n := range others {
		require.NoError(t, n.LiteFS().Signal(syscall.SIGSTOP))
		t.Cleanup(func() { _ = n.LiteFS().Signal(syscall.SIGCONT) })
	}
	w, err := old.StartApp("write", appDB(old), nil, "-name", "alone")
	require.NoError(t, err)
	eventually(t, "a commit waits", func() error {
		s, err := old.Status()
		if err == nil && (s.Copies == nil || s.Copies.OldestMS < 500 || len(s.Copies.HeldUpBy) != 1) {
			err = fmt.Errorf("copies: %+v", s.Copies)
		}
		return err
	})
	before := len(w.Acked())
	rows, err := old.SQL(appDB(old), "SELECT count(*) FROM acked")
	if err == nil { // in rollback mode the writer keeps readers out while it commits
		require.Len(t, rows, 1)
	}
	time.Sleep(100 * time.Millisecond) // long enough for what would be wrong
	require.LessOrEqual(t, len(w.Acked()), before)

	next := others[0]
	require.NoError(t, next.LiteFS().Signal(syscall.SIGCONT))
	eventually(t, "rows again", atLeast(w, before+50))
	require.NoError(t, old.PowerOff())
	_ = w.Kill()
	require.Equal(t, next, writable(t, others...))
	all := rowsOf(t, next)
	for _, e := range w.Acked() {
		require.True(t, all[e.ID], "%s was acknowledged and is lost", e.ID)
	}
}
