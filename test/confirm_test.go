package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// TestConfirmByQuorum: with `confirm: quorum` no commit that begins after a
// majority has stopped is a success, although the lease has time left. With
// `confirm: lease` the same load says what the question costs.
func TestConfirmByQuorum(t *testing.T) {
	long(t)
	for _, confirm := range []string{"lease", "quorum"} {
		t.Run(confirm, func(t *testing.T) {
			c := start(t, cluster.Options{Confirm: confirm})
			old := writable(t, c.Nodes...)
			createDB(t, c, old, "wal")
			w, err := old.StartApp("write", appDB(old), nil, "-interval", "0s")
			require.NoError(t, err)
			eventually(t, "rows", atLeast(w, 300))
			logCommitTime(t, w)
			if confirm == "quorum" {
				stopMajority(t, c, old, w)
			}
			_, err = w.Finish()
			require.NoError(t, err)
			allInStep(t, c)
			integrity(t, c.Nodes...)
		})
	}
}

func stopMajority(t *testing.T, c *cluster.Cluster, old *cluster.Node, w *cluster.App) {
	for _, n := range c.Others(old) {
		require.NoError(t, n.Pause())
		eventually(t, n.Name+" has stopped", func() error { return allStopped(n.Litefence().Pid()) })
	}
	stopped := workload.Now()
	eventually(t, "errors", func() error {
		failed := 0
		for _, e := range w.Events() {
			if e.Start > stopped && !e.OK() {
				failed++
			}
		}
		if failed < 5 {
			return fmt.Errorf("%d errors", failed)
		}
		return nil
	})
	for _, e := range w.Acked() {
		require.Less(t, e.Start, stopped, "%s was acknowledged with the majority stopped", e.ID)
	}
	for _, n := range c.Others(old) {
		require.NoError(t, n.Resume())
	}
	insert(t, writable(t, c.Nodes...), "afterwards")
}

// allStopped is nil when every thread of the process is stopped: the signal's
// sender does not wait for that.
func allStopped(pid int) error {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(tasks) == 0 {
		return errors.Join(err, fmt.Errorf("no process %d", pid))
	}
	for _, path := range tasks {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// The state follows the name, which is in brackets (proc(5)).
		_, state, _ := strings.Cut(string(b), ") ")
		if !strings.HasPrefix(state, "T") {
			return fmt.Errorf("a thread of %d is in state %.1s", pid, state)
		}
	}
	return nil
}

func logCommitTime(t *testing.T, w *cluster.App) {
	var took []time.Duration
	for _, e := range w.Acked() {
		took = append(took, time.Duration(e.End-e.Start))
	}
	slices.Sort(took)
	t.Logf("commit: median %v, 99 %% %v (%d rows)", took[len(took)/2], took[len(took)*99/100], len(took))
}
