package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/fusefs"
	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

// parseMetrics reads Prometheus's text format, strictly.
func parseMetrics(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	return all
}

// The analysis's own names are as they are; each of ours is as Prometheus's
// linter wants it.
func requireLint(t *testing.T, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "litefs_") {
			require.Fail(t, p.Metric+": "+p.Text)
		}
	}
}

func TestMetricsOfAWitness(t *testing.T) {
	d := startLive(t)
	require.Eventually(t, func() bool { return d.glance().HasQuorum }, 20*time.Second, 10*time.Millisecond)
	d.node.UpdateHealth(false, "a test")
	status, text, header := d.ask(false, "GET", "/metrics", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, header.Get("Content-Type"), "text/plain; version=0.0.4")
	all := parseMetrics(t, text)
	requireLint(t, text)
	for _, name := range []string{"litefs_split_brain_detected", "litefs_quorum_lost", "litefs_node_fenced",
		"litefence_fence_transitions_total", "litefence_recoveries_total", "litefence_raft_term", "litefence_build_info", "go_goroutines"} {
		require.Contains(t, all, name)
	}
	require.Equal(t, 1.0, all["litefence_witness"].Metric[0].GetGauge().GetValue())
	require.NotContains(t, all, "litefence_writes_total", "a witness has no mount")
	for _, m := range all["litefence_health"].Metric {
		require.Equal(t, m.Label[0].GetValue() == "unhealthy", m.GetGauge().GetValue() == 1, m)
	}
	require.Empty(t, strings.Join(grep(d.logs.String(), "metrics"), ""))
}

func grep(text, word string) (lines []string) {
	for _, l := range strings.Split(text, "\n") {
		if strings.Contains(l, word) {
			lines = append(lines, l)
		}
	}
	return lines
}

// collectorOf makes the collector of a node as it is given.
func collect(t *testing.T, st statusReply) map[string]*dto.MetricFamily {
	t.Helper()
	s := newScraped(&daemon{events: newEvents(nil), gate: fusefs.NewGate()})
	reg := prometheus.NewRegistry()
	reg.MustRegister(fixed{s, st})
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	for _, p := range problems {
		require.True(t, strings.HasPrefix(p.Metric, "litefs_"), p)
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	all := map[string]*dto.MetricFamily{}
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

// fixed collects from a status that stands still.
type fixed struct {
	*scraped
	st statusReply
}

func (f fixed) Collect(ch chan<- prometheus.Metric) { f.collect(ch, f.st) }

// Names from outside bound the number of series, and any bytes are allowed in a
// database's name.
func TestMetricsAreBounded(t *testing.T) {
	all := collect(t, statusOf(func(s *statusReply) {
		s.Positions = policy.Positions{"bad\xff\xfe": {TXID: 7}, "bad\xfe\xff": {TXID: 8}, strings.Repeat("ü", 200): {TXID: 9}, "new\nline\"": {TXID: 3}}
		for i := range 3 * maxLabelled {
			s.Positions[fmt.Sprintf("db%05d", i)] = policy.Pos{TXID: 1}
			s.Peers = append(s.Peers, quorum.PeerStatus{Node: fmt.Sprintf("n%05d", i), Answers: true})
		}
	}))
	require.Len(t, all["litefence_litefs_position"].Metric, maxLabelled)
	require.Equal(t, float64(3*maxLabelled+4), all["litefence_databases"].Metric[0].GetGauge().GetValue())
	require.Len(t, all["litefence_peer_answers"].Metric, maxLabelled)
}

// What events tell is counted: each change of the fence by its reason, and each
// end of a split brain by its result.
func TestMetricsCountEvents(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	h := newEvents(m.event)
	for _, e := range []policy.Event{
		{Kind: policy.EventFenced, Reason: policy.ReasonStarting, State: "healthy"},
		{Kind: policy.EventLifted, State: "healthy"},
		{Kind: policy.EventStale, Reason: policy.ReasonStale, State: "split_brain_detected"},
		{Kind: policy.EventFenced, Reason: policy.ReasonStale, State: "split_brain_detected"},
		{Kind: policy.EventState, State: "resolved"},
		{Kind: policy.EventState, State: "healthy"},
		{Kind: policy.EventState, State: "split_brain_detected"},
		{Kind: policy.EventState, State: "failed"},
	} {
		h.publish(e)
	}
	require.NoError(t, testutil.CollectAndCompare(m.transitions, strings.NewReader(`
# HELP litefence_fence_transitions_total Changes of the fence by the reason that stands after them; none = it was lifted.
# TYPE litefence_fence_transitions_total counter
litefence_fence_transitions_total{reason="command"} 0
litefence_fence_transitions_total{reason="manual"} 0
litefence_fence_transitions_total{reason="no-leader"} 0
litefence_fence_transitions_total{reason="none"} 1
litefence_fence_transitions_total{reason="replica"} 0
litefence_fence_transitions_total{reason="stale-leader"} 1
litefence_fence_transitions_total{reason="starting"} 1
`)))
	require.NoError(t, testutil.CollectAndCompare(m.recoveries, strings.NewReader(`
# HELP litefence_recoveries_total Ends of a detected split brain on this node: resolved, or failed.
# TYPE litefence_recoveries_total counter
litefence_recoveries_total{result="failed"} 1
litefence_recoveries_total{result="resolved"} 1
`)))
}

// Two daemons in one process have metrics of their own.
func TestMetricsAreNotGlobal(t *testing.T) {
	for range 2 {
		d := &daemon{log: slog.Default()}
		d.watchOver()
		d.metrics.heartbeat("n2", time.Millisecond)
		n, err := testutil.GatherAndCount(d.metrics.registry, "litefs_heartbeat_latency_ms")
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
}
