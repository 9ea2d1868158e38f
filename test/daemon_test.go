package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestKilledDaemon: litefence dies on the primary, others take over, and the
// restarted one takes over its own dead mount.
func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)

	require.NoError(t, old.Litefence().Kill())
	_, err := old.SQL(appDB(old), "INSERT INTO acked VALUES ('without a daemon')")
	require.Error(t, err, "nothing is written without the daemon")
	next := writable(t, c.Others(old)...)
	insert(t, next, "after")

	require.NoError(t, old.StartLitefence())
	allInStep(t, c)
	requireRows(t, old, map[string]bool{"before": true, "after": true})
	require.False(t, rowsOf(t, old)["without a daemon"])
	integrity(t, c.Nodes...)
}

// TestFrozenDaemon: a stopped daemon admits nothing when it goes on.
func TestFrozenDaemon(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "delete")
	w, err := old.StartApp("write", appDB(old), nil, "-name", "frozen")
	require.NoError(t, err)
	eventually(t, "rows", atLeast(w, 20))
	require.NoError(t, old.Pause())
	next := writable(t, c.Others(old)...)
	insert(t, next, "meanwhile")
	before := len(w.Acked())
	require.NoError(t, old.Resume())
	eventually(t, "the old primary follows", func() error { return isReplica(old) })
	_, err = w.Finish()
	require.NoError(t, err)
	// One write may have been answered below before the pause and above after it.
	require.LessOrEqual(t, len(w.Acked()), before+1)
	allInStep(t, c)
	require.True(t, rowsOf(t, old)["meanwhile"])
	integrity(t, c.Nodes...)
}

// TestKilledLiteFS: the fenced mount answers with errors, never a hang, and
// works again once LiteFS is back.
func TestKilledLiteFS(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	require.NoError(t, old.LiteFS().Kill())
	next := writable(t, c.Others(old)...)
	insert(t, next, "after")
	require.NoError(t, old.StartLiteFS())
	if !old.Litefence().Running() { // it may end when its lower mount is gone
		require.NoError(t, old.StartLitefence())
	}
	allInStep(t, c)
	eventually(t, "the fenced mount works again", func() error {
		rows, err := old.SQL(appDB(old), "SELECT id FROM acked WHERE id = 'after'")
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("the row is missing on %s", old.Name)
		}
		return err
	})
	integrity(t, c.Nodes...)
}

// TestManualFence: latched, kept across a restart, and a fenced leader hands
// leadership on first.
func TestManualFence(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	_, err := old.CLI("fence", "-reason", "maintenance")
	require.NoError(t, err)
	_, err = old.CLI("wait", "-for", "fenced", "-timeout", "10s")
	require.NoError(t, err)
	next := writable(t, c.Others(old)...)
	insert(t, next, "meanwhile")
	allInStep(t, c)

	require.NoError(t, old.Litefence().Stop(20*time.Second))
	require.NoError(t, old.StartLitefence())
	eventually(t, "still fenced after a restart", func() error {
		s, err := old.Status()
		if err == nil && (!s.Fenced || s.Reason != "manual") {
			err = fmt.Errorf("fenced %v, reason %q", s.Fenced, s.Reason)
		}
		return err
	})
	_, err = old.SQL(appDB(old), "INSERT INTO acked VALUES ('x')")
	require.Error(t, err)

	_, err = old.CLI("unfence")
	require.NoError(t, err)
	moveTo(t, c, old)
	insert(t, old, "afterwards")
	allInStep(t, c)
}

// TestSingleVoter: one machine, as a developer tries it; its own majority.
func TestSingleVoter(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Nodes: 1})
	n := writable(t, c.Nodes...)
	createDB(t, c, n, "wal")
	insert(t, n, "a")
	require.NoError(t, n.PowerOff())
	require.NoError(t, n.Start())
	writable(t, n)
	insert(t, n, "b")
	require.Len(t, rowsOf(t, n), 2)
	out, err := n.CLI("status")
	require.NoError(t, err)
	require.Contains(t, out, n.Name)

	require.NoError(t, n.Litefence().Signal(syscall.SIGTERM))
	eventually(t, "a clean end", func() error {
		if n.Litefence().Running() {
			return fmt.Errorf("litefence still runs")
		}
		return nil
	})
	require.Zero(t, n.Litefence().ExitCode())
	mounts, err := n.Exec("cat", "/proc/mounts")
	require.NoError(t, err)
	require.False(t, strings.Contains(mounts, n.Fenced()), "the fenced mount is gone")
	require.True(t, strings.Contains(mounts, n.Lower()), "LiteFS's is not")
}
