package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/workload"
)

func TestMain(m *testing.M) {
	if workload.IsRequested(os.Args) {
		os.Exit(workload.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func newCluster(t *testing.T) *Cluster {
	t.Helper()
	c, err := New(Options{Nodes: 2})
	if errors.Is(err, ErrUnable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// reach tries to connect to a port where nobody listens: refused means that
// packets went there and back.
func reach(from, to *Node) string {
	_, err := from.Exec("timeout", "0.3", "bash", "-c", fmt.Sprintf("echo >/dev/tcp/%s/9", to.IP))
	if err != nil && strings.Contains(err.Error(), "refused") {
		return "answers"
	}
	return "silent"
}

func TestIsolateIsSilentAndHeals(t *testing.T) {
	c := newCluster(t)
	a, b := c.Nodes[0], c.Nodes[1]
	require.Equal(t, "answers", reach(a, b))
	for name, cut := range map[string]func() error{"both ways": a.Isolate, "in": a.IsolateIn, "out": a.IsolateOut} {
		require.NoError(t, cut(), name)
		require.Equal(t, "silent", reach(a, b), name)
		require.Equal(t, "silent", reach(b, a), name)
		require.NoError(t, a.Heal(), name)
		require.Equal(t, "answers", reach(b, a), name)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	c := newCluster(t)
	n := c.Nodes[0]
	db := n.Dir + "/x.db"
	_, err := n.SQL(db, "CREATE TABLE acked (id TEXT PRIMARY KEY)")
	require.NoError(t, err)
	w, err := n.StartApp("write", db, nil)
	require.NoError(t, err)
	_, err = n.Exec("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &") // as a LiteFS whose litefence was killed
	require.NoError(t, err)
	require.NotEmpty(t, Leaks(), "there is something to leak")
	orphans := pidsIn(n.ns)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "again")
	require.False(t, w.Running())
	require.Empty(t, Leaks())
	require.NotEmpty(t, orphans)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, pid := range orphans {
		require.NoError(t, WaitFor(ctx, func() error {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") {
				return nil
			}
			return fmt.Errorf("%s lives", stat)
		}))
	}
	_, err = n.StartApp("write", db, nil)
	require.Error(t, err, "a closed cluster starts nothing")
}

func TestAppReportsEveryOperation(t *testing.T) {
	c := newCluster(t)
	n := c.Nodes[0]
	db := n.Dir + "/x.db"
	_, err := n.SQL(db, "PRAGMA journal_mode=wal", "CREATE TABLE acked (id TEXT PRIMARY KEY)")
	require.NoError(t, err)
	before := workload.Now()
	w, err := n.StartApp("write", db, nil, "-interval", "1ms")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(w.Acked()) >= 20 }, 30*time.Second, 10*time.Millisecond)
	_, err = w.Finish()
	require.NoError(t, err)
	rows, err := n.SQL(db, "SELECT id FROM acked")
	require.NoError(t, err)
	require.Len(t, rows, len(w.Acked()))
	for _, e := range w.Acked() {
		require.Contains(t, rows, e.ID)
		require.True(t, before < e.Start && e.Start <= e.End && e.End < workload.Now())
	}
}
