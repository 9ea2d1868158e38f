// Package promrules holds the alerts of deploy/prometheus against Prometheus
// itself: its parser, and its engine over series that should make each fire.
package promrules

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const path = "../../deploy/prometheus/alerts.yml"

func rules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(path, false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.Default())
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	all := map[string]rulefmt.Rule{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if _, twice := all[r.Alert]; twice {
				t.Errorf("%s stands twice", r.Alert)
			}
			all[r.Alert] = r
		}
	}
	return all
}

// Each says who is woken up, what it is about, and where to read on.
func TestAlertsAreComplete(t *testing.T) {
	all := rules(t)
	for name, severity := range map[string]string{"split_brain_detected": "page", "quorum_lost": "page", "heartbeat_timeout": "warning"} {
		if got := all[name].Labels["severity"]; got != severity {
			t.Errorf("%s: severity %q, the analysis has %q", name, got, severity)
		}
	}
	for name, r := range all {
		if s := r.Labels["severity"]; s != "page" && s != "warning" {
			t.Errorf("%s: severity %q", name, s)
		}
		for _, key := range []string{"summary", "description", "runbook_url"} {
			if r.Annotations[key] == "" {
				t.Errorf("%s: no %s", name, key)
			}
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbook.md#"+name) {
			t.Errorf("%s: runbook_url %s", name, r.Annotations["runbook_url"])
		}
	}
}

// good is a cluster in order, for ten minutes: n1 leads and writes, n2 follows.
const good = `
	litefs_split_brain_detected{job="lf",instance="n1"} 0x40
	litefs_split_brain_detected{job="lf",instance="n2"} 0x40
	litefence_fence_transitions_total{job="lf",instance="n1",reason="stale-leader"} 0x40
	litefence_quorum_known{job="lf",instance="n1"} 1x40
	litefence_quorum_known{job="lf",instance="n2"} 1x40
	litefs_quorum_lost{job="lf",instance="n1"} 0x40
	litefence_peer_last_heartbeat_seconds{job="lf",instance="n1",peer="n2"} 0.05x40
	litefence_peer_last_heartbeat_seconds{job="lf",instance="n2",peer="n3"} 100+15x40
	litefence_raft_leader{job="lf",instance="n1"} 1x40
	litefence_raft_leader{job="lf",instance="n2"} 0x40
	litefence_writable{job="lf",instance="n1"} 1x40
	litefence_writable{job="lf",instance="n2"} 0x40
	litefence_no_primary{job="lf",instance="n1"} 0x40
	litefence_state{job="lf",instance="n1",state="healthy"} 1x40
	litefence_state{job="lf",instance="n1",state="failed"} 0x40
	litefence_recoveries_total{job="lf",instance="n1",result="failed"} 0x40
	litefence_commits_in_doubt_total{job="lf",instance="n1"} 0x40
	litefence_lease_remaining_seconds{job="lf",instance="n1"} 0.25x40
	litefence_lease_duration_seconds{job="lf",instance="n1"} 0.3x40
	litefence_lease_remaining_seconds{job="lf",instance="n2"} 0x40
	litefence_lease_duration_seconds{job="lf",instance="n2"} 0.3x40
	litefence_in_step{job="lf",instance="n2"} 1x40
	litefence_health{job="lf",instance="n2",status="healthy"} 1x40
	litefence_health{job="lf",instance="n2",status="unhealthy"} 0x40
	litefence_mounted{job="lf",instance="n2"} 1x40
	litefence_certificate_expiry_timestamp_seconds{job="lf",instance="n2"} 100000000x40
	litefence_enforcing{job="lf",instance="n2"} 1x40
`

