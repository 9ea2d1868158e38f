package test

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestLargeIndexOutlivesRoles: an application in WAL mode that has mapped more
// than 32 KiB of -shm keeps its connection while its node loses the role and
// gets it back. On LiteFS alone it dies of SIGBUS.
func TestLargeIndexOutlivesRoles(t *testing.T) {
	long(t)
	c := start(t, cluster.Options{})
	home := writable(t, c.Nodes...)
	createDB(t, c, home, "wal")
	a := openShell(t, home)
	a.must("PRAGMA busy_timeout=10000", "PRAGMA wal_autocheckpoint=0", "CREATE TABLE big (x)")
	// 5,000 frames: the index has more than the 32 KiB that LiteFS cuts it to.
	const fill = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<5000) INSERT INTO big SELECT randomblob(3900) FROM c"
	a.must(fill)
	away := c.Others(home)[0]
	allInStep(t, c)
	moveTo(t, c, away)
	insert(t, away, "away")
	allInStep(t, c)
	require.Equal(t, "5000", a.value("SELECT count(*) FROM big"), "on the replica")
	require.Equal(t, "1", a.value("SELECT count(*) FROM acked"), "on the replica")
	moveTo(t, c, home)
	a.must(fill, "INSERT INTO acked VALUES ('home')")
	require.Equal(t, "10000", a.value("SELECT count(*) FROM big"))
	require.Equal(t, "ok", a.value("PRAGMA integrity_check"))
	allInStep(t, c)
	for _, n := range c.Nodes {
		got, err := n.SQL(appDB(n), "SELECT count(*) FROM big")
		require.NoError(t, err)
		require.Equal(t, []string{"10000"}, got, n.Name)
	}
	integrity(t, c.Nodes...)
}

// shellConn is one connection, in a sqlite3 shell that stays.
type shellConn struct {
	t     *testing.T
	in    io.Writer
	lines *bufio.Scanner
}

func openShell(t *testing.T, n *cluster.Node) *shellConn {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("no sqlite3 shell on this machine; run `make deps`")
	}
	cmd := exec.Command("sqlite3", "-batch", "-noheader", appDB(n))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout // what goes wrong stands where the answer is looked for
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &shellConn{t: t, in: in, lines: bufio.NewScanner(out)}
}

// ask runs statements and returns all that the shell says of them.
func (s *shellConn) ask(statements ...string) string {
	s.t.Helper()
	const end = "-- that is all --"
	_, err := fmt.Fprintf(s.in, "%s;\n.print '%s'\n", strings.Join(statements, ";\n"), end)
	require.NoError(s.t, err, "the application is gone")
	var all []string
	for s.lines.Scan() {
		if s.lines.Text() == end {
			return strings.Join(all, "\n")
		}
		all = append(all, s.lines.Text())
	}
	require.FailNow(s.t, "the application is gone", "%q said: %s", statements, strings.Join(all, "\n"))
	return ""
}

func (s *shellConn) must(statements ...string) {
	s.t.Helper()
	require.NotContains(s.t, s.ask(statements...), "rror", "%q", statements)
}

func (s *shellConn) value(statement string) string {
	s.t.Helper()
	return s.ask(statement)
}
