package fusefs

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const nobody = 65534

// startNobody starts an application that is not root.
func startNobody(r *rig) *app {
	r.t.Helper()
	require.NoError(r.t, os.Chmod(r.dir, 0o755))
	cmd := exec.Command("/proc/self/exe") // the binary's own directory is not for all
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	return startCommand(r.t, cmd)
}

func TestAnotherUserWorksAsRootDoes(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		n := startNobody(r)
		openDB(r, n, "c", mode)
		n.must("c", "INSERT INTO t VALUES ('two')")
		a.must("old", "INSERT INTO t VALUES ('three')")
		require.Equal(t, "3", n.value("c", "SELECT count(*) FROM t"))
		n.open("own", r.path("own"))
		n.must("own", "PRAGMA journal_mode="+mode)
		n.must("own", "CREATE TABLE t (x)")
		a.open("theirs", r.path("own"))
		a.must("theirs", "INSERT INTO t VALUES (1)")
		require.Equal(t, "1", n.value("own", "SELECT count(*) FROM t"))
		require.Equal(t, unix.Errno(0), n.file(fileCall{Call: "access", Path: r.path("db"), Flags: unix.R_OK | unix.W_OK}).Errno)
		r.fence()
		require.Equal(t, "3", n.value("c", "SELECT count(*) FROM t"))
		require.NotEmpty(t, n.exec("c", "INSERT INTO t VALUES ('no')").Err)
		fresh := startNobody(r)
		fresh.open("f", r.path("db"))
		require.Equal(t, "3", fresh.value("f", "SELECT count(*) FROM t"))
		r.reopen(2)
		for conn, p := range map[string]*app{"c": n, "f": fresh} {
			p.must(conn, "INSERT INTO t VALUES ('x')")
		}
		require.Equal(t, "ok", a.value("old", "PRAGMA integrity_check"))
	})
}

func TestWithoutAllowOtherTheMountIsRootsAlone(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AllowOther = false })
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	n := startNobody(r)
	for _, c := range []fileCall{
		{Call: "stat", Path: r.path("db")}, {Call: "readdir", Path: r.mount}, {Call: "unlink", Path: r.path("db")},
		{Call: "open", Path: r.path("db")}, {Call: "open", Path: r.path("new"), Flags: unix.O_RDWR | unix.O_CREAT},
	} {
		require.Equal(t, unix.EACCES, n.file(c).Errno, c.Call)
	}
	a.must("c", "INSERT INTO t VALUES (1)")
}

// A connection that an ordinary user opened on a replica, where LiteFS shows
// everything read-only, writes as soon as the node may write. Here it may by
// LiteFS's HALT lock, with the gate open, which forwards to the primary.
func TestAnotherUserOnAReplicaThatMayWriteLater(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			p := newRig(t)
			q := newReplica(p)
			w := startApp(t)
			openDB(p, w, "w", mode)
			w.must("w", "CREATE TABLE t (x)")
			inStep(p, q, "db")
			n := startNobody(q)
			n.open("c", q.path("db"))
			n.must("c", "PRAGMA busy_timeout=5000")
			require.Equal(t, "0", n.value("c", "SELECT count(*) FROM t"))
			require.NotEmpty(t, n.exec("c", "INSERT INTO t VALUES ('no')").Err, "fenced")

			require.NoError(t, q.gate.Open(1, forever))
			require.NotEmpty(t, n.exec("c", "INSERT INTO t VALUES ('no')").Err, "LiteFS refuses")
			halt := startNobody(q)
			require.Zero(t, halt.file(fileCall{Call: "open", Path: q.path("db-lock"), Slot: 1, Flags: unix.O_RDWR}).Errno)
			require.Zero(t, halt.file(fileCall{Call: "lockw", Slot: 1, Typ: unix.F_WRLCK, Off: haltByte, Len: 1}).Errno)
			n.must("c", "INSERT INTO t VALUES ('forwarded')")
			require.Equal(t, "1", n.value("c", "SELECT count(*) FROM t"))
			require.Zero(t, halt.file(fileCall{Call: "close", Slot: 1}).Errno)
			require.Equal(t, "forwarded", w.value("w", "SELECT x FROM t"))
			p.eventually(func() bool { return w.exec("w", "INSERT INTO t VALUES ('here')").Err == "" }, "the primary writes again")
			inStep(p, q, "db")
			require.Equal(t, "2", n.value("c", "SELECT count(*) FROM t"))
			require.NotEmpty(t, n.exec("c", "INSERT INTO t VALUES ('no')").Err, "no longer")
			require.Equal(t, "ok", n.value("c", "PRAGMA integrity_check"))
		})
	}
}

// haltByte is LiteFS's HALT lock on NAME-lock (litefs.go, LockTypeHalt).
const haltByte = 72

// On a primary the HALT lock is granted and means nothing; what else is asked
// of NAME-lock LiteFS refuses. Ours are LiteFS's own answers.
func TestHaltLockOnAPrimary(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	for _, dir := range []string{r.lower, r.mount} {
		h := startApp(t)
		require.Zero(t, h.file(fileCall{Call: "open", Path: dir + "/db-lock", Slot: 1, Flags: unix.O_RDWR}).Errno)
		for _, c := range []struct {
			call     string
			typ      int16
			off, len int64
			want     unix.Errno
		}{
			{"lockw", unix.F_WRLCK, haltByte, 1, 0}, {"lockw", unix.F_WRLCK, haltByte, 1, 0}, {"lock", unix.F_UNLCK, haltByte, 1, 0},
			{"lock", unix.F_WRLCK, haltByte, 1, unix.ENOSYS}, {"lockw", unix.F_RDLCK, haltByte, 1, unix.ENOSYS},
			{"lockw", unix.F_WRLCK, haltByte + 1, 1, unix.EINVAL}, {"lockw", unix.F_WRLCK, haltByte, 2, unix.EINVAL},
			{"getlk", unix.F_WRLCK, haltByte, 1, 0}, {"getlk", unix.F_WRLCK, haltByte, 2, unix.EINVAL},
		} {
			got := h.file(fileCall{Call: c.call, Slot: 1, Typ: c.typ, Off: c.off, Len: c.len})
			require.Equal(t, c.want, got.Errno, "%s: %+v", dir, c)
		}
		a.must("c", "INSERT INTO t VALUES (1)")
	}
}
