package test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// TestFencedNodeReads: the primary is cut off under load; an old connection, a
// new one and the sqlite3 shell read on it, in every journal mode, and none of
// them writes.
func TestFencedNodeReads(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"delete", "truncate", "persist", "wal"} {
		t.Run(mode, func(t *testing.T) {
			c := start(t, cluster.Options{})
			old := writable(t, c.Nodes...)
			createDB(t, c, old, mode)
			w, err := old.StartApp("write", appDB(old), nil)
			require.NoError(t, err)
			r, err := old.StartApp("read", appDB(old), nil)
			require.NoError(t, err)
			eventually(t, "rows", atLeast(w, 30))
			require.NoError(t, old.Isolate())
			eventually(t, "fenced", func() error {
				s, err := old.Status()
				if err == nil && !s.Fenced {
					err = fmt.Errorf("%s is not fenced", old.Name)
				}
				return err
			})
			fenced := workload.Now()
			eventually(t, "20 reads on the old connection", func() error {
				n := 0
				for _, e := range r.Events() {
					if e.Start > fenced {
						if !e.OK() {
							return fmt.Errorf("a read failed: %s", e.Err)
						}
						n++
					}
				}
				if n < 20 {
					return fmt.Errorf("%d reads since the fence", n)
				}
				return nil
			})
			acked := w.Acked()
			rows := rowsOf(t, old)
			require.True(t, rows[acked[len(acked)-1].ID], "the last acknowledged row, on a new connection")
			requireShell(t, old, len(rows))

			writable(t, c.Others(old)...)
			require.NoError(t, old.Heal())
			_, err = w.Finish()
			require.NoError(t, err)
			_, err = r.Finish()
			require.NoError(t, err)
			allInStep(t, c)
			integrity(t, c.Nodes...)
		})
	}
}

// requireShell asks the sqlite3 shell, where the machine has one.
func requireShell(t *testing.T, n *cluster.Node, rows int) {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Log("no sqlite3 shell on this machine; run `make deps`")
		return
	}
	out, err := n.Exec("sqlite3", appDB(n), "PRAGMA busy_timeout=5000; SELECT count(*) FROM acked")
	require.NoError(t, err)
	lines := strings.Fields(out)
	require.Equal(t, fmt.Sprint(rows), lines[len(lines)-1])
	_, err = n.Exec("sqlite3", appDB(n), "INSERT INTO acked VALUES ('shell')")
	require.Error(t, err, "the shell writes on a fenced node")
}

// TestConnectionOutlivesTheFence: connections opened before and during a fence
// write again after it.
func TestConnectionOutlivesTheFence(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"delete", "wal"} {
		t.Run(mode, func(t *testing.T) {
			c := start(t, cluster.Options{})
			old := writable(t, c.Nodes...)
			createDB(t, c, old, mode)
			before, err := old.StartApp("write", appDB(old), nil, "-name", "before")
			require.NoError(t, err)
			eventually(t, "rows", atLeast(before, 10))
			require.NoError(t, old.Isolate())
			writable(t, c.Others(old)...)
			during, err := old.StartApp("write", appDB(old), nil, "-name", "during")
			require.NoError(t, err)
			eventually(t, "refusals", func() error {
				if len(during.Events()) < 10 {
					return fmt.Errorf("%d operations", len(during.Events()))
				}
				return nil
			})
			require.Empty(t, during.Acked())
			require.NoError(t, old.Heal())
			eventually(t, "the old primary follows", func() error { return isReplica(old) })
			back := workload.Now()
			moveTo(t, c, old)
			for _, w := range []*cluster.App{before, during} {
				eventually(t, w.Name+" writes again", func() error {
					if len(ackedAfter(w, back)) < 5 {
						return fmt.Errorf("%d rows since", len(ackedAfter(w, back)))
					}
					return nil
				})
				_, err := w.Finish()
				require.NoError(t, err)
			}
			allInStep(t, c)
			integrity(t, c.Nodes...)
		})
	}
}
