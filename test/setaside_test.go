package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// stranded are databases that strand makes, by journal mode.
var stranded = map[string]string{"extra.db": "delete", "extra-wal.db": "wal"}

// strand makes old the primary, has it acknowledge databases that nobody else
// gets, cuts it off, and lets it return when another node is primary.
func strand(t *testing.T, c *cluster.Cluster, old *cluster.Node) (next *cluster.Node) {
	t.Helper()
	createDB(t, c, writable(t, c.Nodes...), "wal")
	if writable(t, c.Nodes...) != old {
		moveTo(t, c, old)
	}
	allInStep(t, c)
	others := c.Others(old)
	for _, n := range others {
		require.NoError(t, n.LiteFS().Kill())
	}
	for db, journal := range stranded {
		eventually(t, db+" is made", func() error { // a busy machine may take the lease for a moment
			_, err := old.SQL(filepath.Join(old.Fenced(), db), "PRAGMA journal_mode="+journal,
				"CREATE TABLE IF NOT EXISTS alone (x)", "INSERT INTO alone SELECT value FROM json_each('[1,2,3]') WHERE NOT EXISTS (SELECT * FROM alone)")
			return err
		})
	}
	require.NoError(t, old.Isolate())
	for _, n := range others {
		require.NoError(t, n.StartLiteFS())
	}
	next = writable(t, others...)
	insert(t, next, "without it")
	require.NoError(t, old.Heal())
	return next
}

// requireAlone reads the databases of strand under dir.
func requireAlone(t *testing.T, n *cluster.Node, dir string) {
	t.Helper()
	for db := range stranded {
		rows, err := n.SQL(filepath.Join(dir, db, "database"), "PRAGMA integrity_check", "SELECT count(*) FROM alone")
		require.NoError(t, err)
		require.Equal(t, []string{"ok", "3"}, rows, db)
	}
}

// TestSetAside: a primary that is cut off has databases that the next one lacks.
// Where litefence starts LiteFS they are set aside, and the node follows.
func TestSetAside(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Supervised: 1})
	old := c.Nodes[0]
	next := strand(t, c, old)
	inStep(t, next, c)
	s, err := old.Status()
	require.NoError(t, err)
	require.Empty(t, s.OutOfStep)
	for db := range stranded {
		require.NotContains(t, s.Positions, db)
		require.NoFileExists(t, filepath.Join(old.Data(), "dbs", db))
	}

	var entries []struct {
		ID, Kind, Primary, Path string
		Databases               []struct{ Name, From string }
	}
	out, err := old.CLI("lost", "-json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(out), &entries))
	require.Len(t, entries, 1, out)
	e := entries[0]
	require.Equal(t, "set-aside", e.Kind)
	require.Equal(t, next.Name, e.Primary)
	require.Len(t, e.Databases, len(stranded))
	requireAlone(t, old, e.Path)
	out, err = old.CLI("lost", "list")
	require.NoError(t, err)
	require.Contains(t, out, e.ID)
	out, err = old.CLI("lost", "show", e.ID)
	require.NoError(t, err)
	require.Contains(t, out, "set aside in "+e.Path)

	// The node is as good as any other again.
	insert(t, next, "after")
	allInStep(t, c)
	eventually(t, "the fenced mount is over the new LiteFS", func() error {
		rows, err := old.SQL(appDB(old), "SELECT id FROM acked WHERE id = 'after'")
		if err == nil && len(rows) != 1 {
			err = errors.New("the row is missing")
		}
		return err
	})
	moveTo(t, c, old)
	insert(t, old, "primary again")
	log, err := os.ReadFile(filepath.Join(old.Dir, "litefence.log"))
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(log, []byte("stopping LiteFS to set databases aside")))
	require.NoError(t, old.Litefence().Stop(20*time.Second))
}

// TestSurplusIsReported: where LiteFS is started by somebody else, status says
// what to do, and that helps.
func TestSurplusIsReported(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := c.Nodes[0]
	next := strand(t, c, old)
	eventually(t, "status says so", func() error {
		out, err := old.CLI("status")
		if err == nil && !strings.Contains(out, "extra-wal.db, extra.db: on this node and not on its primary "+next.Name) {
			err = fmt.Errorf("status:\n%s", out)
		}
		return err
	})
	for _, n := range c.Others(old) {
		s, err := n.Status()
		require.NoError(t, err)
		require.Empty(t, s.OutOfStep, n.Name)
	}
	require.True(t, old.LiteFS().Running())

	require.NoError(t, old.LiteFS().Stop(20*time.Second))
	aside := filepath.Join(old.Dir, "aside")
	require.NoError(t, os.Mkdir(aside, 0o700))
	for db := range stranded {
		require.NoError(t, os.Rename(filepath.Join(old.Data(), "dbs", db), filepath.Join(aside, db)))
	}
	require.NoError(t, old.StartLiteFS())
	inStep(t, next, c)
	s, err := old.Status()
	require.NoError(t, err)
	require.Empty(t, s.OutOfStep)
	requireAlone(t, old, aside)
}

// TestSetAsideIsFinished: the power went when the plan was on disk, and nothing
// had been moved. The next start does it before LiteFS is there.
func TestSetAsideIsFinished(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Supervised: 1})
	n := c.Nodes[0]
	createDB(t, c, writable(t, c.Nodes...), "delete")
	if writable(t, c.Nodes...) == n {
		moveTo(t, c, c.Nodes[1])
	}
	insert(t, writable(t, c.Nodes...), "a")
	allInStep(t, c)
	require.NoError(t, n.Litefence().Stop(20*time.Second))
	dbs := filepath.Join(n.Data(), "dbs")
	require.NoError(t, os.CopyFS(filepath.Join(dbs, "late.db"), os.DirFS(filepath.Join(dbs, "app.db"))))
	require.NoError(t, os.Remove(filepath.Join(n.Data(), "litefence.marker")))
	dir := filepath.Join(n.Data(), "litefence-set-aside", "x1")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	note := fmt.Sprintf(`{"id": "x1", "kind": "set-aside", "path": %q, "databases": [{"name": "late.db", "from": "n1",
		"had": "0000000000000001/8000000000000001", "have": "0000000000000000/0000000000000000"}]}`, dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plan.json"),
		fmt.Appendf(nil, `{"id": "x1", "databases": ["late.db"], "note": %s}`, note), 0o600))

	require.NoError(t, n.Start())
	allInStep(t, c)
	rows, err := n.SQL(filepath.Join(dir, "late.db", "database"), "PRAGMA integrity_check", "SELECT id FROM acked")
	require.NoError(t, err)
	require.Equal(t, []string{"ok", "a"}, rows)
	require.NoDirExists(t, filepath.Join(dbs, "late.db"))
	require.FileExists(t, filepath.Join(dir, "done.json"))
	out, err := n.CLI("lost", "list")
	require.NoError(t, err)
	require.Contains(t, out, "x1  set-aside")
	log, err := os.ReadFile(filepath.Join(n.Dir, "litefence.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "as begun before the last stop")
	require.NotContains(t, string(log), "stopping LiteFS to set databases aside")
	require.NoError(t, n.Litefence().Stop(20*time.Second))
}
