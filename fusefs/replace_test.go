package fusefs

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// tellDrops passes LiteFS's own word of drops on to the mount, as the program
// is to do.
func (r *rig) tellDrops() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+"/events", nil)
	require.NoError(r.t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(r.t, err)
	done := make(chan struct{})
	r.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		for {
			var e struct {
				Type, DB string
				Data     struct {
					TXID   string
					Commit uint32
				}
			}
			if dec.Decode(&e) != nil {
				return
			}
			if e.Type == "tx" && e.Data.Commit == 0 {
				txid, _ := strconv.ParseUint(e.Data.TXID, 16, 64)
				r.fs.Dropped(e.DB, txid)
				r.drops.Add(1)
			}
		}
	}()
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

const contentQuery = "SELECT min(x) || ' ' || max(x) || ' ' || count(*) || ' ' || count(pad) FROM t"

// content says what a connection sees: word and number of rows, or the error.
func content(a *app, conn string) string {
	ans := a.do(order{Op: "query", Conn: conn, Arg: contentQuery})
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

// heirloom is a connection to a database that was dropped.
type heirloom struct {
	*app
	conn string
}

// outlived checks that connections whose database was dropped, and perhaps made
// anew, get errors or what the old one held, and can write nowhere. They ask at
// the same time: in WAL mode SQLite takes a refused lock for a busy one and
// asks for ten seconds.
func outlived(t *testing.T, mode, held string, list ...heirloom) {
	t.Helper()
	read := order{Op: "query", Arg: contentQuery}
	steps := []order{read, {Op: "exec", Arg: "INSERT INTO t VALUES ('old', 1)"}, {Op: "exec", Arg: "ROLLBACK"}, read}
	if mode == "WAL" {
		steps = steps[1:2]
	}
	for _, o := range steps {
		for _, a := range list {
			o.Conn = a.conn
			a.send(o)
		}
		for _, a := range list {
			ans := a.receive()
			require.NotContains(t, ans.Err, "malformed")
			if o.Op == "exec" {
				require.NotEmpty(t, ans.Err, "%s by a connection to a database that is gone", o.Arg)
			} else if ans.Err == "" {
				require.Equal(t, held, ans.Rows[0][0])
			}
		}
	}
}

func TestDropAndMakeAnewBeneathOpenConnections(t *testing.T) {
	for _, mode := range journalModes {
		for _, way := range []string{"mount", "lower"} {
			t.Run(mode+" by the "+way, func(t *testing.T) {
				if mode == "WAL" {
					t.Parallel() // these wait
				}
				dropAndMakeAnew(t, mode, way)
			})
		}
	}
}

func dropAndMakeAnew(t *testing.T, mode, way string) {
	p := newRig(t)
	q := newReplica(p)
	a, b := startApp(t), startApp(t)
	openDB(p, a, "a", mode)
	fill(a, "a", "old", 100)
	openDB(p, b, "b", mode)
	require.Equal(t, rows("old", 100), content(b, "b"))
	inStep(p, q, "db")
	q.tellDrops()
	there := startApp(t)
	there.open("r", q.path("db"))
	require.Equal(t, rows("old", 100), content(there, "r"))
	held := rows("old", 100)

	require.NoError(t, os.Remove(filepath.Join(map[string]string{"mount": p.mount, "lower": p.lower}[way], "db")))
	p.eventually(func() bool { _, err := os.Stat(p.path("db")); return os.IsNotExist(err) }, "gone")
	if mode != "WAL" {
		outlived(t, mode, held, heirloom{a, "a"})
	}
	p.alive()

	fresh, another := startApp(t), startApp(t)
	openDB(p, fresh, "f", mode)
	fill(fresh, "f", "new", 30)
	require.Equal(t, rows("new", 30), content(fresh, "f"))
	another.open("n", p.path("db"))
	another.must("n", "INSERT INTO t VALUES ('new', 1)")
	require.Equal(t, rows("new", 31), content(fresh, "f"))
	inStep(p, q, "db")
	q.eventually(func() bool { return q.drops.Load() > 0 }, "the replica's LiteFS tells of the drop")
	outlived(t, mode, held, heirloom{a, "a"}, heirloom{b, "b"}, heirloom{there, "r"})
	p.alive()

	reader := startApp(t)
	reader.open("n", q.path("db"))
	reader.must("n", "PRAGMA busy_timeout=5000")
	require.Equal(t, rows("new", 31), content(reader, "n"))
	a.kill()
	b.kill()
	another.must("n", "INSERT INTO t VALUES ('new', 1)")
	require.Equal(t, rows("new", 32), content(fresh, "f"))
	inStep(p, q, "db")
	require.Equal(t, rows("new", 32), content(reader, "n"))
	for conn, app := range map[string]*app{"f": fresh, "n": reader} {
		require.Equal(t, "ok", app.value(conn, "PRAGMA integrity_check"))
	}
	for _, app := range []*app{fresh, another, there, reader} {
		app.kill()
	}
	for _, r := range []*rig{p, q} {
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
	}
}

// One who has the write lock when the database is dropped keeps nothing: LiteFS
// would exit at his unlock, because -wal is gone (db.go, CommitWAL).
func TestDropBeneathAWriter(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		a.must("old", "BEGIN IMMEDIATE")
		a.must("old", "INSERT INTO t VALUES ('two')")
		if err := os.Remove(r.path("db")); err != nil {
			require.ErrorIs(t, err, unix.EBUSY)
			a.must("old", "COMMIT")
			require.NoError(t, os.Remove(r.path("db")))
		} else {
			require.NotEmpty(t, a.exec("old", "COMMIT").Err)
		}
		b := startApp(t)
		openDB(r, b, "b", mode)
		b.must("b", "CREATE TABLE t (x)")
		a.kill()
		b.must("b", "INSERT INTO t VALUES ('new')")
		require.Equal(t, "new", b.value("b", "SELECT group_concat(x) FROM t"))
		require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
		r.alive()
		b.kill()
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
	})
}
