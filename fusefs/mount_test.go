package fusefs

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMountErrorsNameTheMend(t *testing.T) {
	r := startLiteFS(t)
	mk := func(name string) string {
		p := filepath.Join(r.dir, name)
		require.NoError(t, os.MkdirAll(p, 0o777))
		return p
	}
	full := mk("full")
	require.NoError(t, os.WriteFile(full+"/x", nil, 0o666))
	for _, c := range []struct{ lower, mount, says string }{
		{mk("plain"), mk("m"), "not a mount point"},
		{"/proc", mk("m"), "not of LiteFS"},
		{r.lower, r.lower, "choose a directory elsewhere"},
		{r.lower, r.lower + "/x", "inside it"},
		{r.lower, r.dir + "/missing", "mkdir -p"},
		{r.lower, full, "not empty"},
		{r.lower, "/proc", "in use"},
	} {
		_, err := Mount(Config{Lower: c.lower, Mount: c.mount, Gate: NewGate()})
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "\n")
	}
}

const daemonEnv = "FUSEFS_TEST_DAEMON"

// A daemon of its own, to be killed: it must be another process.
func TestDaemon(t *testing.T) {
	lower := os.Getenv(daemonEnv)
	if lower == "" {
		t.Skip("only as a child of TestDeadMountIsTakenOver")
	}
	g := NewGate()
	_, err := Mount(Config{Lower: lower, Mount: os.Getenv(daemonEnv + "_MOUNT"), Gate: g, Enforce: true})
	require.NoError(t, err)
	require.NoError(t, g.Open(1, forever))
	os.Stdout.WriteString("mounted\n")
	select {}
}

// startDaemon mounts over r in a process of its own; kill ends it at once.
func startDaemon(t *testing.T, r *rig) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	daemon := exec.Command(self, "-test.run", "^TestDaemon$")
	daemon.Env = append(os.Environ(), daemonEnv+"="+r.lower, daemonEnv+"_MOUNT="+r.mount)
	out, err := daemon.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, daemon.Start())
	t.Cleanup(func() { _ = unix.Unmount(r.mount, unix.MNT_DETACH) })
	kill = func() { _ = daemon.Process.Kill(); _ = daemon.Wait() }
	t.Cleanup(kill)
	in := bufio.NewScanner(out)
	for in.Scan() && in.Text() != "mounted" {
	}
	return kill
}

func TestDeadMountIsTakenOver(t *testing.T) {
	r := startLiteFS(t)
	kill := startDaemon(t, r)
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	a.must("c", "BEGIN IMMEDIATE")
	a.must("c", "INSERT INTO t VALUES ('lost')")
	_, err := os.Stat(r.mount) // the kernel keeps the root's attributes, also when the daemon is dead
	require.NoError(t, err)
	kill()
	_, err = os.ReadDir(r.mount)
	require.ErrorIs(t, err, unix.ENOTCONN, "no writes, no hang")
	require.NotEmpty(t, a.exec("c", "COMMIT").Err)

	g := NewGate()
	fs, err := Mount(Config{Lower: r.lower, Mount: r.mount, Gate: g, Enforce: true})
	require.NoError(t, err)
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, fs.Unmount(ctx))
		fs.Wait()
	}()
	require.NoError(t, g.Open(1, forever))
	b := startApp(t)
	b.open("b", r.path("db"))
	b.must("b", "PRAGMA busy_timeout=3000")
	b.must("b", "INSERT INTO t VALUES ('kept')")
	require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
	require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
	b.kill()
}

func TestBusyUnmountDetaches(t *testing.T) {
	r := startLiteFS(t)
	g := NewGate()
	fs, err := Mount(Config{Lower: r.lower, Mount: r.mount, Gate: g, Enforce: true})
	require.NoError(t, err)
	held, err := os.Open(r.mount)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(t, fs.Unmount(ctx))
	m, err := mountAt(r.mount)
	require.NoError(t, err)
	require.Nil(t, m)
	require.NoError(t, held.Close())
	fs.Wait()
}

// LiteFS's own writer gets in although a reader sits in a transaction.
func TestQuiesceLetsLiteFSIn(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		a.must("old", "CREATE TABLE big AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<300) SELECT randomblob(3000) AS x FROM c")
		a.must("old", "PRAGMA cache_size=5")
		a.must("old", "BEGIN")
		require.Equal(t, "1", a.value("old", "SELECT count(*) FROM t"))
		b := startApp(t)
		b.open("b", r.path("db"))
		b.must("b", "PRAGMA busy_timeout=5000")
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		b.must("b", "BEGIN IMMEDIATE")
		r.fence()
		release := r.fs.Quiesce(context.Background(), 100*time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, r.halt(ctx, "db"))
		release()
		require.NotZero(t, r.fs.Stats().CutReaders)
		require.NotEmpty(t, a.do(order{Op: "query", Conn: "old", Arg: "SELECT count(*) FROM big WHERE x = 1"}).Err, "cut off")
		_ = a.exec("old", "ROLLBACK")
		_ = b.exec("b", "ROLLBACK")
		require.Equal(t, "1", a.value("old", "SELECT count(*) FROM t"), "and well again after it ended")
		require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
		r.reopen(2)
		a.must("old", "INSERT INTO t VALUES ('two')")
		b.must("b", "INSERT INTO t VALUES ('three')")
		require.Equal(t, "3", b.value("b", "SELECT count(*) FROM t"))
	})
}
