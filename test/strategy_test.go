package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// Every strategy, with real LiteFS and a real partition: the primary is cut off
// in silence, and comes back.

// cutOff makes a table, cuts the primary off and waits until it has given way
// and another has taken over.
func cutOff(t *testing.T, c *cluster.Cluster) (old, next *cluster.Node) {
	t.Helper()
	old = writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	require.NoError(t, old.Isolate())
	next = writable(t, c.Others(old)...)
	insert(t, next, "after")
	return old, next
}

// stateIs waits for a state of the analysis.
func stateIs(t *testing.T, n *cluster.Node, want string) (s cluster.Status) {
	t.Helper()
	eventually(t, n.Name+" is "+want, func() (err error) {
		if s, err = n.Status(); err == nil && s.State != want {
			err = fmt.Errorf("%s is %s (%s): %s", n.Name, s.State, s.Reason, s.StateError)
		}
		return err
	})
	return s
}

// comesBack heals the cut and waits until old follows, with every row.
func comesBack(t *testing.T, c *cluster.Cluster, old *cluster.Node) {
	t.Helper()
	require.NoError(t, old.Heal())
	allInStep(t, c)
	require.True(t, rowsOf(t, old)["after"])
	integrity(t, c.Nodes...)
}

// TestStrategyForceReplica: fenced, drained, the key refused, and it follows.
// Whoever asks POST /v1/check is told the same.
func TestStrategyForceReplica(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old, next := cutOff(t, c)
	s := stateIs(t, old, "resolved")
	require.True(t, s.Fenced)
	require.Positive(t, s.Resolutions.Resolved)
	resolved := s.Resolutions.Resolved
	state, failed, err := old.Check()
	require.NoError(t, err)
	require.Equal(t, "resolved", state, "there is nothing left to do, and nobody to follow yet")
	require.Empty(t, failed)
	comesBack(t, c, old)
	s = stateIs(t, old, "healthy")
	require.Equal(t, resolved, s.Resolutions.Resolved, "resolved once")
	for _, n := range []*cluster.Node{old, next} {
		state, failed, err = n.Check()
		require.NoError(t, err)
		require.Equal(t, "healthy", state)
		require.Empty(t, failed)
	}
	require.True(t, statusOf(t, next).Writable, "a check of a healthy primary changes nothing")
}

// TestStrategySuspend: a writer on the node that was cut off waits, for as long
// as the config says and no longer; readers do not.
func TestStrategySuspend(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Extra: "policy: {strategy: suspend, suspend-for: 4s}"})
	old, _ := cutOff(t, c)
	began := time.Now()
	wrote := make(chan error, 1)
	go func() {
		_, err := old.SQL(appDB(old), "INSERT INTO acked VALUES ('suspended')")
		wrote <- err
	}()
	eventually(t, "the writer is held", func() error {
		if s, err := old.Status(); err != nil || len(s.Writes.Suspended) == 0 {
			return errors.Join(err, errors.New("nobody is held"))
		}
		return nil
	})
	rowsOf(t, old)
	select {
	case err := <-wrote:
		t.Fatalf("the writer was not held: %v after %v", err, time.Since(began))
	default:
	}
	require.Error(t, <-wrote)
	stateIs(t, old, "resolved")
	comesBack(t, c, old)
	require.False(t, rowsOf(t, old)["suspended"])
}

// TestStrategyShutdownSafe: the application is stopped in order, and litefence
// exits with 1 and says why.
func TestStrategyShutdownSafe(t *testing.T) {
	t.Parallel()
	stopped := filepath.Join(t.TempDir(), "stopped-")
	c := start(t, cluster.Options{
		Extra: "policy: {strategy: SHUTDOWN_SAFE}",
		App: func(n *cluster.Node) []string {
			// It ends with litefence, also where that is killed.
			return []string{"/bin/sh", "-c", "trap 'touch " + stopped + n.Name + "; exit 0' TERM; while kill -0 $PPID; do sleep 0.05; done"}
		},
	})
	old, next := cutOff(t, c)
	select {
	case <-old.Litefence().Done():
	case <-deadline(t).Done():
		t.Fatal("litefence did not stop")
	}
	require.Equal(t, 1, old.Litefence().ExitCode())
	require.FileExists(t, stopped+old.Name)
	require.NoFileExists(t, stopped+next.Name)
	b, err := os.ReadFile(old.Litefence().Log)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Contains(t, lines[len(lines)-1], "litefence: split-brain: this node was a stale leader in term ")
	require.NoError(t, old.Heal())
	require.NoError(t, old.StartLitefence())
	comesBack(t, c, old)
}

