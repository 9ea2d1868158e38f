package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// TestSuspend: with `strategy: suspend` a fence that comes and goes costs the
// application time, and no error beyond the transaction that it cut off. One
// node: with others the leader would hand its role on.
func TestSuspend(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Nodes: 1, Extra: "policy: {strategy: suspend, suspend-for: 10m}"})
	n := writable(t, c.Nodes...)
	createDB(t, c, n, "wal")
	w, err := n.StartApp("write", appDB(n), nil)
	require.NoError(t, err)
	eventually(t, "rows", atLeast(w, 20))
	_, err = n.CLI("fence", "-reason", "for a moment")
	require.NoError(t, err)
	fenced := workload.Now()
	eventually(t, "the writer waits", func() error {
		all := w.Events()
		if idle := time.Duration(workload.Now() - max(fenced, all[len(all)-1].End)); idle < 500*time.Millisecond {
			return fmt.Errorf("its last operation ended %v ago", idle)
		}
		return nil
	})
	rowsOf(t, n) // readers do not wait
	seen := len(w.Events())
	_, err = n.CLI("unfence")
	require.NoError(t, err)
	writable(t, n)
	eventually(t, "it goes on", func() error {
		if got := len(w.Events()) - seen; got < 20 {
			return fmt.Errorf("%d operations since", got)
		}
		return nil
	})
	events, err := w.Finish()
	require.NoError(t, err)
	for _, e := range events {
		if e.Start > fenced {
			require.True(t, e.OK(), "%s: %s", e.ID, e.Err)
		}
	}
	requireRows(t, n, map[string]bool{events[seen].ID: true})
	integrity(t, n)
}
