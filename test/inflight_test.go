package test

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

var errSame = errors.New("the position has not moved")

// stopAtSync runs a SQLite shell that inserts one row and is held for three
// seconds in the sync between its commit frame and its unlock of WRITE.
func stopAtSync(t *testing.T, n *cluster.Node, id string) *exec.Cmd {
	t.Helper()
	args := n.Command("strace", "-f", "-qq", "-o", "/dev/null",
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=3000000:when=1",
		"sqlite3", appDB(n), "PRAGMA synchronous=FULL; INSERT INTO acked VALUES ('"+id+"');")
	cmd := exec.Command(args[0], args[1:]...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// TestLeaseEndsBetweenCommitFrameAndUnlock: LiteFS commits a WAL transaction at
// the unlock of WRITE, whose result SQLite ignores. Taken by surprise there it
// would exit with 99, the row gone and the application told COMMIT OK.
func TestLeaseEndsBetweenCommitFrameAndUnlock(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	for name, endLease := range map[string]func(*testing.T, *cluster.Node){
		"by a partition": func(t *testing.T, n *cluster.Node) { require.NoError(t, n.Isolate()) },
		"by a fence": func(t *testing.T, n *cluster.Node) {
			_, err := n.CLI("fence", "-reason", "while a writer is held")
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, cluster.Options{})
			old := writable(t, c.Nodes...)
			createDB(t, c, old, "wal")
			before, err := old.Status()
			require.NoError(t, err)
			cmd := stopAtSync(t, old, "held")
			eventually(t, "the transaction is committed in LiteFS while its writer is held", func() error {
				s, err := old.Status()
				if err == nil && s.Positions["app.db"] == before.Positions["app.db"] {
					err = errSame
				}
				return err
			})
			inStep(t, old, c)
			endLease(t, old)
			next := writable(t, c.Others(old)...)
			appErr := cmd.Wait()
			require.NoError(t, old.Heal())
			inStep(t, next, c)
			if appErr == nil {
				require.True(t, rowsOf(t, next)["held"], "COMMIT OK for a row that is not there")
			}
			insert(t, next, "after")
			inStep(t, next, c)
			integrity(t, c.Nodes...)
		})
	}
}