// TestStrategyCustom: the command is told the event. It fails: the state is
// failed, and the node follows all the same but may not become primary, until it
// has succeeded.
func TestStrategyCustom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "on-split-brain")
	require.NoError(t, os.WriteFile(script, []byte(`#!/bin/sh
cat > `+dir+`/event
env | grep ^LITEFENCE_ > `+dir+`/env
echo called >> `+dir+`/calls
if [ -e `+dir+`/broken ]; then echo the pager is off; exit 3; fi
`), 0o700))
	broken := filepath.Join(dir, "broken")
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	c := start(t, cluster.Options{Extra: fmt.Sprintf("policy: {strategy: custom, command: [%q]}", script)})
	old, next := cutOff(t, c)
	s := stateIs(t, old, "failed")
	why := "split-brain detected: recover: policy.command " + script + ": exit status 3"
	require.Contains(t, s.StateError, why)
	showsOf(t, old, "failed ("+why+"; tried again by itself")

	var e struct {
		Kind, Node, Reason, State string
		Term                      uint64
	}
	b, err := os.ReadFile(filepath.Join(dir, "event"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &e), "%s", b)
	require.Equal(t, []string{"stale-leader", old.Name, "stale-leader", "split_brain_detected"}, []string{e.Kind, e.Node, e.Reason, e.State})
	require.NotZero(t, e.Term)
	b, err = os.ReadFile(filepath.Join(dir, "env"))
	require.NoError(t, err)
	for _, want := range []string{"LITEFENCE_EVENT=stale-leader", "LITEFENCE_NODE=" + old.Name, "LITEFENCE_REASON=stale-leader", fmt.Sprintf("LITEFENCE_TERM=%d", e.Term)} {
		require.Contains(t, strings.Split(string(b), "\n"), want)
	}

	comesBack(t, c, old)
	s = statusOf(t, old)
	require.Equal(t, []any{"failed", "failed", true}, []any{s.State, s.Reason, s.Fenced})
	for _, n := range c.Others(old, next) {
		require.NoError(t, n.PowerOff())
	}
	_, err = next.CLI("fence", "-reason", "nobody else is left")
	require.NoError(t, err)
	state, failed, err := old.Check()
	require.NoError(t, err)
	require.Equal(t, "failed", state)
	require.Contains(t, failed, "exit status 3")
	require.False(t, statusOf(t, old).Writable)
	require.NoError(t, os.Remove(broken))
	writable(t, old) // it is tried again by itself
	require.Empty(t, statusOf(t, old).StateError)
}

// TestRecoverManual: after a split brain the node follows but stays fenced, also
// across a restart, until somebody lifts it.
func TestRecoverManual(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Extra: "policy: {recover: manual}"})
	old, _ := cutOff(t, c)
	latched := func() error {
		s, err := old.Status()
		if err == nil && (s.Reason != "manual" || !strings.Contains(s.FenceReason, "policy.recover is manual")) {
			err = fmt.Errorf("%s (%s)", s.Reason, s.FenceReason)
		}
		return err
	}
	eventually(t, "latched", latched)
	stateIs(t, old, "resolved")
	comesBack(t, c, old)
	require.NoError(t, latched())
	require.NoError(t, old.Litefence().Stop(20*time.Second))
	require.NoError(t, old.StartLitefence())
	eventually(t, "latched after a restart", latched)
	allInStep(t, c)
	_, err := old.CLI("unfence")
	require.NoError(t, err)
	moveTo(t, c, old)
	insert(t, old, "lifted")
}

// TestBlockedByRename: a program written against the analysis moves .primary to
// .primary.blocked. The node gives way, and takes part again once it has
// followed, with nobody to lift anything.
func TestBlockedByRename(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Fence: "primary-file: presence"})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	p, b := filepath.Join(old.Fenced(), ".primary"), filepath.Join(old.Fenced(), ".primary.blocked")
	require.NoError(t, os.Rename(p, b))
	_, err := old.SQL(appDB(old), "INSERT INTO acked VALUES ('refused')")
	require.Error(t, err)
	require.NoFileExists(t, p)
	require.FileExists(t, b)
	insert(t, writable(t, c.Others(old)...), "after")
	eventually(t, "lifted", func() error {
		s, err := old.Status()
		if err == nil && s.Reason != "replica" {
			err = errors.New(s.Reason)
		}
		return err
	})
	comesBack(t, c, old)
	moveTo(t, c, old)
	insert(t, old, "again")
	require.FileExists(t, p)
	require.NoFileExists(t, b)
}

