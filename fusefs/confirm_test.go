package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
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

		d := r.fs.dbs.get("db")
		h.meanwhile("a checkpoint", func() { b.exec("b", "PRAGMA wal_checkpoint") })
		h.meanwhile("whoever takes walMu or mu", func() {
			d.walMu.Lock()
			d.mu.Lock()
			d.mu.Unlock() //nolint:staticcheck // taken to see whether it can be
			d.walMu.Unlock()
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

// Each commit makes the -wal's name lead to another inode, and the kernel
// forgets those that nobody has open.
func TestInodesOfTheWALDoNotPileUp(t *testing.T) {
	r, a := walRig(t)
	b := startApp(t)
	nodes := func() int {
		r.fs.nodes.mu.Lock()
		defer r.fs.nodes.mu.Unlock()
		return len(r.fs.nodes.byID)
	}
	before := nodes()
	for range 30 {
		a.must("c", "INSERT INTO t VALUES (1)")
		b.open("b", r.path("db"))
		b.must("b", "INSERT INTO t VALUES (2)")
		require.Empty(t, b.do(order{Op: "close", Conn: "b"}).Err)
	}
	require.Equal(t, "61", a.value("c", "SELECT count(*) FROM t"))
	r.eventually(func() bool { return nodes() <= before+2 }, "the old ones are forgotten")
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
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		looked := make(chan struct{})
		r.fs.hooks.looked.set(func(string) { looked <- struct{}{} })
		h := r.hold("db")
		p := r.start(a, "old", "INSERT INTO t VALUES ('killed')")
		c := h.next()

		everyThread(t, a, unix.SIGURG) // which Go's runtime handles
		for range awayLooks + 5 {
			select {
			case <-looked:
			case ans := <-p.ans:
				t.Fatalf("a signal that is handled has ended the wait: %+v", ans)
			}
		}
		p.stillWaits()
		r.eventually(func() bool {
			return strings.Contains(r.logs.String(), fmt.Sprintf("a commit waits to be confirmed\" db=db txid=%016x waited=1", c.Pos.TXID))
		}, "the log tells of it")

		r.fs.hooks.looked.set(func(string) {})
		require.NoError(t, a.cmd.Process.Kill())
		select {
		case <-looked: // it may have been about to tell
		case <-p.ans:
		}
		h.meanwhile("the end of the process", func() { _ = a.cmd.Wait() })
		h.free()
		b := startApp(t)
		openDB(r, b, "b", mode)
		require.Equal(t, "2", b.value("b", "SELECT count(*) FROM t"), "LiteFS has it")
		b.must("b", "INSERT INTO t VALUES ('next')")
		require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
		b.kill()
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
		require.EqualValues(t, 1, r.fs.Stats().InDoubt)
	})
}

// One whose mount is aborted has his answer from the kernel, and the mount ends.
func TestAbortedWhileItWaits(t *testing.T) {
	r, a := walRig(t)
	h := r.hold("db")
	p := r.start(a, "c", "INSERT INTO t VALUES ('x')")
	h.next()
	require.ErrorIs(t, unix.Unmount(r.mount, unix.MNT_FORCE), unix.EBUSY) // and aborted
	require.NotEmpty(t, p.end().Err)
	select {
	case <-r.fs.Done():
	case <-time.After(20 * time.Second):
		h.free()
		close(h.tell)
		t.Fatal("the mount waits for the commit")
	}
}

// What lookAt makes of signals that a process has yet to take.
func TestLookAt(t *testing.T) {
	for sig, dying := range map[unix.Signal]bool{unix.SIGCHLD: false, unix.SIGTSTP: false, unix.SIGQUIT: true, unix.SIGSEGV: true} {
		cmd := exec.Command("sleep", "1000")
		require.NoError(t, cmd.Start())
		task := uint32(cmd.Process.Pid)
		require.NoError(t, unix.Kill(int(task), unix.SIGSTOP))
		require.Eventually(t, func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", task))
			return err == nil && strings.Contains(string(b), "\nState:\tT")
		}, 10*time.Second, time.Millisecond)
		require.NoError(t, unix.Kill(int(task), sig))
		is, waits := lookAt(task)
		require.Equal(t, dying, is, sig)
		require.False(t, waits, "it does not wait for us")
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		is, _ = lookAt(task)
		require.True(t, is, "gone")
	}
	is, _ := lookAt(0)
	require.True(t, is, "unseen")
}

