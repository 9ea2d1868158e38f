package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// exported are the names of all metrics, and what they are.
func exported(t *testing.T) map[string]reading {
	t.Helper()
	all := map[string]reading{
		"litefs_heartbeat_latency_ms":       {labels: []string{"peer"}, kind: histogram},
		"litefence_fence_transitions_total": {labels: []string{"reason"}, kind: counter},
		"litefence_recoveries_total":        {labels: []string{"result"}, kind: counter},
	}
	m := newMetrics(prometheus.NewRegistry())
	m.heartbeat("n2", 1)
	families, err := m.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "lite") {
			r, ok := all[f.GetName()]
			require.True(t, ok, f.GetName())
			r.name, r.help = f.GetName(), f.GetHelp()
			all[r.name] = r
		}
	}
	for _, r := range readings {
		require.NotContains(t, all, r.name)
		all[r.name] = r
	}
	for name, r := range all {
		require.NotEmpty(t, r.help, name)
	}
	return all
}

var metricName = regexp.MustCompile(`\blite(?:fs|fence)_[a-z0-9_]+`)

// Every metric that alerts and dashboard name is one that the daemon exports, and
// they use all four of the split-brain analysis.
func TestDeployedNamesAreExported(t *testing.T) {
	all := exported(t)
	for _, path := range []string{"prometheus/alerts.yml", "grafana/litefence.json"} {
		text, err := os.ReadFile(filepath.Join("../../deploy", path))
		require.NoError(t, err)
		used := map[string]bool{}
		for _, name := range metricName.FindAllString(string(text), -1) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if b := strings.TrimSuffix(name, suffix); all[b].kind == histogram {
					base = b
				}
			}
			require.Contains(t, all, base, "%s names %s", path, name)
			if base != name {
				used[base] = true
				continue
			}
			require.NotEqual(t, histogram, all[name].kind, "%s: %s is a histogram: _bucket, _sum or _count", path, name)
			used[name] = true
		}
		require.Greater(t, len(used), 10, path)
		for _, name := range []string{"litefs_split_brain_detected", "litefs_quorum_lost"} {
			require.True(t, used[name], "%s does not use %s", path, name)
		}
	}
}

// The dashboard is JSON that Grafana takes: ids are unique, panels do not lie
// over each other, and each query has a data source that can be chosen.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana/litefence.json")
	require.NoError(t, err)
	var d struct {
		Title, UID    string
		SchemaVersion int
		Panels        []struct {
			ID          int
			Title, Type string
			Description string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				RefID, Expr string
				Datasource  struct{ Type, UID string }
			}
		}
		Templating struct {
			List []struct{ Name string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &d))
	require.Equal(t, "litefence", d.UID)
	require.Greater(t, len(d.Panels), 10)
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], p.Title)
		ids[p.ID] = true
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, taken[at], "%s lies over it", p.Title)
				taken[at] = p.Title
			}
		}
		for _, q := range p.Targets {
			require.Equal(t, "${datasource}", q.Datasource.UID)
			require.NotEmpty(t, q.Expr)
		}
	}
}

// docs/metrics.md has every metric, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if os.IsNotExist(err) {
		t.Skip("no docs/metrics.md yet")
	}
	require.NoError(t, err)
	all := exported(t)
	for name := range all {
		require.Contains(t, string(text), "| `"+name+"` |", "docs/metrics.md has no line for %s", name)
	}
	for _, name := range metricName.FindAllString(string(text), -1) {
		require.Contains(t, all, name, "docs/metrics.md")
	}
}

// The runbook has a section for every alert, where there is one.
func TestAlertsAreInTheRunbook(t *testing.T) {
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if os.IsNotExist(err) {
		t.Skip("no docs/runbook.md yet")
	}
	require.NoError(t, err)
	alerts, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	require.NoError(t, err)
	anchor := regexp.MustCompile(`runbook\.md#([a-z_]+)`)
	found := anchor.FindAllStringSubmatch(string(alerts), -1)
	require.NotEmpty(t, found)
	for _, m := range found {
		require.Regexp(t, `(?m)^#+ `+"`?"+m[1]+"`?$", string(runbook), "no section %s", m[1])
	}
}
