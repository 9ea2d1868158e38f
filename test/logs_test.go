package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// logLine is a line of log.format: json.
type logLine struct {
	Time       time.Time
	Level, Msg string
	Component  string
	Node       string
	Term       uint64
	Reason     string
	Left       *int64 `json:"lease_left_ms"`
}

func logOf(t *testing.T, n *cluster.Node) (lines []logLine) {
	t.Helper()
	b, err := os.ReadFile(n.Litefence().Log)
	require.NoError(t, err)
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var l logLine
		require.NoError(t, json.Unmarshal(s.Bytes(), &l), "every line is JSON: %s", s.Text())
		lines = append(lines, l)
	}
	return lines
}

// TestLogsOfAPartition: the primary is cut off for 8 s, 130 heartbeats. Each
// node's log tells its changes, with node, term, reason and lease, and nothing
// again and again.
func TestLogsOfAPartition(t *testing.T) {
	c := start(t, cluster.Options{Extra: "log: {format: json}\n"})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	before := map[*cluster.Node]int{}
	for _, n := range c.Nodes {
		before[n] = len(logOf(t, n))
	}
	require.NoError(t, old.Isolate())
	next := writable(t, c.Others(old)...)
	time.Sleep(8 * time.Second) // what is tested is that nothing happens
	for _, n := range c.Nodes {
		lines := logOf(t, n)[before[n]:]
		all, times := "", map[string]int{}
		for _, l := range lines {
			all += fmt.Sprintf("%s %s %s %s\n", l.Level, l.Component, l.Msg, l.Reason)
			times[l.Component+" "+l.Msg+" "+l.Reason]++
		}
		t.Logf("%s: %d lines in 8 s", n.Name, len(lines))
		require.Less(t, len(lines), 50, "%s:\n%s", n.Name, all)
		for line, n := range times {
			require.Less(t, n, 8, "%s\n%s", line, all)
		}
	}
	says := func(n *cluster.Node, level, msg string) (found []logLine) {
		for _, l := range logOf(t, n)[before[n]:] {
			if l.Level == level && strings.HasPrefix(l.Msg, msg) {
				found = append(found, l)
			}
		}
		return found
	}
	critical := says(old, "CRITICAL", "split-brain: ")
	require.Len(t, critical, 1)
	require.Equal(t, old.Name, critical[0].Node)
	require.Equal(t, "stale-leader", critical[0].Reason)
	require.Positive(t, critical[0].Term)
	require.NotNil(t, critical[0].Left)
	require.Empty(t, says(next, "CRITICAL", ""))
	require.Len(t, says(next, "WARN", "quorum degraded: a peer is silent"), 1)
	require.Len(t, says(next, "INFO", "fence lifted"), 1)

	require.NoError(t, old.Heal())
	eventually(t, "the old primary follows", func() error { return isReplica(old) })
	eventually(t, "it is heard again", func() error {
		if len(says(next, "INFO", "a peer is heard again")) != 1 {
			return fmt.Errorf("not said")
		}
		return nil
	})
	allInStep(t, c)
}
