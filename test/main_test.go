// Package test holds the scenarios: several nodes with real LiteFS, and what
// must be true of them. They wait for conditions, never for a number of
// seconds; deadlines are far beyond what is promised, and what is promised is
// asserted on measured times.
package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

var (
	litefenceBin string
	litefsBin    string
)

func TestMain(m *testing.M) {
	if workload.IsRequested(os.Args) {
		os.Exit(workload.Main(os.Args[2:]))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "litefence-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = buildBinaries(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Fprintln(os.Stderr, "interrupted:", cluster.CloseAll())
		os.RemoveAll(dir)
		os.Exit(1)
	}()
	code := m.Run()
	if leaks := cluster.Leaks(); len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "left behind:\n  %s\n", strings.Join(leaks, "\n  "))
		_ = cluster.CloseAll()
		return 1
	}
	return code
}

// buildBinaries builds litefence with the race detector: what it does between
// real nodes is where a race would be. LITEFENCE_TEST_BIN names another one.
func buildBinaries(dir string) error {
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	litefsBin = filepath.Join(root, "bin", "litefs")
	if _, err := os.Stat(litefsBin); err != nil {
		litefsBin = filepath.Join(dir, "litefs")
		if err := goBuild(filepath.Join(root, "test", "litefs"), litefsBin, "github.com/superfly/litefs/cmd/litefs"); err != nil {
			return err
		}
	}
	if litefenceBin = os.Getenv("LITEFENCE_TEST_BIN"); litefenceBin != "" {
		return nil
	}
	litefenceBin = filepath.Join(dir, "litefence")
	return goBuild(root, litefenceBin, "-race", "./cmd/litefence")
}

func goBuild(dir, out string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", out}, args...)...)
	cmd.Dir = dir
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, msg)
	}
	return nil
}

// patience is how long a scenario waits for what must come: far beyond every
// promise, so that only "never" fails it.
const patience = 60 * time.Second

// start makes a cluster and starts it; it is checked and removed at the end.
func start(t *testing.T, opts cluster.Options) *cluster.Cluster {
	t.Helper()
	c := prepare(t, opts)
	require.NoError(t, c.Start())
	return c
}

// prepare makes a cluster without starting anything.
func prepare(t *testing.T, opts cluster.Options) *cluster.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no clusters")
	}
	opts.Litefence, opts.LiteFS = litefenceBin, litefsBin
	c, err := cluster.New(opts)
	if errors.Is(err, cluster.ErrUnable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		races := dataRaces(c)
		if t.Failed() || len(races) > 0 {
			var b bytes.Buffer
			c.DumpLogs(&b, 80)
			c.DumpStuck(&b)
			t.Log("\n" + b.String())
		}
		if err := c.Close(); err != nil {
			t.Errorf("clean up: %v", err)
		}
		if len(races) > 0 {
			t.Errorf("data races reported in %s", strings.Join(races, ", "))
		}
	})
	return c
}

func dataRaces(c *cluster.Cluster) (found []string) {
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "*", "litefence.log"))
	for _, path := range logs {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("WARNING: DATA RACE")) {
			found = append(found, path)
		}
	}
	return found
}

// long skips what takes a minute and watches over little that others do not.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("LONG") == "" {
		t.Skip("long: runs with LONG=1, as in make stress")
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for cond, and fails with its last answer.
func eventually(t *testing.T, what string, cond func() error) {
	t.Helper()
	require.NoError(t, cluster.WaitFor(deadline(t), cond), what)
}

func writable(t *testing.T, nodes ...*cluster.Node) *cluster.Node {
	t.Helper()
	n, err := cluster.WaitWritable(deadline(t), nodes...)
	require.NoError(t, err)
	return n
}

// inStep waits until all nodes stand where primary stands.
func inStep(t *testing.T, primary *cluster.Node, c *cluster.Cluster) {
	t.Helper()
	require.NoError(t, cluster.WaitInStep(deadline(t), primary, c.Others(primary)...))
}

// allInStep is inStep with whichever node is primary. It is asked each time: a
// busy machine may move leadership on.
func allInStep(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	eventually(t, "all nodes are in step", func() error {
		for _, n := range c.Nodes {
			if s, err := n.Status(); err == nil && s.Writable {
				return cluster.InStep(n, c.Others(n)...)
			}
		}
		return errors.New("no node is writable")
	})
}

func appDB(n *cluster.Node) string { return filepath.Join(n.Fenced(), "app.db") }

// createDB makes the table on the primary and waits until all nodes have it. A
// busy machine may move the role on meanwhile.
func createDB(t *testing.T, c *cluster.Cluster, primary *cluster.Node, journal string) {
	t.Helper()
	eventually(t, "the database is made", func() error {
		_, err := primary.SQL(appDB(primary), "PRAGMA journal_mode="+journal, "CREATE TABLE IF NOT EXISTS acked (id TEXT PRIMARY KEY)")
		if n, e := writableNow(c); err != nil && e == nil {
			primary = n
		}
		return err
	})
	allInStep(t, c)
}

func insert(t *testing.T, n *cluster.Node, id string) {
	t.Helper()
	_, err := n.SQL(appDB(n), "INSERT INTO acked VALUES ('"+id+"')")
	require.NoError(t, err)
}

// rowsOf reads all rows through the mount, on a new connection.
func rowsOf(t *testing.T, n *cluster.Node) map[string]bool {
	t.Helper()
	rows, err := n.SQL(appDB(n), "SELECT id FROM acked")
	require.NoError(t, err)
	set := map[string]bool{}
	for _, r := range rows {
		set[r] = true
	}
	return set
}

func integrity(t *testing.T, nodes ...*cluster.Node) {
	t.Helper()
	for _, n := range nodes {
		got, err := n.SQL(appDB(n), "PRAGMA integrity_check")
		require.NoError(t, err, n.Name)
		require.Equal(t, []string{"ok"}, got, n.Name)
		require.True(t, n.LiteFS().Running(), "LiteFS on %s has exited", n.Name)
	}
}

// moveTo makes target the primary, by fencing every other node meanwhile. It
// first waits until target is in step with the newest primary: one that is not
// is rightly refused, and a fenced primary streams to nobody.
func moveTo(t *testing.T, c *cluster.Cluster, target *cluster.Node) {
	t.Helper()
	eventually(t, target.Name+" is in step", func() error {
		now, err := writable(t, c.Nodes...).Status()
		if err != nil {
			return err
		}
		s, err := target.Status()
		if err == nil && (!s.InStep || s.Open != now.Open) {
			err = fmt.Errorf("%s: in step %v with Open %d; the newest is %d", target.Name, s.InStep, s.Open, now.Open)
		}
		return err
	})
	for _, n := range c.Others(target) {
		_, err := n.CLI("fence", "-reason", "leadership is moved to "+target.Name)
		require.NoError(t, err)
	}
	writable(t, target)
	for _, n := range c.Others(target) {
		_, err := n.CLI("unfence")
		require.NoError(t, err)
	}
}
