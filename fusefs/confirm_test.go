package fusefs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

// held keeps the commits of one database waiting until it is told.
type held struct {
	r     *rig
	asked chan policy.Commit
	tell  chan error
}

func (r *rig) hold(db string) *held {
	h := &held{r: r, asked: make(chan policy.Commit, 16), tell: make(chan error)}
	r.onCommit(func(ctx context.Context, c policy.Commit) error {
		if c.DB != db {
			return nil
		}
		h.asked <- c
		select {
		case err := <-h.tell:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	r.t.Cleanup(h.free)
	return h
}

// free confirms whatever comes from now on.
func (h *held) free() { h.r.onConfirm(func() error { return nil }) }

// meanwhile does what must not wait for the commit that is held.
func (h *held) meanwhile(what string, fn func()) {
	h.r.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		h.free()
		close(h.tell)
		<-done
		h.r.t.Fatalf("%s waits for the commit", what)
	}
}

// pending is a statement that has not come back.
type pending struct {
	r   *rig
	ans chan answer
}

func (r *rig) start(a *app, conn, stmt string) *pending {
	p := &pending{r, make(chan answer, 1)}
	a.send(order{Op: "exec", Conn: conn, Arg: stmt})
	go func() { p.ans <- a.receive() }()
	return p
}

func (p *pending) stillWaits() {
	p.r.t.Helper()
	select {
	case ans := <-p.ans:
		p.r.t.Fatalf("the commit has come back: %+v", ans)
	default:
	}
}

func (p *pending) end() answer {
	p.r.t.Helper()
	select {
	case ans := <-p.ans:
		return ans
	case <-time.After(20 * time.Second):
		p.r.t.Fatal("the commit does not come back")
		return answer{}
	}
}

func (h *held) next() policy.Commit {
	h.r.t.Helper()
	select {
	case c := <-h.asked:
		return c
	case <-time.After(20 * time.Second):
		h.r.t.Fatal("the commit was not asked for")
		return policy.Commit{}
	}
}

// A commit does not return before it is confirmed. Nobody else waits for it:
// not in other databases, and in WAL mode not the readers of its own, who do not
// see it before.
func TestCommitWaits(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		b, o := startApp(t), startApp(t)
		b.open("b", r.path("db"))
		b.must("b", "PRAGMA busy_timeout=0")
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		o.open("o", r.path("other"))
		o.must("o", "PRAGMA journal_mode="+mode)
		o.must("o", "CREATE TABLE t (x)")
		o.must("o", "INSERT INTO t VALUES ('one')")

		h := r.hold("db")
		p := r.start(a, "old", "INSERT INTO t VALUES ('two')")
		c := h.next()
		require.Equal(t, r.pos("db"), c.Pos.String()+"\n")

		h.meanwhile("a writer of another database", func() { o.must("o", "INSERT INTO t VALUES ('two')") })
		h.meanwhile("a new connection to another database", func() {
			n := startApp(t)
			n.open("n", r.path("other"))
			n.must("n", "INSERT INTO t VALUES ('three')")
			n.kill()
		})
		h.meanwhile("a new database", func() {
			n := startApp(t)
			n.open("n", r.path("third"))
			n.must("n", "PRAGMA journal_mode="+mode)
			n.must("n", "CREATE TABLE t (x)")
			n.kill()
		})
		h.meanwhile("a lookup", func() {
			for _, name := range []string{"db", "db-journal", "db-wal", "other", "nothing"} {
				_, err := os.Stat(r.path(name))
				require.True(t, err == nil || os.IsNotExist(err), err)
			}
			_, err := os.ReadDir(r.mount)
			require.NoError(t, err)
		})
		if mode == "WAL" {
			h.meanwhile("a reader", func() { require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t")) })
			h.meanwhile("a new reader", func() {
				n := startApp(t)
				n.open("n", r.path("db"))
				require.Equal(t, "1", n.value("n", "SELECT count(*) FROM t"))
				n.kill()
			})
		} else {
			h.meanwhile("a reader", func() {
				require.Equal(t, 5, b.exec("b", "SELECT count(*) FROM t").Code, "BUSY: it would see what may yet be lost")
			})
		}
		h.meanwhile("another writer", func() {
			require.Equal(t, 5, b.exec("b", "BEGIN IMMEDIATE").Code, "BUSY")
		})

		p.stillWaits()
		h.tell <- nil
		require.Empty(t, p.end().Err)
		h.free()
		require.Equal(t, "2", b.value("b", "SELECT count(*) FROM t"))
		b.must("b", "INSERT INTO t VALUES ('three')")
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
		require.Zero(t, r.fs.Stats().InDoubt)
	})
}

// Not confirmed, a commit is an error, never a success; nothing stays locked.
func TestUnconfirmedCommitIsAnError(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		b := startApp(t)
		b.open("b", r.path("db"))
		b.must("b", "PRAGMA busy_timeout=0")
		for i, stmts := range [][]string{
			{"INSERT INTO t VALUES ('x')"},
			{"BEGIN", "INSERT INTO t VALUES ('x')", "COMMIT"},
			{"BEGIN EXCLUSIVE", "INSERT INTO t VALUES ('x')", "COMMIT"},
		} {
			h := r.hold("db")
			last := len(stmts) - 1
			for _, stmt := range stmts[:last] {
				a.must("old", stmt)
			}
			p := r.start(a, "old", stmts[last])
			h.next()
			h.tell <- errors.New("no majority")
			ans := p.end()
			require.Equal(t, 10, ans.Code, "%+v", ans) // IOERR
			if mode == "DELETE" {
				require.Equal(t, 10|9<<8, ans.Ext, "IOERR_RDLOCK")
			}
			require.EqualValues(t, i+1, r.fs.Stats().InDoubt)
			h.free()

			require.Equal(t, itoa(2+4*i), b.value("b", "SELECT count(*) FROM t"), "LiteFS has it")
			b.must("b", "INSERT INTO t VALUES ('b')")
			a.must("old", "INSERT INTO t VALUES ('a')")
			a.must("old", "BEGIN")
			a.must("old", "INSERT INTO t VALUES ('a')")
			a.must("old", "COMMIT")
			require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
		}
		a.kill()
		b.kill()
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
	})
}

