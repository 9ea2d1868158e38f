package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// creator tries to make files in a directory, without a pause, as applications that
// open their database again and again would.
type creator struct {
	end  chan struct{}
	made chan string
}

func startCreator(dir string) *creator {
	c := &creator{make(chan struct{}), make(chan string, 1)}
	go func() {
		defer close(c.made)
		for i := 0; ; i++ {
			select {
			case <-c.end:
				return
			case <-time.After(100 * time.Microsecond):
			}
			path := filepath.Join(dir, fmt.Sprintf("made-%d.db", i))
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			if err == nil {
				f.Close()
				c.made <- path
				return
			}
		}
	}()
	return c
}

// stop returns the file that could be made, "" for none.
func (c *creator) stop() string {
	close(c.end)
	return <-c.made
}

// TestNothingIsWrittenBeneathTheMount: litefence is there again before LiteFS is.
// An application that opens its database meanwhile, where the fenced mount will
// be, must not find a directory in which it can make one.
func TestNothingIsWrittenBeneathTheMount(t *testing.T) {
	t.Parallel()
	for _, fence := range []string{"enforce: true", "enforce: false"} {
		t.Run(fence, func(t *testing.T) {
			c := start(t, cluster.Options{Nodes: 1, Fence: fence})
			n := writable(t, c.Nodes...)
			createDB(t, c, n, "wal")
			insert(t, n, "before")
			for range 2 {
				require.NoError(t, n.PowerOff())
				app := startCreator(n.Fenced())
				require.NoError(t, n.StartLitefence())
				eventually(t, "litefence waits for LiteFS", func() error {
					_, err := n.Status()
					return err
				})
				_, err := n.SQL(appDB(n), "CREATE TABLE acked (id)", "INSERT INTO acked VALUES ('lost')")
				require.Error(t, err, "it would be lost")
				require.Empty(t, app.stop(), "could be made")
				entries, err := os.ReadDir(n.Fenced())
				require.NoError(t, err)
				require.Empty(t, entries)
			}
			code, out := doctor(t, n, nil)
			require.Equal(t, 1, code, out)
			require.Contains(t, out, "error: mount: only the read-only guard is mounted on fence.mount ")

			require.NoError(t, n.StartLiteFS())
			writable(t, n)
			insert(t, n, "after")
			require.Equal(t, map[string]bool{"before": true, "after": true}, rowsOf(t, n))

			require.NoError(t, n.Litefence().Stop(20*time.Second))
			require.Empty(t, mountedAt(t, n.Fenced()), "an orderly end leaves nothing behind")
			entries, err := os.ReadDir(n.Fenced())
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

// TestGuardOutlivesAFailure: whoever restarts litefence after a failure does not
// leave the directory open in between; what was unmounted by hand is gone.
func TestGuardOutlivesAFailure(t *testing.T) {
	c := prepare(t, cluster.Options{Nodes: 1, RunFlags: []string{"-lower-timeout", "100ms"}})
	n := c.Nodes[0]
	for range 2 {
		require.NoError(t, n.StartLitefence())
		require.Equal(t, 3, n.Litefence().ExitCode())
		require.Equal(t, []string{"litefence-guard"}, mountedAt(t, n.Fenced()))
		app := startCreator(n.Fenced())
		time.Sleep(20 * time.Millisecond) // long enough for what would be wrong
		require.Empty(t, app.stop())
	}
	code, out := doctor(t, n, nil)
	require.Zero(t, code, out)
	require.Contains(t, out, "warning: mount: fence.mount ")
	require.Contains(t, out, "is kept read-only by the guard of a litefence that failed or was killed; nothing: `litefence run` uses it; to be rid of it: umount ")

	runLiteFS(t, n)
	require.NoError(t, n.StartLitefence())
	eventually(t, "the fenced mount", func() error {
		if at := mountedAt(t, n.Fenced()); len(at) != 2 || at[1] != "litefence" {
			return fmt.Errorf("mounted are %v", at)
		}
		return nil
	})
	require.NoError(t, syscall.Unmount(n.Fenced(), 0))
	require.Equal(t, 1, n.Litefence().ExitCode())
	require.Empty(t, mountedAt(t, n.Fenced()))
}

// mountedAt lists the sources of what is mounted at path, the topmost last.
func mountedAt(t *testing.T, path string) (sources []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[1] == path {
			sources = append(sources, f[0])
		}
	}
	return sources
}