// A fence waits for the commits that are inside, as long as they are; while the
// lease lasts they can still be told of a success.
func TestFenceWaitsForCommits(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		for i, told := range []error{nil, errors.New("the role has ended")} {
			h := r.hold("db")
			p := r.start(a, "old", "INSERT INTO t VALUES ('x')")
			h.next()
			fenced := make(chan error, 1)
			go func() { fenced <- r.gate.Fence(context.Background()) }()
			r.eventually(func() bool { return !r.gate.DoorOpen() }, "the door is shut")
			require.Equal(t, 1, r.gate.Inflight())
			p.stillWaits()
			select {
			case err := <-fenced:
				t.Fatalf("the fence has not waited: %v", err)
			default:
			}
			h.tell <- told
			require.NoError(t, <-fenced)
			require.Equal(t, told != nil, p.end().Err != "")
			h.free()
			r.reopen(uint64(i + 2))
			a.must("old", "INSERT INTO t VALUES ('x')")
			require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
		}
	})
}

// Between the unlink of a journal and the lock request after it the commit is
// inside the gate, but not for ever; and nobody is told of it who comes later.
func TestUnlinkIsPutOff(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	require.Empty(t, a.do(order{Op: "close", Conn: "c"}).Err)
	d := r.fs.dbs.get("db")
	unlinked := func() (b *app, fd int) {
		b = startApp(t)
		fd = b.sysopen(r.path("db"), unix.O_RDWR)
		require.Zero(t, b.lockOp("lock", fd, unix.F_WRLCK, pendingByte+1, 1), "RESERVED")
		require.Zero(t, b.lockOp("lock", fd, unix.F_WRLCK, pendingByte+2, sharedSize), "SHARED")
		for _, c := range []fileCall{
			{Call: "open", Path: r.path("db-journal"), Flags: unix.O_RDWR | unix.O_CREAT},
			{Call: "pwrite", Data: make([]byte, 2*journalHeaderSize)},
			{Call: "close"},
			{Call: "unlink", Path: r.path("db-journal")},
		} {
			require.Zero(t, b.do(order{Op: "file", File: &c}).File.Errno, c.Call)
		}
		require.NotNil(t, d.unconfirmed.Load())
		return b, fd
	}
	h := r.hold("db")
	b, _ := unlinked()
	b.kill()
	r.eventually(func() bool { return d.unconfirmed.Load() == nil && r.gate.Inflight() == 0 }, "his commit goes with him")

	b, fd := unlinked()
	r.eventually(func() bool { return r.gate.Inflight() == 0 }, "who is slow is not inside for ever")
	b.send(order{Op: "lock", Fd: fd, Typ: unix.F_RDLCK, Off: pendingByte + 2, Len: sharedSize})
	h.next()
	h.tell <- errors.New("no majority")
	require.Equal(t, int(unix.EIO), b.receive().Errno)
	require.Zero(t, b.lockOp("lock", fd, unix.F_UNLCK, 0, 0), "told once")
	h.free()

	b, fd = unlinked()
	r.onConfirm(func() error { return errors.New("no majority") })
	require.Equal(t, int(unix.EIO), b.lockOp("lock", fd, unix.F_UNLCK, 0, 0), "by whatever he asks for")
	require.Zero(t, b.lockOp("lock", fd, unix.F_UNLCK, 0, 0))
	h.free()
	r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
}

