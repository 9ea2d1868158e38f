package fusefs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// A lease lost between the looks: LiteFS has the transaction, the application
// must not be told so. The row is there afterwards, as after a lost connection.
func TestRevokedBetweenTheLooks(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		var arm atomic.Bool
		r.onConfirm(func() error {
			if arm.CompareAndSwap(true, false) {
				r.gate.Revoke()
			}
			return nil
		})
		before := r.pos("db")
		arm.Store(true)
		require.NotEmpty(t, a.exec("old", "INSERT INTO t VALUES ('doubt')").Err)
		require.False(t, arm.Load())
		require.NotEqual(t, before, r.pos("db"), "it is committed below")
		require.EqualValues(t, 1, r.fs.Stats().InDoubt)
		r.fence()
		b := startApp(t)
		b.open("b", r.path("db"))
		require.Equal(t, "2", b.value("b", "SELECT count(*) FROM t"), "LiteFS and SQLite agree")
		r.reopen(2)
		a.must("old", "INSERT INTO t VALUES ('after')")
		b.must("b", "INSERT INTO t VALUES ('after')")
		require.Equal(t, "4", b.value("b", "SELECT count(*) FROM t"))
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
	})
}

func TestConfirmFailureIsInDoubt(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		r.onConfirm(func() error { return errors.New("no majority") })
		require.NotEmpty(t, a.exec("old", "INSERT INTO t VALUES ('doubt')").Err)
		r.onConfirm(func() error { return nil })
		a.must("old", "INSERT INTO t VALUES ('after')")
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
	})
}

// Lost before LiteFS has it: refused and cancelled, and nothing moves below.
func TestWALCommitRefusedBeforePublication(t *testing.T) {
	r, a := walRig(t)
	var arm atomic.Bool
	r.fs.hooks.afterCommitFrame.set(func(string) {
		if arm.CompareAndSwap(true, false) {
			r.gate.Revoke()
		}
	})
	before := r.pos("db")
	arm.Store(true)
	require.NotEmpty(t, a.exec("c", "INSERT INTO t VALUES ('refused')").Err)
	require.Equal(t, before, r.pos("db"))
	require.EqualValues(t, 1, r.fs.Stats().Cancelled)
	r.fence()
	require.Equal(t, "1", a.value("c", "SELECT count(*) FROM t"))
	r.reopen(2)
	a.must("c", "INSERT INTO t VALUES ('two')")
	require.Equal(t, "2", a.value("c", "SELECT count(*) FROM t"))
	require.Equal(t, "ok", a.value("c", "PRAGMA integrity_check"))
}

