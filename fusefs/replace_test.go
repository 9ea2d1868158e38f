package fusefs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A database that is replaced, or dropped and made anew, beneath open handles:
// correct results or clean errors, and nothing that stops a new connection.

// litefs runs a command of LiteFS's own program against r's LiteFS.
func (r *rig) litefs(args ...string) {
	r.t.Helper()
	cmd := exec.Command("../bin/litefs", append([]string{args[0], "-url", r.url}, args[1:]...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, string(out))
}

// alive fails the test where LiteFS has ended.
func (r *rig) alive() {
	r.t.Helper()
	select {
	case <-r.exit:
		r.t.Fatal("LiteFS is gone")
	default:
	}
}

// sourceDB makes a database file outside of any mount, with n rows of word.
func sourceDB(r *rig, mode, word string, n int) string {
	r.t.Helper()
	path := filepath.Join(r.dir, "source-"+word)
	a := startApp(r.t)
	a.open("s", path)
	a.must("s", "PRAGMA journal_mode="+mode)
	fill(a, "s", word, n)
	require.Empty(r.t, a.do(order{Op: "close", Conn: "s"}).Err)
	a.kill()
	return path
}

// fill makes the table t with n rows, too many for one page.
func fill(a *app, conn, word string, n int) {
	a.t.Helper()
	a.must(conn, "CREATE TABLE t (x, pad)")
	a.must(conn, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<"+itoa(n)+") INSERT INTO t SELECT '"+word+"', randomblob(500) FROM c")
}

// content says what a connection sees: word and number of rows, or the error.
func content(a *app, conn string) string {
	ans := a.do(order{Op: "query", Conn: conn, Arg: "SELECT min(x) || ' ' || max(x) || ' ' || count(*) || ' ' || count(pad) FROM t"})
	if ans.Err != "" {
		return "error: " + ans.Err
	}
	return ans.Rows[0][0]
}

func rows(word string, n int) string {
	return word + " " + word + " " + itoa(n) + " " + itoa(n)
}

func TestImportBeneathOpenConnections(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			p := newRig(t)
			q := newReplica(p)
			a, b, c := startApp(t), startApp(t), startApp(t)
			openDB(p, a, "a", mode)
			fill(a, "a", "old", 100)
			openDB(p, b, "b", mode)
			require.Equal(t, rows("old", 100), content(b, "b"))
			inStep(p, q, "db")
			c.open("c", q.path("db"))
			c.must("c", "PRAGMA busy_timeout=5000")
			require.Equal(t, rows("old", 100), content(c, "c"))

			for _, next := range []struct {
				word string
				n    int
			}{{"more", 300}, {"less", 20}} {
				p.litefs("import", "-name", "db", sourceDB(p, mode, next.word, next.n))
				for conn, app := range map[string]*app{"a": a, "b": b} {
					require.Equal(t, rows(next.word, next.n), content(app, conn))
					require.Equal(t, "ok", app.value(conn, "PRAGMA integrity_check"))
				}
				fresh := startApp(t)
				fresh.open("f", p.path("db"))
				require.Equal(t, rows(next.word, next.n), content(fresh, "f"))
				fresh.kill()
				inStep(p, q, "db")
				require.Equal(t, rows(next.word, next.n), content(c, "c"), "on the replica")
				for conn, app := range map[string]*app{"a": a, "b": b} {
					app.must(conn, "INSERT INTO t VALUES ('"+next.word+"', 1)")
				}
				require.Equal(t, rows(next.word, next.n+2), content(b, "b"))
				require.Equal(t, "ok", a.value("a", "PRAGMA integrity_check"))
				inStep(p, q, "db")
				require.Equal(t, rows(next.word, next.n+2), content(c, "c"), "on the replica")
			}
		})
	}
}

// An import waits for a transaction that is open, and that sees what it saw.
func TestImportWaitsForAReader(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			a := startApp(t)
			openDB(r, a, "a", mode)
			fill(a, "a", "old", 100)
			source := sourceDB(r, mode, "new", 50)
			a.must("a", "PRAGMA cache_size=5")
			a.must("a", "BEGIN")
			require.Equal(t, rows("old", 100), content(a, "a"))
			done := make(chan struct{})
			go func() {
				defer close(done)
				r.litefs("import", "-name", "db", source)
			}()
			for range 20 {
				require.Equal(t, rows("old", 100), content(a, "a"))
			}
			select {
			case <-done:
				t.Fatal("imported beneath a reader")
			default:
			}
			a.must("a", "COMMIT")
			<-done
			require.Equal(t, rows("new", 50), content(a, "a"))
			require.Equal(t, "ok", a.value("a", "PRAGMA integrity_check"))
		})
	}
}

