package quorum

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// raftLine is a complaint of raft's, and the peer that it is about.
var raftLine = regexp.MustCompile(`msg="?((?:failed|Election timeout|heartbeat timeout)[^"]*)"? component=raft(?:.*? (?:peer|server-id|target)=("[^"]*"|\S+))?`)

// A follower is cut off for 5 s, some hundred heartbeats and a dozen elections:
// each node logs its changes, and nothing again and again.
func TestNothingIsRepeated(t *testing.T) {
	t.Parallel()
	logs := map[string]*logLines{}
	c := newCluster(t, 3, func(cfg *Config) {
		logs[cfg.Name] = &logLines{}
		cfg.Log = slog.New(slog.NewTextHandler(logs[cfg.Name], nil))
		cfg.HeartbeatTimeout, cfg.Lease = 900*time.Millisecond, 600*time.Millisecond // a busy machine makes no changes of its own
	})
	w := c.writer()
	c.allMarked(w)
	off := c.others(w)[0]
	before := map[string]int{}
	for name, l := range logs {
		before[name] = len(l.all())
	}
	since := func(name string) []string { return logs[name].all()[before[name]:] }
	has := func(name, text string) func() bool {
		return func() bool { return strings.Contains(strings.Join(since(name), "\n"), text) }
	}
	c.cut.set(off.name, true)
	eventually(t, "the leader says so", has(w.name, `level=WARN msg="quorum degraded: a peer is silent" component=quorum peer=`+off.name+" answering=2 voters=3"))
	sleep(t.Context(), 5*time.Second) // what is tested is that nothing happens
	for name := range logs {
		said := map[string]int{}
		for _, l := range since(name) {
			if m := raftLine.FindStringSubmatch(l); m != nil {
				said[m[1]+" "+m[2]]++
			}
		}
		for line, n := range said {
			require.Equal(t, 1, n, "%s: %s\n%s", name, line, strings.Join(since(name), "\n"))
		}
	}
	c.cut.set(off.name, false)
	eventually(t, "the leader says so", has(w.name, `level=INFO msg="a peer is heard again" component=quorum peer=`+off.name+" answering=3"))
	eventually(t, "it follows", func() bool { return off.FenceState().Reason == policy.ReasonReplica })
}

// Of raft's lines the first about a peer passes, the others are for debugging;
// ports, times and counts make no other line of one.
func TestRaftRepeatsAreForDebugging(t *testing.T) {
	var l logLines
	b := bridge(slog.New(slog.NewTextHandler(&l, nil)), "raft")
	for i := range 100 {
		b.Error("failed to heartbeat to", "peer", "a", "backoff time", i, "error", i)
		b.Error("failed to heartbeat to", "peer", "b", "error", i)
		b.With("x", i).Warn("Election timeout reached, restarting election")
		b.Info("entering follower state", "follower", i)
	}
	require.Len(t, l.all(), 3)
	for i := range 3 * maxSaid {
		b.Warn("failed to contact", "server-id", i)
	}
	require.LessOrEqual(t, len(b.(*hclogBridge).said.at), maxSaid)
}

// No key stands twice in a line, whatever raft calls its arguments.
func TestRaftsArgumentsAreKeysOfTheirOwn(t *testing.T) {
	var l logLines
	bridge(slog.New(slog.NewJSONHandler(&l, nil)), "raft").With("level", 1).Warn("failed to contact", "time", time.Second, "backoff time", 1, "component", "x", "error", "e")
	line := l.all()[0]
	for _, key := range []string{"time", "level", "msg", "component", "raft_time", "raft_level", "raft_component", "backoff_time", "error"} {
		require.Equal(t, 1, strings.Count(line, `"`+key+`":`), "%s in %s", key, line)
	}
	require.Contains(t, line, `"component":"raft"`)
}