// Whoever waits can be killed, whatever other signals came before; his locks go
// with him, and the next writer writes.
func TestKilledWhileItWaits(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGQUIT} {
		forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
			looked := make(chan struct{}, 100)
			r.fs.hooks.looked.set(func(string) {
				select {
				case looked <- struct{}{}:
				default:
				}
			})
			h := r.hold("db")
			p := r.start(a, "old", "INSERT INTO t VALUES ('killed')")
			h.next()

			everyThread(t, a, unix.SIGURG) // which Go's runtime handles
			for range awayLooks + 5 {
				select {
				case <-looked:
				case <-p.ans:
					t.Fatal("a signal that is handled has ended the wait")
				}
			}
			p.stillWaits()

			if sig == unix.SIGKILL {
				require.NoError(t, a.cmd.Process.Kill())
			} else {
				everyThread(t, a, sig)
			}
			h.meanwhile("the end of the process", func() { _ = a.cmd.Wait() })
			h.meanwhile("the next writer", func() {
				h.free()
				b := startApp(t)
				openDB(r, b, "b", mode)
				require.Equal(t, "2", b.value("b", "SELECT count(*) FROM t"), "LiteFS has it")
				b.must("b", "INSERT INTO t VALUES ('next')")
				require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
				b.kill()
			})
			r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
			require.EqualValues(t, 1, r.fs.Stats().InDoubt)
		})
	}
}

// everyThread sends a signal to every thread of a.
func everyThread(t *testing.T, a *app, sig unix.Signal) {
	pid := a.cmd.Process.Pid
	tasks, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	require.NoError(t, err)
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		require.NoError(t, err)
		_ = unix.Tgkill(pid, tid, sig) // one may have ended
	}
}

// Confirm is told where LiteFS stands after that very transaction.
func TestConfirmIsToldThePosition(t *testing.T) {
	for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
		forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
			o := startApp(t)
			o.open("o", r.path("other"))
			o.must("o", "PRAGMA journal_mode="+mode)
			o.must("o", "CREATE TABLE t (x)")
			if mode == "WAL" && locking == "EXCLUSIVE" {
				t.Skip("an index in memory only: nothing to share") // see mount.md
			}
			a.must("old", "PRAGMA locking_mode="+locking)
			var mu sync.Mutex
			var told []policy.Commit
			r.onCommit(func(_ context.Context, c policy.Commit) error {
				b, err := os.ReadFile(filepath.Join(r.lower, c.DB+"-pos"))
				if err != nil || string(b) != c.Pos.String()+"\n" {
					return errors.New("told " + c.Pos.String() + ", LiteFS is at " + strings.TrimSpace(string(b)))
				}
				mu.Lock()
				defer mu.Unlock()
				told = append(told, c)
				return nil
			})
			first, err := policy.ParsePos(r.pos("db"))
			require.NoError(t, err)
			busy := make(chan struct{})
			go func() {
				defer close(busy)
				for range 30 {
					o.must("o", "INSERT INTO t VALUES (1)")
				}
			}()
			const commits = 20
			for i := range commits {
				a.must("old", "INSERT INTO t VALUES ("+itoa(i)+")")
			}
			<-busy
			var own []uint64
			for _, c := range told {
				if c.DB == "db" {
					own = append(own, c.Pos.TXID-first.TXID)
				}
			}
			require.Len(t, own, commits)
			for i, txid := range own {
				require.EqualValues(t, i+1, txid)
			}
		})
	}
}
