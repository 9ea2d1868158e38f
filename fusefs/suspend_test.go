package fusefs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// never is a suspension that no test sees the end of: what returns returned for
// another reason.
const never = 10 * time.Minute

// forEachModeSuspended is forEachMode with writers held for d.
func forEachModeSuspended(t *testing.T, d time.Duration, test func(t *testing.T, r *rig, a *app, mode string)) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Suspend = d })
			a := startApp(t)
			openDB(r, a, "old", mode)
			a.must("old", "CREATE TABLE t (x)")
			a.must("old", "INSERT INTO t VALUES ('one')")
			test(t, r, a, mode)
		})
	}
}

func (r *rig) suspended() (n uint64) {
	for _, v := range r.fs.Stats().Suspended {
		n += v
	}
	return n
}

// untilHeld returns when one more request than before is held.
func (r *rig) untilHeld(before uint64) {
	r.t.Helper()
	r.eventually(func() bool { return r.suspended() > before }, "a request is held")
}

func TestSuspendedWriterGoesOn(t *testing.T) {
	forEachModeSuspended(t, never, func(t *testing.T, r *rig, a *app, mode string) {
		b := startApp(t)
		b.open("b", r.path("db"))
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		r.fence()
		pos := r.pos("db")
		a.send(order{Op: "exec", Conn: "old", Arg: "INSERT INTO t VALUES ('two')"})
		r.untilHeld(0)
		r.fence() // waits for nobody who is held
		require.Zero(t, r.gate.Inflight())

		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"), "old connection")
		require.Empty(t, b.do(order{Op: "close", Conn: "b"}).Err)
		b.open("again", r.path("db"))
		require.Equal(t, "1", b.value("again", "SELECT count(*) FROM t"), "new connection")
		out, err := shell(t, r.path("db"), "SELECT count(*) FROM t")
		require.NoError(t, err, out)
		require.Equal(t, "1", out)
		require.Equal(t, pos, r.pos("db"))

		r.reopen(2)
		require.Empty(t, a.receive().Err)
		require.NotEqual(t, pos, r.pos("db"))
		require.Equal(t, "2", b.value("again", "SELECT count(*) FROM t"))
		b.must("again", "INSERT INTO t VALUES ('three')")
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
	})
}

// The time counts from the fence, not from the request: who comes late waits
// for the rest of it, and who comes after it not at all.
func TestSuspensionEnds(t *testing.T) {
	const hold = 400 * time.Millisecond
	forEachModeSuspended(t, hold, func(t *testing.T, r *rig, a *app, mode string) {
		pos := r.pos("db")
		start := time.Now()
		r.fence()
		require.NotEmpty(t, a.exec("old", "INSERT INTO t VALUES ('two')").Err)
		require.GreaterOrEqual(t, time.Since(start), hold)
		held := r.suspended()
		require.NotZero(t, held)
		require.NotEmpty(t, a.exec("old", "INSERT INTO t VALUES ('two')").Err)
		require.Equal(t, held, r.suspended(), "not held again")
		require.Equal(t, "1", a.value("old", "SELECT count(*) FROM t"))
		require.Equal(t, pos, r.pos("db"))
		r.reopen(2)
		a.must("old", "INSERT INTO t VALUES ('two')")

		start = time.Now()
		r.fence()
		require.NotEmpty(t, a.exec("old", "INSERT INTO t VALUES ('three')").Err)
		require.GreaterOrEqual(t, time.Since(start), hold, "the next fence counts anew")
	})
}

func TestSuspendedApplicationIsKilled(t *testing.T) {
	forEachModeSuspended(t, never, func(t *testing.T, r *rig, a *app, mode string) {
		r.fence()
		a.send(order{Op: "exec", Conn: "old", Arg: "INSERT INTO t VALUES ('two')"})
		r.untilHeld(0)
		gone := make(chan struct{})
		go func() { defer close(gone); a.kill() }()
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Fatal("a held application cannot be killed")
		}
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "its locks are free")
		b := startApp(t)
		b.open("b", r.path("db"))
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
	})
}

// interruptedLock asks for RESERVED and says how that ended. Its handler is
// without SA_RESTART, or the kernel would begin the request again.
const interruptedLock = `
import fcntl, os, signal, sys
def handler(signum, frame): raise InterruptedError
signal.signal(signal.SIGUSR1, handler)
f = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0x40000001)
    print("granted")
except InterruptedError:
    print("interrupted")
`

// A signal with a handler interrupts who is held.
func TestSuspensionIsInterrupted(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Suspend = never })
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	r.fence()
	bin, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "-c", interruptedLock, r.path("db"))
	var out bytes.Buffer
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	r.untilHeld(0)
	require.NoError(t, cmd.Process.Signal(unix.SIGUSR1))
	require.NoError(t, cmd.Wait())
	require.Equal(t, "interrupted\n", out.String())
}