// TestStrategyRollback: rows that the primary acknowledged in the last moments
// of its lease, and nobody else has, are set aside before LiteFS replaces them.
func TestStrategyRollback(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Extra: "policy: {strategy: rollback-to-checkpoint}"})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	w, err := old.StartApp("write", appDB(old), nil)
	require.NoError(t, err)
	eventually(t, "rows", atLeast(w, 20))
	require.NoError(t, old.Isolate())
	next := writable(t, c.Others(old)...)
	_, err = w.Finish()
	require.NoError(t, err)
	acked := map[string]bool{}
	for _, e := range w.Acked() {
		acked[e.ID] = true
	}
	seen := rowsOf(t, next)
	for id := range seen {
		delete(acked, id)
	}
	require.NotEmpty(t, acked, "rows that the majority never saw")
	had := statusOf(t, old).Positions["app.db"]
	for _, n := range c.Nodes {
		out, err := n.CLI("lost", "-json")
		require.NoError(t, err)
		require.NotContains(t, out, "rolled-back")
	}
	insert(t, next, "after")
	comesBack(t, c, old)

	out, err := old.CLI("lost", "-json")
	require.NoError(t, err)
	var all []struct {
		ID, Kind, Path string
		Databases      []struct{ Name, Had, Have string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &all), out)
	require.Len(t, all, 1)
	require.Equal(t, "rolled-back", all[0].Kind)
	require.Len(t, all[0].Databases, 1)
	db := all[0].Databases[0]
	require.Equal(t, []string{"app.db", had}, []string{db.Name, db.Had})
	out, err = old.CLI("lost", "show", all[0].ID)
	require.NoError(t, err)
	require.Contains(t, out, all[0].Path)
	b, err := os.ReadFile(filepath.Join(all[0].Path, "manifest.json"))
	require.NoError(t, err)
	var kept struct {
		Databases []struct {
			From, To string
			Complete bool
			Files    []struct {
				Name string
				Size int64
				Time time.Time
			}
		}
	}
	require.NoError(t, json.Unmarshal(b, &kept))
	require.True(t, kept.Databases[0].Complete)
	require.Equal(t, []string{db.Have, db.Had}, []string{kept.Databases[0].From, kept.Databases[0].To})
	for _, f := range kept.Databases[0].Files {
		fi, err := os.Stat(filepath.Join(all[0].Path, "app.db", f.Name))
		require.NoError(t, err)
		require.Equal(t, f.Size, fi.Size())
		require.WithinDuration(t, time.Now(), f.Time, time.Minute)
		require.Contains(t, out, f.Name)
	}
	require.GreaterOrEqual(t, len(kept.Databases[0].Files), len(acked), "a transaction for each row")
	require.NoDirExists(t, filepath.Join(old.Data(), "litefence-set-aside", "held"))

	// What LiteFS's own tool makes of it: the database as the deposed primary had it.
	base, err := filepath.Glob(filepath.Join(next.Data(), "dbs", "app.db", "ltx", "*.ltx"))
	require.NoError(t, err)
	upTo, _, _ := strings.Cut(db.Have, "/")
	base = slices.DeleteFunc(base, func(path string) bool { return filepath.Base(path)[17:33] > upTo })
	for _, f := range kept.Databases[0].Files {
		base = append(base, filepath.Join(all[0].Path, "app.db", f.Name))
	}
	copied := applyLTX(t, base...)
	rows, err := old.SQL(copied, "SELECT id FROM acked")
	require.NoError(t, err)
	for id := range acked {
		require.Contains(t, rows, id, "acknowledged, and set aside")
	}
	require.NotContains(t, rows, "after")
}

// applyLTX makes a database of LTX files with LiteFS's own tool, which compares
// every checksum.
func applyLTX(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	bin, db := filepath.Join(dir, "ltx"), filepath.Join(dir, "db")
	require.NoError(t, goBuild(filepath.Join(root, "test", "litefs"), bin, "github.com/superfly/ltx/cmd/ltx"))
	out, err := exec.Command(bin, append([]string{"apply", "-db", db}, files...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return db
}