func TestExportBesideAWriter(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			a, w := startApp(t), startApp(t)
			openDB(r, a, "a", mode)
			a.must("a", "CREATE TABLE t (x, pad)")
			openDB(r, w, "w", mode)
			for i := range 5 {
				a.must("a", "INSERT INTO t VALUES ('x', randomblob(3000))")
				w.send(order{Op: "exec", Conn: "w", Arg: "INSERT INTO t SELECT 'x', randomblob(3000) FROM (VALUES (1),(2),(3))"})
				out := filepath.Join(r.dir, "export"+itoa(i))
				r.litefs("export", "-name", "db", out)
				require.Empty(t, w.receive().Err)
				e := startApp(t)
				e.open("e", out)
				require.Equal(t, "ok", e.value("e", "PRAGMA integrity_check"))
				require.Contains(t, []string{rows("x", 4*i+1), rows("x", 4*i+4)}, content(e, "e"), "before or after the writer, never between")
				e.kill()
			}
			require.Equal(t, "ok", a.value("a", "PRAGMA integrity_check"))
		})
	}
}

// heir checks that an old connection, whose database was dropped and made anew,
// gives errors or what one of the two databases holds, and harms nothing.
func heir(t *testing.T, a *app, conn string, allowed ...string) {
	t.Helper()
	see := func(when string) {
		if got := content(a, conn); !strings.HasPrefix(got, "error: ") {
			require.Contains(t, allowed, got, when)
		} else {
			t.Logf("%s: %s", when, got)
			require.NotContains(t, got, "malformed", when)
		}
	}
	see("reads")
	ans := a.exec(conn, "INSERT INTO t VALUES ('old', 1)")
	t.Logf("write by the old connection: %+v", ans)
	require.NotEmpty(t, ans.Err, "a write to a database that is gone")
	a.exec(conn, "ROLLBACK")
	see("reads after its write was refused")
}

func TestDropAndMakeAnewBeneathOpenConnections(t *testing.T) {
	for _, mode := range journalModes {
		for _, way := range []string{"mount", "lower"} {
			t.Run(mode+" by the "+way, func(t *testing.T) {
				p := newRig(t)
				q := newReplica(p)
				old, idle := startApp(t), startApp(t)
				openDB(p, old, "o", mode)
				fill(old, "o", "old", 100)
				openDB(p, idle, "i", mode)
				require.Equal(t, rows("old", 100), content(idle, "i"))
				inStep(p, q, "db")
				there := startApp(t)
				there.open("r", q.path("db"))
				there.must("r", "PRAGMA busy_timeout=5000")
				require.Equal(t, rows("old", 100), content(there, "r"))

				dir := map[string]string{"mount": p.mount, "lower": p.lower}[way]
				require.NoError(t, os.Remove(dir+"/db"))
				p.eventually(func() bool { _, err := os.Stat(p.path("db")); return os.IsNotExist(err) }, "gone")
				heir(t, old, "o", rows("old", 100))
				p.alive()

				fresh := startApp(t)
				openDB(p, fresh, "f", mode)
				fill(fresh, "f", "new", 30)
				require.Equal(t, rows("new", 30), content(fresh, "f"))
				heir(t, old, "o", rows("old", 100), rows("new", 30))
				heir(t, idle, "i", rows("old", 100), rows("new", 30))
				p.alive()
				fresh.must("f", "INSERT INTO t VALUES ('new', 1)")
				require.Equal(t, "ok", fresh.value("f", "PRAGMA integrity_check"))
				another := startApp(t)
				another.open("n", p.path("db"))
				require.Equal(t, rows("new", 31), content(another, "n"))
				another.must("n", "INSERT INTO t VALUES ('new', 1)")
				old.kill()
				idle.kill()
				another.must("n", "INSERT INTO t VALUES ('new', 1)")
				require.Equal(t, rows("new", 33), content(fresh, "f"))
				require.Equal(t, "ok", fresh.value("f", "PRAGMA integrity_check"))

				inStep(p, q, "db")
				heir(t, there, "r", rows("old", 100), rows("new", 33))
				reader := startApp(t)
				reader.open("n", q.path("db"))
				reader.must("n", "PRAGMA busy_timeout=5000")
				require.Equal(t, rows("new", 33), content(reader, "n"))
				require.Equal(t, "ok", reader.value("n", "PRAGMA integrity_check"))
				fresh.must("f", "INSERT INTO t VALUES ('new', 1)")
				inStep(p, q, "db")
				require.Equal(t, rows("new", 34), content(reader, "n"))
				for _, a := range []*app{fresh, another, there, reader} {
					a.kill()
				}
				for _, r := range []*rig{p, q} {
					r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
				}
			})
		}
	}
}