// What a fence has cut off cannot go on after it: it is told at once.
func TestSuspendDoesNotHoldWhatWasCutOff(t *testing.T) {
	forEachModeSuspended(t, never, func(t *testing.T, r *rig, a *app, mode string) {
		a.must("old", "BEGIN IMMEDIATE")
		a.must("old", "INSERT INTO t VALUES ('two')")
		r.fence()
		require.NotEmpty(t, a.exec("old", "COMMIT").Err)
		_ = a.exec("old", "ROLLBACK")
		r.reopen(2)
		a.must("old", "INSERT INTO t VALUES ('three')")
		require.Equal(t, "2", a.value("old", "SELECT count(*) FROM t"))
	})
}

// spilled begins a transaction that has written under the present grant.
func spilled(a *app, conn string) {
	a.t.Helper()
	a.must(conn, "PRAGMA cache_size=5")
	a.must(conn, "BEGIN IMMEDIATE")
	a.must(conn, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<200) INSERT INTO t SELECT randomblob(3000) FROM c")
}

// A write that was held between the end of the lease and the fence is woken by
// the fence, which has cut its transaction off.
func TestFenceWakesAHeldWrite(t *testing.T) {
	forEachModeSuspended(t, never, func(t *testing.T, r *rig, a *app, mode string) {
		spilled(a, "old")
		r.gate.Revoke()
		a.send(order{Op: "exec", Conn: "old", Arg: "COMMIT"})
		r.untilHeld(0)
		r.fence()
		require.NotEmpty(t, a.receive().Err)
		_ = a.exec("old", "ROLLBACK")
		r.eventually(func() bool { return !hotJournal(r) }, "no hot journal")
		require.Equal(t, "1", a.value("old", "SELECT count(*) FROM t"))
		r.reopen(2)
		a.must("old", "INSERT INTO t VALUES ('x')")
	})
}

// A held write of a transaction that was begun under one grant is refused under
// the next.
func TestHeldWriteDoesNotSpanGrants(t *testing.T) {
	forEachModeSuspended(t, never, func(t *testing.T, r *rig, a *app, mode string) {
		spilled(a, "old")
		before := r.pos("db")
		r.gate.Revoke()
		a.send(order{Op: "exec", Conn: "old", Arg: "COMMIT"})
		r.untilHeld(0)
		r.eventually(func() bool { return r.gate.Open(2, forever) == nil }, "what was admitted under the old grant has left")
		require.NotEmpty(t, a.receive().Err)
		_ = a.exec("old", "ROLLBACK")
		require.Equal(t, before, r.pos("db"))
		a.must("old", "INSERT INTO t VALUES ('x')")
		require.Equal(t, "2", a.value("old", "SELECT count(*) FROM t"))
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
	})
}

// A change of role cuts readers off after its grace, and a held writer is one.
func TestQuiesceWakesAHeldWriter(t *testing.T) {
	forEachModeSuspended(t, never, func(t *testing.T, r *rig, a *app, mode string) {
		r.fence()
		a.send(order{Op: "exec", Conn: "old", Arg: "INSERT INTO t VALUES ('two')"})
		r.untilHeld(0)
		release := r.fs.Quiesce(context.Background(), 0)
		require.NotEmpty(t, a.receive().Err)
		release()
		_ = a.exec("old", "ROLLBACK")
		require.Equal(t, "1", a.value("old", "SELECT count(*) FROM t"))
		r.reopen(2)
		a.must("old", "INSERT INTO t VALUES ('x')")
	})
}

// Readers that take a writer's lock or write: the first of a WAL database
// recovers the index under WRITE, and one that finds a hot journal rolls it
// back.
func TestSuspendNeverHoldsReaders(t *testing.T) {
	t.Run("index to be recovered", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Suspend = never })
		a := startApp(t)
		openDB(r, a, "c", "WAL")
		a.must("c", "CREATE TABLE t (x)")
		a.kill()
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "closed")
		r.fence()
		_ = os.Remove(r.path("db-shm"))
		b := startApp(t)
		b.open("b", r.path("db"))
		require.Equal(t, "0", b.value("b", "SELECT count(*) FROM t"))
		require.Zero(t, r.suspended())
	})
	t.Run("hot journal", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Suspend, c.Halt = never, nil })
		a := startApp(t)
		openDB(r, a, "c", "DELETE")
		a.must("c", "CREATE TABLE t (x)")
		fill := "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<200) INSERT INTO t SELECT randomblob(3000) FROM c"
		a.must("c", fill)
		a.must("c", "PRAGMA cache_size=5")
		a.must("c", "BEGIN IMMEDIATE")
		// The size stays, or the rollback would begin with a truncation.
		a.must("c", "UPDATE t SET x = randomblob(3000)")
		r.fence()
		a.kill()
		require.True(t, hotJournal(r))
		// Nobody repairs the journal here, so its reads fail; but not late.
		out, err := shell(t, r.path("db"), "SELECT count(*) FROM t")
		require.Error(t, err, out)
		require.Zero(t, r.suspended())
		r.reopen(2)
		c := startApp(t)
		c.open("c", r.path("db"))
		require.Equal(t, "200", c.value("c", "SELECT count(*) FROM t"))
		require.Equal(t, "ok", c.value("c", "PRAGMA integrity_check"))
	})
}