// bad is, for each alert, what replaces series of good. "-" takes one away.
var bad = map[string][]string{
	"split_brain_detected": {
		`litefs_split_brain_detected{job="lf",instance="n1"} 1x40`,
		`litefence_fence_transitions_total{job="lf",instance="n1",reason="stale-leader"} 0x30 1x10`, // over before the next scrape
	},
	"quorum_lost": {
		`litefence_quorum_known{job="lf",instance="n2"} 0x40`,
		`litefs_quorum_lost{job="lf",instance="n1"} 0+1x40`,
	},
	"heartbeat_timeout": {
		`litefence_peer_last_heartbeat_seconds{job="lf",instance="n1",peer="n2"} 0+15x40`,
		`litefence_peer_last_heartbeat_seconds{job="lf",instance="n1",peer="n2"} ` + strings.Repeat("Inf ", 41), // never heard
	},
	"no_writer": {`litefence_writable{job="lf",instance="n1"} 0x40`},
	"two_writers": {`litefence_writable{job="lf",instance="n2"} 1x40
	litefence_lease_remaining_seconds{job="lf",instance="n2"} 0.25x40`},
	"operator_needed": {`litefence_no_primary{job="lf",instance="n1"} 1x40`},
	"recovery_failed": {
		`litefence_state{job="lf",instance="n1",state="failed"} 1x40`,
		`litefence_recoveries_total{job="lf",instance="n1",result="failed"} 0x30 1x10`,
	},
	"commit_in_doubt":   {`litefence_commits_in_doubt_total{job="lf",instance="n1"} 0x30 2x10`},
	"lease_running_out": {`litefence_lease_remaining_seconds{job="lf",instance="n1"} 0.1x40`},
	"node_out_of_step":  {`litefence_in_step{job="lf",instance="n2"} 0x40`},
	"node_unhealthy":    {`litefence_health{job="lf",instance="n2",status="unhealthy"} 1x40`},
	"lower_gone":        {`litefence_mounted{job="lf",instance="n2"} 0x40`},
	"certificate_expiring": {
		`litefence_certificate_expiry_timestamp_seconds{job="lf",instance="n2"} 700000x40`,
		`litefence_certificate_expiry_timestamp_seconds{job="lf",instance="n2"} 1x40`, // expired
	},
	"not_enforcing": {`litefence_enforcing{job="lf",instance="n2"} 0x40`},
}

// with is good with some series replaced.
func with(series string) string {
	out := good
	for _, s := range strings.Split(series, "\n") {
		s = strings.TrimSpace(s)
		name, _, _ := strings.Cut(s, " ")
		var lines []string
		for _, l := range strings.Split(out, "\n") {
			if had, _, _ := strings.Cut(strings.TrimSpace(l), " "); had == name {
				l = "\t" + s
			}
			lines = append(lines, l)
		}
		out = strings.Join(lines, "\n")
	}
	return out
}

// firing evaluates every alert at the end of the ten minutes.
func firing(t *testing.T, all map[string]rulefmt.Rule, series string) (names []string) {
	t.Helper()
	st := promqltest.LoadedStorage(t, "load 15s\n\t"+strings.TrimSpace(series)+"\n")
	defer st.Close()
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, promqltest.DefaultMaxSamplesPerQuery)
	for name, r := range all {
		q, err := engine.NewInstantQuery(context.Background(), st, nil, r.Expr, time.Unix(0, 0).Add(10*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		res := q.Exec(context.Background())
		if res.Err != nil {
			t.Fatal(name, res.Err)
		}
		if v, err := res.Vector(); err != nil {
			t.Fatal(name, err)
		} else if len(v) > 0 {
			names = append(names, name)
		}
		q.Close()
	}
	sort.Strings(names)
	return names
}

// On a good cluster nothing fires; each alert does on what it is for, and no
// other one does.
func TestAlertsFire(t *testing.T) {
	all := rules(t)
	if got := firing(t, all, good); len(got) > 0 {
		t.Errorf("on a good cluster: %v", got)
	}
	for name := range all {
		if len(bad[name]) == 0 {
			t.Errorf("%s is never seen to fire", name)
		}
	}
	for name, series := range bad {
		for _, s := range series {
			t.Run(fmt.Sprintf("%s/%.80s", name, s), func(t *testing.T) {
				if with(s) == good {
					t.Fatal("this replaces nothing")
				}
				if got := fmt.Sprint(firing(t, all, with(s))); got != fmt.Sprint([]string{name}) {
					t.Errorf("fires: %v", got)
				}
			})
		}
	}
}

// Where promtool is installed, it has its say too.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool in PATH")
	}
	if out, err := exec.Command(tool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
