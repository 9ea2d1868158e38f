package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

var staleEvent = policy.Event{
	Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kind: policy.EventStale, Node: "n1", Term: 7, Leader: "n1",
	Role: "primary", Reason: policy.ReasonStale, State: "split_brain_detected", Message: "a line\nand another",
}

func newTestCustom(t *testing.T, script string) (*custom, *bytes.Buffer) {
	var log bytes.Buffer
	c, err := startCustom([]string{"/bin/sh", "-c", script, "sh"}, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	t.Cleanup(func() { c.stop(context.Background()) })
	return c, &log
}

func TestCustomIsToldTheEvent(t *testing.T) {
	dir := t.TempDir()
	c, log := newTestCustom(t, "cat > "+dir+"/event; env > "+dir+"/env; echo said; echo and warned >&2")
	for range 2 { // as often as it is asked
		require.NoError(t, c.run(t.Context(), staleEvent))
		b, err := os.ReadFile(dir + "/event")
		require.NoError(t, err)
		var e policy.Event
		require.NoError(t, json.Unmarshal(b, &e))
		require.Equal(t, staleEvent, e)
		require.NoError(t, os.Remove(dir+"/event"))
	}
	b, err := os.ReadFile(dir + "/env")
	require.NoError(t, err)
	for _, want := range []string{
		"LITEFENCE_EVENT=stale-leader", "LITEFENCE_NODE=n1", "LITEFENCE_TERM=7", "LITEFENCE_LEADER=n1", "LITEFENCE_ROLE=primary",
		"LITEFENCE_REASON=stale-leader", "LITEFENCE_STATE=split_brain_detected", "LITEFENCE_TIME=2026-01-02T03:04:05Z",
		"LITEFENCE_MESSAGE=a line", "PATH=" + os.Getenv("PATH"),
	} {
		require.Contains(t, strings.Split(string(b), "\n"), want)
	}
	require.Contains(t, log.String(), `output="said\nand warned"`)
}

func TestCustomFails(t *testing.T) {
	c, log := newTestCustom(t, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo the end; exit 3")
	require.EqualError(t, c.run(t.Context(), staleEvent), "policy.command /bin/sh: exit status 3")
	require.Contains(t, log.String(), `xx\nthe end"`)
	require.Less(t, log.Len(), 2*customOutput, "the end of it, no more")
}

func TestCustomIsBoundedInTime(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	began := time.Now()
	a := runCustom(t.Context(), []string{"/bin/sh", "-c", "sleep 1000 & echo $! > " + pid + "; wait"}, customRun{300 * time.Millisecond, staleEvent})
	require.Equal(t, "not done within 300ms; killed", a.Error)
	require.Less(t, time.Since(began), 10*time.Second)
	b, err := os.ReadFile(pid)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 10*time.Second, 5*time.Millisecond, "its children are killed too")
}

// A daemon that stops waits for no command.
func TestCustomEndsWithTheDaemon(t *testing.T) {
	c, _ := newTestCustom(t, "exec sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	require.Error(t, c.run(ctx, staleEvent))
	require.Less(t, time.Since(began), customWithin/2)
}

// Nothing is done to the application while it is only observed, and a strategy
// that needs nothing is one.
func TestResolve(t *testing.T) {
	for _, s := range strategies {
		d := &daemon{cfg: &Config{Policy: PolicyConfig{Strategy: s}}, log: slog.New(slog.DiscardHandler), ends: make(chan error, 1)}
		require.NoError(t, d.resolve(t.Context(), staleEvent), s)
		require.Empty(t, d.ends, s)
	}
	d := &daemon{
		cfg: &Config{Fence: FenceConfig{Enforce: true}, Policy: PolicyConfig{Strategy: strategyShutdown}},
		log: slog.New(slog.DiscardHandler), ends: make(chan error, 1),
	}
	for range 2 { // it may be asked again before the daemon has ended
		require.NoError(t, d.resolve(t.Context(), staleEvent))
	}
	require.ErrorContains(t, <-d.ends, "split-brain: this node was a stale leader in term 7")
}