// A refused transaction of several frames does not come back because the next
// writer happens to begin with the same frame, and dies there: LiteFS would
// commit the rest of the old one at the unlock, and SQLite would know nothing.
func TestRefusedTransactionStaysDead(t *testing.T) {
	r, a := walRig(t)
	wal := filepath.Join(r.lower, "db-wal")
	fi, err := os.Stat(wal)
	require.NoError(t, err)
	start := fi.Size()
	seen := make(chan []byte, 1)
	r.fs.hooks.afterCommitFrame.set(func(string) {
		b, _ := os.ReadFile(wal)
		seen <- b
		r.gate.Revoke()
	})
	require.NotEmpty(t, a.exec("c", "INSERT INTO t VALUES (randomblob(20000))").Err)
	refused := <-seen
	frame := int64(frameHeaderSize + 4096)
	require.Greater(t, int64(len(refused)), start+2*frame, "several frames")
	r.fence()
	r.fs.hooks.afterCommitFrame.set(func(string) {})
	r.reopen(2)
	before := r.pos("db")

	shm, err := os.OpenFile(r.path("db-shm"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer shm.Close()
	w, err := os.OpenFile(r.path("db-wal"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, setLock(int(shm.Fd()), unix.F_WRLCK, walByte, 1))
	_, err = w.WriteAt(refused[start:start+frameHeaderSize], start)
	require.NoError(t, err)
	_, err = w.WriteAt(refused[start+frameHeaderSize:start+frame], start+frameHeaderSize)
	require.NoError(t, err)
	require.NoError(t, setLock(int(shm.Fd()), unix.F_UNLCK, walByte, 1))

	require.Equal(t, before, r.pos("db"), "LiteFS committed what SQLite was refused")
	a.must("c", "INSERT INTO t VALUES ('two')")
	require.Equal(t, "2", a.value("c", "SELECT count(*) FROM t"))
}

func walRig(t *testing.T) (*rig, *app) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	a.must("c", "INSERT INTO t VALUES ('one')")
	return r, a
}

// The application dies while its commit frame is being published, and while
// the answer to the refused frame is on its way.
func TestWriterKilledAtTheCommitFrame(t *testing.T) {
	for _, lost := range []bool{false, true} {
		r, a := walRig(t)
		b := startApp(t)
		b.open("b", r.path("db"))
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		at, goOn := make(chan struct{}), make(chan struct{})
		var arm atomic.Bool
		r.fs.hooks.afterCommitFrame.set(func(string) {
			if arm.CompareAndSwap(true, false) {
				close(at)
				<-goOn
			}
		})
		arm.Store(true)
		before := r.pos("db")
		a.send(order{Op: "exec", Conn: "c", Arg: "INSERT INTO t VALUES ('killed')"})
		<-at
		require.NoError(t, a.cmd.Process.Kill())
		if lost {
			r.gate.Revoke()
		}
		close(goOn)
		a.kill()
		r.eventually(func() bool { return r.fs.Stats().Cancelled+r.fs.Stats().Recovered == 1 }, "cancelled or left to recovery")
		if lost {
			require.Equal(t, before, r.pos("db"))
			require.NoError(t, r.gate.Open(2, forever))
		} else {
			require.NotEqual(t, before, r.pos("db"))
		}
		want := map[bool]string{false: "2", true: "1"}[lost]
		require.Equal(t, want, b.value("b", "SELECT count(*) FROM t"))
		b.must("b", "INSERT INTO t VALUES ('next')")
		require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
		require.NotEqual(t, before, r.pos("db"))
	}
}

// SQLite rewrites checksums of frames when a page is changed again after it
// was spilled; the transaction is whole only after the last of them.
func TestWALChecksumsMadeAnew(t *testing.T) {
	r, a := walRig(t)
	a.must("c", "PRAGMA cache_size=5")
	a.must("c", "PRAGMA wal_autocheckpoint=0")
	a.must("c", "BEGIN")
	a.must("c", "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<200) INSERT INTO t SELECT randomblob(3000) FROM c")
	for range 3 {
		a.must("c", "UPDATE t SET x = randomblob(3000)")
	}
	before := r.pos("db")
	n := r.fs.Stats().Published
	a.must("c", "COMMIT")
	require.NotEqual(t, before, r.pos("db"))
	require.Equal(t, n+1, r.fs.Stats().Published)
	require.Equal(t, "ok", a.value("c", "PRAGMA integrity_check"))
	a.must("c", "PRAGMA wal_checkpoint(TRUNCATE)")
	a.must("c", "INSERT INTO t VALUES ('x')")
	require.Equal(t, "202", a.value("c", "SELECT count(*) FROM t"))
}

// Without power-safe overwrite SQLite pads the sector with copies of the
// commit frame, each of them a commit to LiteFS.
func TestWALPaddingFrames(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	a.open("c", "file:"+r.path("db")+"?psow=0")
	a.must("c", "PRAGMA page_size=512")
	a.must("c", "PRAGMA journal_mode=WAL")
	a.must("c", "PRAGMA synchronous=FULL")
	a.must("c", "CREATE TABLE t (x)")
	for i := range 20 {
		before := r.pos("db")
		a.must("c", "INSERT INTO t VALUES ("+itoa(i)+")")
		require.NotEqual(t, before, r.pos("db"))
	}
	require.Equal(t, "20", a.value("c", "SELECT count(*) FROM t"))
	b := startApp(t)
	b.open("b", r.path("db"))
	require.Equal(t, "20", b.value("b", "SELECT count(*) FROM t"))
	b.must("b", "INSERT INTO t VALUES (20)")
	require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
	require.Zero(t, r.fs.Stats().Recovered)
}

// A transaction must not span two grants, even where nobody fenced between.
func TestTransactionDoesNotSpanGrants(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		a.must("old", "PRAGMA cache_size=5")
		a.must("old", "BEGIN IMMEDIATE")
		a.must("old", "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<200) INSERT INTO t SELECT randomblob(3000) FROM c")
		r.gate.Revoke()
		r.eventually(func() bool { return r.gate.Open(2, forever) == nil }, "what was admitted under the old grant has left")
		before := r.pos("db")
		require.NotEmpty(t, a.exec("old", "COMMIT").Err)
		_ = a.exec("old", "ROLLBACK")
		require.Equal(t, before, r.pos("db"))
		a.must("old", "INSERT INTO t VALUES ('x')")
		require.Equal(t, "2", a.value("old", "SELECT count(*) FROM t"))
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
	})
}

