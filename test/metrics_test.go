package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// scrape reads /metrics, as Prometheus does.
func scrape(t *testing.T, n *cluster.Node) (text string, all map[string]*dto.MetricFamily) {
	t.Helper()
	text, err := n.Get("/metrics")
	require.NoError(t, err)
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err = p.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	return text, all
}

// value is the sum of a metric's series that have the labels given ("name=value").
func value(all map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	for _, m := range all[name].GetMetric() {
		has := 0
		for _, l := range m.Label {
			for _, want := range labels {
				if l.GetName()+"="+l.GetValue() == want {
					has++
				}
			}
		}
		if has != len(labels) {
			continue
		}
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return sum
}

// promised are the metrics that INTERFACE.md names, with labels of each.
var promised = map[string][]string{
	"litefs_split_brain_detected":           nil,
	"litefs_quorum_lost":                    nil,
	"litefs_node_fenced":                    nil,
	"litefs_heartbeat_latency_ms":           nil,
	"litefence_lease_remaining_seconds":     nil,
	"litefence_writes_total":                {"result=admitted", "result=refused", "result=suspended", "kind=wal"},
	"litefence_fence_transitions_total":     {"reason=starting", "reason=none"},
	"litefence_fence_drain_seconds":         nil,
	"litefence_fuse_op_duration_seconds":    {"op=read", "op=write", "op=setlk", "op=fsync"},
	"litefence_cache_invalidations_total":   nil,
	"litefence_locks_held":                  nil,
	"litefence_recoveries_total":            {"result=resolved", "result=failed"},
	"litefence_peer_last_heartbeat_seconds": nil,
	"litefence_raft_term":                   nil,
	"litefence_litefs_position":             {"db=app.db"},
	"litefence_build_info":                  nil,
}

func hasLabel(f *dto.MetricFamily, want string) bool {
	for _, m := range f.GetMetric() {
		for _, l := range m.Label {
			if l.GetName()+"="+l.GetValue() == want {
				return true
			}
		}
	}
	return false
}

// TestMetrics: three real daemons are scraped; what is promised is there, what
// it says is true, and it is as Prometheus wants it.
func TestMetrics(t *testing.T) {
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	for i := range 20 {
		insert(t, old, fmt.Sprint("row", i))
	}
	allInStep(t, c)
	other := c.Others(old)[0]
	_, err := other.SQL(appDB(other), "INSERT INTO acked VALUES ('refused')")
	require.Error(t, err)

	text, all := scrape(t, old)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	for _, p := range problems {
		require.True(t, strings.HasPrefix(p.Metric, "litefs_"), "%s: %s", p.Metric, p.Text)
	}
	for name, labels := range promised {
		require.Contains(t, all, name)
		if strings.HasPrefix(name, "litefs_heartbeat") || strings.HasPrefix(name, "litefence_peer_") {
			for _, p := range c.Others(old) {
				labels = append(labels, "peer="+p.Name)
			}
		}
		for _, l := range labels {
			require.True(t, hasLabel(all[name], l), "%s has no series with %s", name, l)
		}
	}
	require.True(t, hasLabel(all["litefence_build_info"], "node="+old.Name))
	require.Equal(t, 1.0, value(all, "litefence_writable"))
	require.Equal(t, 0.0, value(all, "litefs_node_fenced"))
	require.Equal(t, 0.0, value(all, "litefs_split_brain_detected"))
	require.Greater(t, value(all, "litefence_lease_remaining_seconds"), 0.0)
	require.LessOrEqual(t, value(all, "litefence_lease_remaining_seconds"), lease.Seconds())
	require.GreaterOrEqual(t, value(all, "litefence_writes_total", "result=admitted", "kind=wal"), 20.0)
	require.GreaterOrEqual(t, value(all, "litefence_litefs_position", "db=app.db"), 21.0)
	require.GreaterOrEqual(t, value(all, "litefence_fuse_op_duration_seconds", "op=open"), 20.0)
	for _, p := range c.Others(old) {
		require.Greater(t, value(all, "litefs_heartbeat_latency_ms", "peer="+p.Name), 5.0)
	}
	_, replica := scrape(t, other)
	require.Equal(t, 1.0, value(replica, "litefs_node_fenced"))
	require.Equal(t, 1.0, value(replica, "litefence_quorum_known"))
	require.Greater(t, value(replica, "litefence_writes_total", "result=refused"), 0.0)

	lost := value(all, "litefs_quorum_lost")
	require.NoError(t, old.Isolate())
	eventually(t, "the loss is counted", func() error {
		_, now := scrape(t, old)
		if value(now, "litefs_quorum_lost") <= lost || value(now, "litefs_node_fenced") != 1 || value(now, "litefence_quorum_known") != 0 {
			return errors.New("not yet")
		}
		return nil
	})
	writable(t, c.Others(old)...)
	require.NoError(t, old.Heal())
	eventually(t, "the old primary follows", func() error { return isReplica(old) })
	eventually(t, "one split brain was resolved", func() error {
		_, now := scrape(t, old)
		if value(now, "litefence_recoveries_total", "result=resolved") < 1 || value(now, "litefs_split_brain_detected") != 0 {
			return errors.New("not yet")
		}
		return nil
	})
	_, now := scrape(t, old)
	require.GreaterOrEqual(t, value(now, "litefence_fence_drain_seconds"), 1.0)
	require.GreaterOrEqual(t, value(now, "litefence_fence_transitions_total", "reason=stale-leader"), 1.0)
}
