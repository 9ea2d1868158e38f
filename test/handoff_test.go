package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// handoffRounds is few in CI; HANDOFF_ROUNDS=50 measures.
func handoffRounds() int {
	if n, err := strconv.Atoi(os.Getenv("HANDOFF_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 6
}

// TestHandoffUnderLoad: the role goes round while every node's application
// writes as fast as it may. Nothing acknowledged is lost, on any node.
func TestHandoffUnderLoad(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	createDB(t, c, writable(t, c.Nodes...), "wal")
	writers := map[*cluster.Node]*cluster.App{}
	for _, n := range c.Nodes {
		w, err := n.StartApp("write", appDB(n), nil, "-name", n.Name, "-interval", "1ms", "-backoff", "5ms")
		require.NoError(t, err)
		writers[n] = w
	}
	var pauses []time.Duration
	for i := range handoffRounds() {
		old := writable(t, c.Nodes...)
		to := c.Others(old)[i%2]
		eventually(t, "rows on "+old.Name, atLeast(writers[old], len(writers[old].Acked())+50))
		args := []string{to.Name}
		if i%3 == 2 {
			args = nil // to whoever is best
		}
		asked := c.Nodes[i%3] // whichever node is asked
		before := workload.Now()
		out, err := asked.CLI("handoff", args...)
		require.NoError(t, err)
		if now := writable(t, c.Nodes...); args != nil {
			require.Equal(t, to, now, out)
		} else {
			to = now
			require.NotEqual(t, old, now, out)
		}
		eventually(t, "rows on "+to.Name, func() error {
			if len(ackedAfter(writers[to], before)) == 0 {
				return fmt.Errorf("none yet")
			}
			return nil
		})
		pause := pauseBetween(writers[old], writers[to], before)
		pauses = append(pauses, pause)
		t.Logf("%d: %s -> %s, asked on %s: %v (%s)", i+1, old.Name, to.Name, asked.Name, pause.Round(time.Millisecond), out[:len(out)-1])
	}
	want := map[string]bool{}
	for _, w := range writers {
		finish(t, w, want)
	}
	allInStep(t, c)
	for _, n := range c.Nodes {
		requireRows(t, n, want)
	}
	integrity(t, c.Nodes...)
	slices.Sort(pauses)
	t.Logf("%d handoffs, %d rows acknowledged; no writes for: median %v, worst %v", len(pauses), len(want),
		pauses[len(pauses)/2].Round(time.Millisecond), pauses[len(pauses)-1].Round(time.Millisecond))
}

// pauseBetween is from the last acknowledgement of the old primary to the first
// of the new one.
func pauseBetween(old, next *cluster.App, asked int64) time.Duration {
	first := ackedAfter(next, asked)[0].End
	last := asked
	for _, e := range old.Acked() {
		if e.End < first {
			last = max(last, e.End)
		}
	}
	return time.Duration(first - last)
}

// TestHandoffCalledOff: what goes wrong on the target while writes are held up
// costs a pause and nothing else.
func TestHandoffCalledOff(t *testing.T) {
	t.Parallel()
	c := prepare(t, cluster.Options{})
	barred := c.Nodes[2]
	config := filepath.Join(barred.Dir, "litefs.yml")
	yml, err := os.ReadFile(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, []byte(strings.Replace(string(yml), "candidate: true", "candidate: false", 1)), 0o600))
	require.NoError(t, c.Start())
	old := writable(t, c.Nodes...)
	require.NotEqual(t, barred, old)
	createDB(t, c, old, "wal")
	to := c.Others(old, barred)[0]
	w := writeOn(t, old, "w")
	before, err := old.Status()
	require.NoError(t, err)

	refused := func(code int, says string, args ...string) {
		t.Helper()
		_, err := old.CLI("handoff", args...)
		require.ErrorContains(t, err, fmt.Sprintf("exit status %d", code))
		require.ErrorContains(t, err, says)
		eventually(t, "writes pass again", atLeast(w, len(w.Acked())+5))
		now, err := old.Status()
		require.NoError(t, err)
		require.Equal(t, before.Open, now.Open, "under the same Open")
	}
	_, err = to.CLI("fence", "-reason", "maintenance")
	require.NoError(t, err)
	refused(4, "is fenced (manual)", to.Name)
	_, err = to.CLI("unfence")
	require.NoError(t, err)
	refused(4, "no node", "n9")
	refused(2, `unexpected "n2"`, "n1", "n2")

	require.NoError(t, to.LiteFS().Signal(syscall.SIGSTOP))
	refused(3, to.Name, to.Name, "-timeout", "1s")
	require.NoError(t, to.LiteFS().Signal(syscall.SIGCONT))
	require.NoError(t, to.Isolate())
	refused(3, "does not answer", to.Name, "-timeout", "1s")
	require.NoError(t, to.Heal())

	_, err = old.CLI("handoff", barred.Name)
	require.ErrorContains(t, err, "exit status 1")
	require.ErrorContains(t, err, barred.Name+" did not take over")
	want := map[string]bool{}
	finish(t, w, want)
	allInStep(t, c)
	for _, n := range c.Nodes {
		requireRows(t, n, want)
	}
	integrity(t, c.Nodes...)
}

// TestPromoteAndStop: LiteFS's own request for the role ends in a handoff, and so
// does SIGTERM of the primary. Neither loses what was acknowledged, though LiteFS
// replicates only after it has acknowledged.
func TestPromoteAndStop(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	to := c.Others(old)[0]
	first := writeOn(t, old, "first")
	_, err := to.Exec("python3", "-c", `import urllib.request as u
u.urlopen(u.Request("http://127.0.0.1:20202/promote", method="POST"), timeout=20)`)
	require.NoError(t, err)
	s, err := to.Status()
	require.NoError(t, err)
	require.True(t, s.Writable, "answered once it is done")
	want := map[string]bool{}
	finish(t, first, want)

	allInStep(t, c)
	second := writeOn(t, to, "second")
	require.NoError(t, to.Litefence().Signal(syscall.SIGTERM))
	next := writable(t, c.Others(to)...)
	eventually(t, "the end", func() error {
		if to.Litefence().Running() {
			return errors.New("litefence still runs")
		}
		return nil
	})
	require.Zero(t, to.Litefence().ExitCode())
	require.NoError(t, second.Kill()) // its mount has gone with the daemon
	for _, e := range second.Acked() {
		want[e.ID] = true
	}
	requireRows(t, next, want)
	require.NoError(t, to.StartLitefence())
	allInStep(t, c)
	for _, n := range c.Nodes {
		requireRows(t, n, want)
	}
	integrity(t, c.Nodes...)
}

// writeOn starts a writer that does not rest, and waits for its first rows.
func writeOn(t *testing.T, n *cluster.Node, name string) *cluster.App {
	t.Helper()
	w, err := n.StartApp("write", appDB(n), nil, "-name", name, "-interval", "1ms", "-backoff", "5ms")
	require.NoError(t, err)
	eventually(t, "rows on "+n.Name, atLeast(w, 50))
	return w
}

// finish adds what w was told is written to want.
func finish(t *testing.T, w *cluster.App, want map[string]bool) {
	t.Helper()
	_, err := w.Finish()
	require.NoError(t, err)
	for _, e := range w.Acked() {
		want[e.ID] = true
	}
}

// TestStoppedLiteFS: LiteFS on the primary is stopped, with writes in flight
// that hang in it: leadership moves on, and nothing that then comes to an end is
// acknowledged beside the new primary's rows.
func TestStoppedLiteFS(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	w := writeOn(t, old, "w")
	stopped := workload.Now()
	require.NoError(t, old.LiteFS().Signal(syscall.SIGSTOP))
	next := writable(t, c.Others(old)...)
	t.Logf("%s writable after %v", next.Name, time.Duration(workload.Now()-stopped).Round(time.Millisecond))
	insert(t, next, "meanwhile")
	require.NoError(t, old.LiteFS().Signal(syscall.SIGCONT))
	eventually(t, "it follows", func() error { return isReplica(old) })
	_, err := w.Finish()
	require.NoError(t, err)
	allInStep(t, c)
	for _, e := range w.Acked() {
		// A row in flight at the stop may have been acknowledged below before it.
		require.LessOrEqual(t, e.Start, stopped, "%s was acknowledged by a stopped LiteFS", e.ID)
	}
	for _, n := range c.Nodes {
		require.True(t, rowsOf(t, n)["meanwhile"])
	}
	integrity(t, c.Nodes...)
}
