package fusefs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A full disk below: SQLite is told, nothing acknowledged is lost, and once
// there is room again everything goes on. In WAL mode LiteFS itself ends where
// it cannot write its own record of a commit; then it is started again.
func TestLowerIsFull(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			var data string
			r := startNodeOn(t, "", func(dir string) {
				data = dir
				require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"))
				t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			})
			r.fenceIt()
			require.NoError(t, r.gate.Open(1, forever))
			a := startApp(t)
			openDB(r, a, "c", mode)
			a.must("c", "PRAGMA cache_size=5")
			a.must("c", "CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
			ballast := filepath.Join(data, "ballast")
			require.NoError(t, os.WriteFile(ballast, make([]byte, 4<<20), 0o600))
			acked := 0
			for ; acked < 200; acked++ {
				ans := a.exec("c", "INSERT INTO t VALUES ("+itoa(acked)+", randomblob(100000))")
				if ans.Err != "" {
					require.Contains(t, []int{10, 13}, ans.Code, "IOERR or FULL: %+v", ans)
					break
				}
			}
			require.Less(t, acked, 200, "it never was full")
			require.NoError(t, os.Remove(ballast))
			select {
			case <-r.exit:
				a.kill()
				r.restart()
				a = startApp(t)
				openDB(r, a, "c", mode)
			default:
				_ = a.exec("c", "ROLLBACK")
			}
			r.eventually(func() bool { return a.exec("c", "INSERT INTO t VALUES (-1, 'room')").Err == "" }, "there is room again")
			require.Equal(t, itoa(acked), a.value("c", "SELECT count(*) FROM t WHERE id BETWEEN 0 AND "+itoa(acked-1)), "acknowledged")
			require.Equal(t, "0", a.value("c", "SELECT count(*) FROM t WHERE id >= "+itoa(acked)), "refused")
			require.Equal(t, "ok", a.value("c", "PRAGMA integrity_check"))
		})
	}
}

// restart starts LiteFS again on its data, and lays the mount over it.
func (r *rig) restart() {
	r.t.Helper()
	_ = unix.Unmount(r.lower, unix.MNT_DETACH)
	r.run(filepath.Join(r.dir, "litefs.yml"), true)
	require.NoError(r.t, r.fs.Relower())
}

// A connection over a LiteFS that has died is dead for good once the mount lies
// over the next one: it shows nothing of what it had read, and asks the new
// LiteFS for no lock, where its unlock would be that of others. Found by the
// nemesis, seed 1044.
func TestOldConnectionsStayDead(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			a, b := startApp(t), startApp(t)
			openDB(r, a, "c", mode)
			a.must("c", "CREATE TABLE t (x)")
			a.must("c", "INSERT INTO t VALUES (1)")
			openDB(r, b, "c", mode)
			require.Equal(t, "1", b.value("c", "SELECT count(*) FROM t"))
			fd := b.sysopen(r.path("db"), unix.O_RDWR)

			require.NoError(t, r.proc.Process.Kill())
			<-r.exit
			r.restart()
			a.kill()
			a = startApp(t)
			openDB(r, a, "c", mode)
			r.eventually(func() bool { return a.exec("c", "INSERT INTO t VALUES (2)").Err == "" }, "a new connection writes")
			// In WAL mode SQLite takes 10 s to give up.
			require.NotEmpty(t, b.exec("c", "SELECT count(*) FROM t").Err, "an old connection answers")
			a.must("c", "BEGIN IMMEDIATE")
			require.NotZero(t, b.lockOp("lock", fd, unix.F_WRLCK, pendingByte+1, 1), "RESERVED")
			_ = b.lockOp("lock", fd, unix.F_UNLCK, pendingByte+1, 1)
			c := startApp(t)
			openDB(r, c, "c", mode)
			c.must("c", "PRAGMA busy_timeout=0")
			require.NotEmpty(t, c.exec("c", "BEGIN IMMEDIATE").Err, "the writer's lock is gone")
			a.must("c", "COMMIT")
			require.Equal(t, "2", c.value("c", "SELECT count(*) FROM t"))
		})
	}
}

// LiteFS stopped: whoever needs it waits, as on LiteFS itself, and goes on with
// it. Stopped and then killed: they get an error.
func TestLowerIsStopped(t *testing.T) {
	for _, end := range []syscall.Signal{syscall.SIGCONT, syscall.SIGKILL} {
		t.Run(end.String(), func(t *testing.T) {
			r := newRig(t)
			a := startApp(t)
			openDB(r, a, "c", "DELETE")
			a.must("c", "CREATE TABLE t (x)")
			require.NoError(t, r.proc.Process.Signal(syscall.SIGSTOP))
			a.send(order{Op: "exec", Conn: "c", Arg: "INSERT INTO t VALUES (1)"})
			answered := make(chan answer, 1)
			go func() { answered <- a.receive() }()
			select {
			case ans := <-answered:
				t.Fatalf("answered by a LiteFS that is stopped: %+v", ans)
			case <-time.After(200 * time.Millisecond): // long enough for what would be wrong
			}
			require.NoError(t, r.proc.Process.Signal(end))
			ans := <-answered
			if end == syscall.SIGKILL {
				require.NotEmpty(t, ans.Err)
				return
			}
			require.Empty(t, ans.Err)
			require.Equal(t, "1", a.value("c", "SELECT count(*) FROM t"))
		})
	}
}

// The counters are there while a lock is asked of a LiteFS that is stopped.
func TestStatsOverAStoppedLiteFS(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	fd := a.sysopen(r.path("db"), unix.O_RDWR)
	require.Zero(t, a.lockOp("lock", fd, unix.F_RDLCK, pendingByte+2, sharedSize))
	r.eventually(func() bool { return r.fs.Stats().LocksHeld == 1 }, "SHARED alone is held")
	require.NoError(t, r.proc.Process.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = r.proc.Process.Signal(syscall.SIGCONT) })
	a.send(order{Op: "lock", Fd: fd, Typ: unix.F_WRLCK, Off: pendingByte + 2, Len: sharedSize})
	r.eventually(func() bool { return waiting(a.cmd.Process.Pid) }, "it waits")
	time.Sleep(200 * time.Millisecond) // long enough to be in LiteFS's hands
	counted := make(chan Stats, 1)
	go func() { counted <- r.fs.Stats() }()
	select {
	case s := <-counted:
		require.Equal(t, 1, s.LocksHeld, "as last counted")
	case <-time.After(5 * time.Second):
		t.Error("the counters wait for LiteFS")
	}
	require.NoError(t, r.proc.Process.Signal(syscall.SIGCONT))
	require.Zero(t, a.receive().Errno)
	require.Zero(t, a.lockOp("lock", fd, unix.F_UNLCK, pendingByte+2, sharedSize))
	r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "counted again")
}

// The application that waits for a stopped LiteFS dies when LiteFS does, or
// when it goes on; the mount can be taken away in any case.
func TestUnmountOverAStoppedLiteFS(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	require.NoError(t, r.proc.Process.Signal(syscall.SIGSTOP))
	a.send(order{Op: "exec", Conn: "c", Arg: "INSERT INTO t VALUES (1)"})
	r.eventually(func() bool { return waiting(a.cmd.Process.Pid) }, "it waits")
	require.NoError(t, unix.Unmount(r.mount, unix.MNT_DETACH))
	m, err := mountAt(r.mount)
	require.NoError(t, err)
	require.Nil(t, m)
	require.NoError(t, r.proc.Process.Signal(syscall.SIGKILL))
	require.NotEmpty(t, a.receive().Err)
}
