// Package page tests the status page in a real browser: against a server of its
// own that speaks the wire, and against real nodes.
package page

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if workload.IsRequested(os.Args) {
		os.Exit(workload.Main(os.Args[2:]))
	}
	if chromium() == "" {
		fmt.Fprintln(os.Stderr, missing+" (the status page is not tested)")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Fprintln(os.Stderr, "interrupted:", cluster.CloseAll())
		os.Exit(1)
	}()
	code := m.Run()
	_ = os.RemoveAll(binaries.dir)
	if leaks := cluster.Leaks(); len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "left behind:\n  %s\n", strings.Join(leaks, "\n  "))
		_ = cluster.CloseAll()
		code = 1
	}
	os.Exit(code)
}

var binaries struct {
	sync.Once
	err            error
	dir            string
	litefence, lfs string
}

// build makes the binaries that a cluster needs, unless LITEFENCE_TEST_BIN and
// bin/litefs are there.
func build() error {
	b := &binaries
	b.Do(func() {
		root, err := filepath.Abs("../..")
		if err == nil {
			b.dir, err = os.MkdirTemp("", "litefence-bin-")
		}
		if err != nil {
			b.err = err
			return
		}
		b.lfs, b.litefence = filepath.Join(root, "bin", "litefs"), os.Getenv("LITEFENCE_TEST_BIN")
		if _, err := os.Stat(b.lfs); err != nil {
			b.lfs = filepath.Join(b.dir, "litefs")
			b.err = goBuild(filepath.Join(root, "test", "litefs"), b.lfs, "github.com/superfly/litefs/cmd/litefs")
		}
		if b.litefence == "" {
			b.litefence = filepath.Join(b.dir, "litefence")
			b.err = errors.Join(b.err, goBuild(root, b.litefence, "-race", "./cmd/litefence"))
		}
	})
	return b.err
}

func goBuild(dir, out string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", out}, args...)...)
	cmd.Dir = dir
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, msg)
	}
	return nil
}

// start makes a cluster of real nodes and starts it; it is removed at the end.
func start(t *testing.T, opts cluster.Options) *cluster.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no clusters")
	}
	if chromium() == "" {
		t.Skip(missing)
	}
	require.NoError(t, build())
	opts.Litefence, opts.LiteFS = binaries.litefence, binaries.lfs
	c, err := cluster.New(opts)
	if errors.Is(err, cluster.ErrUnable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			var b bytes.Buffer
			c.DumpLogs(&b, 60)
			t.Log("\n" + b.String())
		}
		require.NoError(t, c.Close())
	})
	require.NoError(t, c.Start())
	return c
}