// The wait ends some time after the lease, and not before where that goes on
// being extended.
func TestWaitEndsAfterTheLease(t *testing.T) {
	g := &grant{}
	g.until.Store(BootNow())
	var logs lockedBuffer
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&FS{log: slog.New(slog.NewTextHandler(&logs, nil))}).attend(ctx, end, Ticket{g}, waiter{}, policy.Commit{})
	}()
	require.Eventually(t, func() bool { return logs.String() != "" }, 10*time.Second, time.Millisecond, "it has begun")
	last := BootNow()
	g.until.Store(last)
	<-done
	require.GreaterOrEqual(t, BootNow(), last+int64(confirmSlack))
	require.Equal(t, errLeaseEnded, context.Cause(ctx))
}

// The log tells of slow commits now and then, however many there are.
func TestSlowCommitsInTheLog(t *testing.T) {
	var logs lockedBuffer
	f := &FS{log: slog.New(slog.NewTextHandler(&logs, nil))}
	for range 5 {
		f.logSlow(policy.Commit{DB: "db"}, time.Second)
	}
	require.Equal(t, 1, strings.Count(logs.String(), "a commit waits"))
	f.saidSlow.Add(-int64(slowAgain))
	f.logSlow(policy.Commit{DB: "db"}, time.Second)
	require.Equal(t, 2, strings.Count(logs.String(), "a commit waits"))
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
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		o := startApp(t)
		o.open("o", r.path("other"))
		o.must("o", "PRAGMA journal_mode="+mode)
		o.must("o", "CREATE TABLE t (x)")
		for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
			if mode == "WAL" && locking == "EXCLUSIVE" {
				continue // its index is in the process's memory: LiteFS commits nothing
			}
			a.must("old", "PRAGMA locking_mode="+locking)
			var mu sync.Mutex
			var told []policy.Commit
			asked := r.fs.CommitWaits().Count
			r.onCommit(func(_ context.Context, c policy.Commit) error {
				if b := r.pos(c.DB); b != c.Pos.String()+"\n" {
					return errors.New("told " + c.Pos.String() + ", LiteFS is at " + b)
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
			mu.Lock()
			all, n := told, 0
			mu.Unlock()
			for _, c := range all {
				if c.DB == "db" {
					n++
					require.EqualValues(t, n, c.Pos.TXID-first.TXID)
				}
			}
			require.Equal(t, commits, n, locking)
			require.EqualValues(t, len(all), r.fs.CommitWaits().Count-asked)
		}
	})
}

// exported is the size of the database as LiteFS hands it out whole, for which it
// takes the same locks as for a replica that lacks too much.
func (r *rig) exported(db string) int {
	resp, err := http.Get(r.url + "/export?name=" + db)
	require.NoError(r.t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	require.Equal(r.t, http.StatusOK, resp.StatusCode, string(b))
	return len(b)
}

func (d *database) sharedBelow() lockType {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held[slotShared]
}

// What a commit waits for may be that a replica is sent the whole database, so
// LiteFS can read it meanwhile. Who goes on to write has EXCLUSIVE below again.
func TestLiteFSReadsWhileACommitWaits(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		for _, locking := range []string{"normal", "exclusive"} {
			if mode == "WAL" && locking == "exclusive" {
				continue // not with LiteFS
			}
			a.must("old", "PRAGMA locking_mode="+locking)
			h := r.hold("db")
			p := r.start(a, "old", "INSERT INTO t VALUES ('two')")
			h.next()
			h.meanwhile("LiteFS", func() { require.Positive(t, r.exported("db")) })
			p.stillWaits()
			h.tell <- nil
			require.Empty(t, p.end().Err)
			h.free()
		}
		if mode != "WAL" {
			d := r.fs.dbs.get("db")
			require.Equal(t, shared, d.sharedBelow())
			a.must("old", "BEGIN")
			a.must("old", "INSERT INTO t VALUES ('three')")
			require.Equal(t, exclusive, d.sharedBelow())
			a.must("old", "COMMIT")
		}
		a.must("old", "PRAGMA locking_mode=normal")
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
	})
}