// A write to -wal is not held once the fence has engaged: readers that open the
// database would wait for it in the kernel.
func TestSuspendDoesNotHoldTheWAL(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Suspend = never })
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	fd, err := unix.Open(r.path("db-wal"), unix.O_RDWR, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	r.gate.Revoke()
	result := make(chan error, 1)
	go func() {
		_, err := pwrite(fd, make([]byte, walHeaderSize), 0)
		result <- err
	}()
	r.untilHeld(0)
	r.fence()
	require.ErrorIs(t, <-result, unix.EROFS, "woken by the fence")
	_, err = pwrite(fd, make([]byte, walHeaderSize), 0)
	require.ErrorIs(t, err, unix.EROFS)
	b := startApp(t)
	b.open("b", r.path("db"))
	require.Equal(t, "0", b.value("b", "SELECT count(*) FROM t"))
	require.EqualValues(t, 1, r.suspended())
}

// A write of the database itself is refused at once: it comes out of the page
// cache, where readers may wait for it.
func TestDatabaseWriteIsNotHeld(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Suspend = never })
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	page, err := os.ReadFile(r.path("db"))
	require.NoError(t, err)
	fd, err := unix.Open(r.path("db"), unix.O_RDWR, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	r.fence()
	_, err = pwrite(fd, page[:4096], 0)
	require.ErrorIs(t, err, unix.EROFS)
	require.Zero(t, r.suspended())
}

// However many are held, others are served.
func TestManyAreHeld(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Suspend = never })
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	r.fence()
	fd, err := unix.Open(r.path("db"), unix.O_RDWR, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	const many = 60
	var wg sync.WaitGroup
	var granted atomic.Int64
	for range many {
		wg.Go(func() {
			if setLock(fd, unix.F_WRLCK, pendingByte+1, 1) == nil {
				granted.Add(1)
			}
		})
	}
	r.eventually(func() bool { return r.suspended() == many }, "all are held")
	require.Equal(t, "0", a.value("c", "SELECT count(*) FROM t"))
	require.Zero(t, granted.Load())
	r.reopen(2)
	wg.Wait()
	require.EqualValues(t, many, granted.Load())
	require.NoError(t, setLock(fd, unix.F_UNLCK, pendingByte+1, 1))
	a.must("c", "INSERT INTO t VALUES (1)")
}

func TestSuspensionEndsWithTheMount(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Suspend = never })
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	r.fence()
	a.send(order{Op: "exec", Conn: "c", Arg: "INSERT INTO t VALUES ('x')"})
	r.untilHeld(0)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, r.fs.Unmount(ctx))
	require.NotEmpty(t, a.receive().Err)
	a.kill()
	r.eventually(func() bool { return isClosed(r.fs.Done()) }, "the mount has ended")
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestGateTellsThoseWhoAreHeld(t *testing.T) {
	var now atomic.Int64
	now.Store(1000)
	g := NewGate()
	g.now = now.Load
	closed := func(ch <-chan struct{}) bool { return isClosed(ch) }
	ch := g.news()
	require.NoError(t, g.Open(1, 2000))
	require.True(t, closed(ch), "opened")

	ch = g.news()
	require.Equal(t, ch, g.news(), "one channel for all who wait")
	now.Store(2500)
	require.Equal(t, 500*time.Nanosecond, g.shutFor(), "since the lease ran out")
	require.NoError(t, g.Fence(context.Background()))
	now.Store(2600)
	require.Equal(t, 600*time.Nanosecond, g.shutFor(), "the fence came later")
	require.True(t, closed(ch), "fenced")
	require.True(t, g.settled())
	ch = g.news()
	g.Extend(1, 3000)
	require.False(t, g.Admitting())
	require.NoError(t, g.Open(1, 3000))
	require.True(t, closed(ch), "opened again")
	require.False(t, g.settled())

	now.Store(2700)
	require.NoError(t, g.Fence(context.Background()))
	now.Store(2900)
	g.Revoke()
	require.Equal(t, 200*time.Nanosecond, g.shutFor(), "since the first")
	require.NoError(t, g.Open(2, 3500))
	now.Store(3600)
	ch = g.news()
	g.Extend(2, 4000)
	require.True(t, closed(ch), "a lapsed lease is prolonged")
	require.True(t, g.Admitting())
}

func TestSuspendedStatsNameTheFile(t *testing.T) {
	forEachModeSuspended(t, never, func(t *testing.T, r *rig, a *app, mode string) {
		r.fence()
		a.send(order{Op: "exec", Conn: "old", Arg: "INSERT INTO t VALUES ('two')"})
		r.untilHeld(0)
		want := "database"
		if strings.EqualFold(mode, "wal") {
			want = "shm"
		}
		require.Equal(t, map[string]uint64{want: 1}, r.fs.Stats().Suspended)
		r.reopen(2)
		require.Empty(t, a.receive().Err)
	})
}
