package fusefs

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A transaction that was cut off for LiteFS's sake must not see what LiteFS
// wrote then: neither from below nor from the page cache, which others of the
// same file fill anew.
func TestCutReaderSeesNothingNew(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			p := newRig(t)
			q := newReplica(p)
			w := startApp(t)
			openDB(p, w, "w", mode)
			w.must("w", "CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
			w.must("w", "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<2000) INSERT INTO t SELECT i, randomblob(1000) FROM c")
			inStep(p, q, "db")
			cut, live := startApp(t), startApp(t)
			for _, a := range []*app{cut, live} {
				a.open("r", q.path("db"))
				a.must("r", "PRAGMA busy_timeout=5000")
			}
			cut.must("r", "BEGIN")
			require.Equal(t, "1", cut.value("r", "SELECT count(*) FROM t WHERE id=1"))

			release := q.fs.Quiesce(context.Background(), 50*time.Millisecond)
			q.eventually(func() bool { return q.fs.Stats().CutReaders > 0 }, "cut off")
			w.must("w", "DELETE FROM t WHERE id%2=0")
			w.must("w", "UPDATE t SET x='new'")
			inStep(p, q, "db")
			release()

			const all = "SELECT count(*), sum(x='new') FROM t"
			require.Equal(t, "1000", live.value("r", all), "others read on, and fill the cache")
			ans := cut.do(order{Op: "query", Conn: "r", Arg: all})
			require.Equal(t, 10, ans.Code, "SQLITE_IOERR, at which SQLite ends the transaction: %+v", ans)
			require.Equal(t, "1000", live.value("r", all))
			cut.exec("r", "ROLLBACK")
			require.Equal(t, "1000", cut.value("r", all))
		})
	}
}

// What reads without a lock reads through the page cache too, and sees what
// LiteFS has as soon as LiteFS has it.
func TestReadsWithoutLocksAreFresh(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			p := newRig(t)
			q := newReplica(p)
			w := startApp(t)
			openDB(p, w, "w", mode)
			w.must("w", "CREATE TABLE t (x)")
			inStep(p, q, "db")
			open, err := os.Open(q.path("db"))
			require.NoError(t, err)
			defer open.Close()
			for i := range 20 {
				w.must("w", "INSERT INTO t VALUES (randomblob(3000))")
				inStep(p, q, "db")
				want, err := os.ReadFile(q.lower + "/db")
				require.NoError(t, err)
				st, err := os.Stat(q.path("db"))
				require.NoError(t, err)
				require.EqualValues(t, len(want), st.Size(), "round %d", i)
				got := make([]byte, len(want))
				_, err = open.ReadAt(got, 0)
				require.NoError(t, err)
				require.True(t, string(want) == string(got), "a descriptor that stays open, round %d", i)
				got, err = os.ReadFile(q.path("db"))
				require.NoError(t, err)
				require.True(t, string(want) == string(got), "a new one, round %d", i)
			}
		})
	}
}

// A HALT moves the WAL into the database without a new position.
func TestHaltIsSeenWithoutLocks(t *testing.T) {
	r, a := walRig(t)
	a.must("c", "PRAGMA wal_autocheckpoint=0")
	for range 5 {
		before, err := os.ReadFile(r.path("db"))
		require.NoError(t, err)
		a.must("c", "INSERT INTO t VALUES (randomblob(9000))")
		time.Sleep(2 * keepFor) // LiteFS gets its locks once ours are not kept any more
		require.NoError(t, r.halt(context.Background(), "db"))
		want, err := os.ReadFile(r.lower + "/db")
		require.NoError(t, err)
		require.NotEqual(t, len(before), len(want))
		got, err := os.ReadFile(r.path("db"))
		require.NoError(t, err)
		require.True(t, string(want) == string(got))
	}
	require.Equal(t, "6", a.value("c", "SELECT count(*) FROM t"))
}

// On the primary pages are not dropped for what our own applications do.
func TestOwnCommitsKeepThePages(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		b := startApp(t)
		b.open("b", r.path("db"))
		a.must("old", "INSERT INTO t VALUES ('x')")
		require.Equal(t, "2", b.value("b", "SELECT count(*) FROM t"))
		before := r.fs.Stats().Dropped
		for range 10 {
			a.must("old", "INSERT INTO t VALUES ('x')")
			b.must("b", "INSERT INTO t VALUES ('x')")
			time.Sleep(2 * keepFor) // so that every transaction starts anew below
		}
		require.Equal(t, "22", b.value("b", "SELECT count(*) FROM t"))
		require.Equal(t, before, r.fs.Stats().Dropped)
	})
}

// LiteFS's own writers get in while one of ours reads as fast as it can and
// its locks are kept.
func TestKeptLocksLetLiteFSIn(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			a := startApp(t)
			openDB(r, a, "c", mode)
			a.must("c", "CREATE TABLE t (x)")
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-stop:
						return
					default:
						a.value("c", "SELECT count(*) FROM t")
					}
				}
			}()
			for range 5 {
				r.eventually(func() bool {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					defer cancel()
					return r.halt(ctx, "db") == nil
				}, "HALT")
			}
			close(stop)
			<-done
		})
	}
}

// One who reads by mmap cannot be cut off: he is waited for.
func TestMappedReaderIsWaitedFor(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		a.must("old", "PRAGMA wal_checkpoint(TRUNCATE)") // what is in -wal is not mapped
		b := startApp(t)
		b.open("b", r.path("db"))
		require.Equal(t, "1048576", b.value("b", "PRAGMA mmap_size=1048576"))
		b.must("b", "BEGIN")
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		require.True(t, r.fs.dbs.get("db").maps(uint32(b.cmd.Process.Pid)))
		require.False(t, r.fs.dbs.get("db").maps(uint32(a.cmd.Process.Pid)))
		r.fence()
		release := r.fs.Quiesce(context.Background(), 0)
		defer release()
		halted := make(chan error, 1)
		go func() { halted <- r.halt(context.Background(), "db") }()
		r.eventually(func() bool { return strings.Contains(r.logs.String(), "by mmap") }, "it is named")
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		require.Zero(t, r.fs.Stats().CutReaders)
		require.Empty(t, halted)
		b.must("b", "COMMIT")
		require.NoError(t, <-halted)
	})
}
