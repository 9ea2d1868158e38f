package fusefs

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var journalModes = []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"}

// forEachMode runs a test in every journal mode, on a database "db" that has
// the table t with one row, opened by an application as "old".
func forEachMode(t *testing.T, test func(t *testing.T, r *rig, a *app, mode string)) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			a := startApp(t)
			openDB(r, a, "old", mode)
			a.must("old", "CREATE TABLE t (x)")
			a.must("old", "INSERT INTO t VALUES ('one')")
			test(t, r, a, mode)
		})
	}
}

func openDB(r *rig, a *app, conn, mode string) {
	a.t.Helper()
	a.open(conn, r.path("db"))
	require.Equal(a.t, strings.ToLower(mode), a.value(conn, "PRAGMA journal_mode="+mode))
	a.must(conn, "PRAGMA busy_timeout=3000")
}

func TestOpenGatePassesWrites(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		before := r.pos("db")
		a.must("old", "INSERT INTO t VALUES ('two')")
		require.NotEqual(t, before, r.pos("db"), "LiteFS has it when COMMIT returns")
		require.Equal(t, "2", a.value("old", "SELECT count(*) FROM t"))
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
		out, err := shell(t, r.path("db"), "INSERT INTO t VALUES ('three'); SELECT count(*) FROM t")
		require.NoError(t, err, out)
		require.Equal(t, "3", out)
		require.Equal(t, "3", a.value("old", "SELECT count(*) FROM t"))
	})
}

func TestFencedReadsGoOn(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		r.fence()
		pos := r.pos("db")
		require.Equal(t, "1", a.value("old", "SELECT count(*) FROM t"), "old connection")
		a.open("new", r.path("db"))
		require.Equal(t, "1", a.value("new", "SELECT count(*) FROM t"), "new connection")
		b := startApp(t)
		b.open("other", r.path("db"))
		require.Equal(t, "1", b.value("other", "SELECT count(*) FROM t"), "new process")
		out, err := shell(t, r.path("db"), "SELECT count(*) FROM t")
		require.NoError(t, err, out)
		require.Equal(t, "1", out)

		for conn, p := range map[string]*app{"old": a, "new": a, "other": b} {
			ans := p.exec(conn, "INSERT INTO t VALUES ('no')")
			require.Contains(t, []int{10, 14, 8}, ans.Code, "IOERR, CANTOPEN or READONLY: %v", ans)
			require.Equal(t, "1", p.value(conn, "SELECT count(*) FROM t"))
		}
		out, err = shell(t, r.path("db"), "INSERT INTO t VALUES ('no')")
		require.Error(t, err, out)
		require.Equal(t, pos, r.pos("db"), "nothing reached LiteFS")

		r.reopen(2)
		a.must("old", "INSERT INTO t VALUES ('two')")
		a.must("new", "INSERT INTO t VALUES ('three')")
		b.must("other", "INSERT INTO t VALUES ('four')")
		require.Equal(t, "4", a.value("old", "SELECT count(*) FROM t"))
		require.Equal(t, "ok", a.value("new", "PRAGMA integrity_check"))
	})
}

// A last process that closes while fenced must leave nothing that stops the
// next reader.
func TestFencedReadAfterLastClose(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		r.fence()
		a.kill()
		b := startApp(t)
		b.open("b", r.path("db"))
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		require.Equal(t, mode == "WAL", b.value("b", "PRAGMA journal_mode") == "wal")
		b.kill()
		out, err := shell(t, r.path("db"), "SELECT count(*) FROM t")
		require.NoError(t, err, out)
		require.Equal(t, "1", out)
	})
}

func TestFenceInMidTransaction(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		for _, spill := range []bool{false, true} {
			writer, reader := startApp(t), startApp(t)
			openDB(r, writer, "w", mode)
			reader.open("r", r.path("db"))
			reader.must("r", "PRAGMA busy_timeout=3000")
			require.Equal(t, "1", reader.value("r", "SELECT count(*) FROM t"))
			if spill {
				writer.must("w", "PRAGMA cache_size=5")
			}
			writer.must("w", "BEGIN IMMEDIATE")
			n := "1"
			if spill {
				n = "400"
			}
			writer.must("w", "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<"+n+") INSERT INTO t SELECT randomblob(3000) FROM c")

			pos := r.pos("db")
			r.fence()
			require.Equal(t, "1", reader.value("r", "SELECT count(*) FROM t"), "reads go on beside the cut-off writer (spill %v)", spill)
			b := startApp(t)
			b.open("b", r.path("db"))
			require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))

			require.NotEmpty(t, writer.exec("w", "COMMIT").Err)
			_ = writer.exec("w", "ROLLBACK")
			r.eventually(func() bool { return !hotJournal(r) }, "no hot journal")
			require.Equal(t, "1", reader.value("r", "SELECT count(*) FROM t"))
			require.Equal(t, "1", writer.value("w", "SELECT count(*) FROM t"))
			require.Equal(t, "ok", reader.value("r", "PRAGMA integrity_check"))
			require.Equal(t, pos, r.pos("db"))

			r.reopen(uint64(r.gate.cur.Load().epoch + 1))
			for conn, p := range map[string]*app{"w": writer, "r": reader, "b": b, "old": a} {
				p.must(conn, "INSERT INTO t VALUES ('x')")
				p.must(conn, "DELETE FROM t WHERE x='x'")
			}
			require.Equal(t, "ok", writer.value("w", "PRAGMA integrity_check"))
			writer.kill()
			reader.kill()
			b.kill()
		}
	})
}

// hotJournal looks at the journal through the lower mount.
func hotJournal(r *rig) bool {
	b, err := os.ReadFile(r.lower + "/db-journal")
	return err == nil && len(b) > 0 && b[0] != 0
}

func TestKilledApplicationFreesLocks(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		b := startApp(t)
		b.open("b", r.path("db"))
		b.must("b", "PRAGMA busy_timeout=0")
		b.must("b", "BEGIN IMMEDIATE")
		b.must("b", "INSERT INTO t VALUES ('lost')")
		b.kill()
		a.must("old", "INSERT INTO t VALUES ('two')")
		require.Equal(t, "2", a.value("old", "SELECT count(*) FROM t"))
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
		a.kill()
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
	})
}