func TestLeavingWALIsRefused(t *testing.T) {
	r, a := walRig(t)
	require.NotEqual(t, "delete", func() string {
		ans := a.do(order{Op: "query", Conn: "c", Arg: "PRAGMA journal_mode=DELETE"})
		if len(ans.Rows) == 0 {
			return ""
		}
		return ans.Rows[0][0]
	}())
	require.Contains(t, r.logs.String(), "refused to change the journal mode")
	a.kill()
	b := startApp(t)
	b.open("b", r.path("db"))
	require.Equal(t, "wal", b.value("b", "PRAGMA journal_mode"))
	b.must("b", "INSERT INTO t VALUES ('two')")
	require.Equal(t, "2", b.value("b", "SELECT count(*) FROM t"))
}

// The recipe of the SIGBUS: an index of 64 KiB, a HALT, another big
// transaction on the same connection.
func TestHaltBeneathALargeIndex(t *testing.T) {
	r, a := walRig(t)
	a.must("c", "PRAGMA wal_autocheckpoint=0")
	big := "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<6000) INSERT INTO t SELECT randomblob(3900) FROM c"
	a.must("c", big)
	require.NoError(t, r.halt(context.Background(), "db"))
	b := startApp(t)
	b.open("b", r.path("db"))
	require.Equal(t, "6001", b.value("b", "SELECT count(*) FROM t"))
	a.must("c", big)
	require.Equal(t, "12001", b.value("b", "SELECT count(*) FROM t"))
	require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
	require.NotZero(t, r.fs.Stats().Carried)
}

// HALTs while connections come, write and go.
func TestHaltsUnderLoad(t *testing.T) {
	r, a := walRig(t)
	b := startApp(t)
	b.open("b", r.path("db"))
	b.must("b", "PRAGMA busy_timeout=5000")
	for i := range 40 {
		a.must("c", "INSERT INTO t VALUES ('a')")
		free := r.fs.dbs.get("db").pause.start()
		err := r.halt(context.Background(), "db")
		free()
		require.NoError(t, err)
		require.Equal(t, itoa(2+3*i), b.value("b", "SELECT count(*) FROM t"))
		b.must("b", "INSERT INTO t VALUES ('b')")
		c := startApp(t)
		c.open("c", r.path("db"))
		c.must("c", "INSERT INTO t VALUES ('c')")
		c.kill()
	}
	require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
	require.Equal(t, "121", a.value("c", "SELECT count(*) FROM t"))
}

// In WAL mode SQLite takes every failed lock for BUSY and gives up only after
// its own 10 s (wal.c, walTryBeginRead), on LiteFS alone too; so DELETE here.
func TestLowerDeadGivesErrorsNotHangs(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	fd, err := unix.Open(r.path("db"), unix.O_RDWR, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, r.proc.Process.Kill())
	<-r.exit
	done := make(chan answer, 1)
	go func() { done <- a.exec("c", "INSERT INTO t VALUES ('x')") }()
	select {
	case ans := <-done:
		require.NotEmpty(t, ans.Err)
	case <-time.After(10 * time.Second):
		t.Fatal("an operation hangs when LiteFS is dead")
	}
	_, _ = unix.Pread(fd, make([]byte, 10), 0) // from the page cache below, or an error
	_, err = unix.Pwrite(fd, make([]byte, 4096), 0)
	require.ErrorIs(t, err, unix.ENOTCONN)
	_, err = os.ReadDir(r.mount)
	require.Error(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(t, r.gate.Fence(ctx))
	_, err = unix.Open(r.path("db"), unix.O_RDWR, 0)
	require.Error(t, err)
}
