package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litefence/litefence/fusefs"
	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

// maxLabelled bounds how many databases, and how many peers, get a time series
// of their own: their names come from outside.
const maxLabelled = 100

// scraped are the metrics that are read when somebody asks.
type scraped struct {
	d     *daemon
	descs map[string]*prometheus.Desc
	kinds map[string]prometheus.ValueType
}

// reading is a metric of scraped. Names are documented in docs/metrics.md.
type reading struct {
	name   string
	kind   prometheus.ValueType
	help   string
	labels []string
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
	// histograms have no value of their own
	histogram = prometheus.UntypedValue
)

var readings = []reading{
	{"litefs_split_brain_detected", gauge, "1 while this node is a stale leader: elected, but no majority vouches for it.", nil},
	{"litefs_quorum_lost", counter, "How often this node knew a majority and then none any more: its lease ran out, or its leader fell silent.", nil},
	{"litefs_node_fenced", gauge, "1 while writes are refused on this node; a healthy replica is fenced too.", nil},

	{"litefence_writable", gauge, "1 while a write would be admitted on this node.", nil},
	{"litefence_quorum_known", gauge, "1 while this node knows a majority: by its own lease, or by the leader that it follows.", nil},
	{"litefence_lease_remaining_seconds", gauge, "What is left of this node's lease; 0 on all but the leader.", nil},
	{"litefence_lease_duration_seconds", gauge, "A whole lease, as configured.", nil},
	{"litefence_raft_term", gauge, "Raft's term.", nil},
	{"litefence_raft_leader", gauge, "1 on raft's leader.", nil},
	{"litefence_litefs_primary", gauge, "1 where LiteFS is primary.", nil},
	{"litefence_litefs_position", gauge, "Transaction that a database stands at (TXID).", []string{"db"}},
	{"litefence_databases", gauge, "Databases that LiteFS has; beyond 100 they get no series of their own.", nil},
	{"litefence_in_step", gauge, "1 where this node's data follows the newest primary; else it cannot become primary itself.", nil},
	{"litefence_no_primary", gauge, "1 while the leader finds no node that may become primary, or an operator is asked for.", nil},
	{"litefence_state", gauge, "The state of the split-brain analysis that this node is in: 1 for one of healthy, split_brain_detected, resolved, failed.", []string{"state"}},
	{"litefence_health", gauge, "This node's own health: 1 for one of healthy, degraded, unhealthy.", []string{"status"}},
	{"litefence_witness", gauge, "1 on a witness: a voter without data and mount.", nil},
	{"litefence_member", gauge, "1 where this node is a voter of the cluster.", nil},
	{"litefence_peer_last_heartbeat_seconds", gauge, "Age of the newest sign of life of a peer in raft; +Inf = never. Followers hear of their leader only.", []string{"peer"}},
	{"litefence_peer_answers", gauge, "1 where a peer answered when it was last asked for its state.", []string{"peer"}},
	{"litefence_peer_lag_transactions", gauge, "Transactions that a peer is behind this node.", []string{"peer"}},
	{"litefence_refused_peers", gauge, "Peers that were turned away at the port and are remembered.", nil},
	{"litefence_certificate_expiry_timestamp_seconds", gauge, "When this node's certificate expires; absent without TLS.", nil},
	{"litefence_event_watchers", gauge, "Clients of /v1/events.", nil},
	{"litefence_event_watchers_dropped_total", counter, "Clients of /v1/events that read too slowly and were dropped.", nil},
	{"litefence_build_info", gauge, "1, with what this is.", []string{"version", "goversion", "node"}},

	{"litefence_mounted", gauge, "1 while the fenced mount is there and LiteFS below it.", nil},
	{"litefence_enforcing", gauge, "0 with fence.enforce: false: nothing is refused.", nil},
	{"litefence_writes_total", counter, "Writes at the gate by result; refused ones with fence.enforce: false would have been.", []string{"result", "kind"}},
	{"litefence_writes_in_flight", gauge, "Admitted writes that LiteFS has not answered yet.", nil},
	{"litefence_commits_in_doubt_total", counter, "Commits that LiteFS carried out, but the lease was lost meanwhile, or they were not confirmed: the application got an error.", nil},
	{"litefence_commit_wait_seconds", histogram, "How long a commit waited to be confirmed (quorum.confirm).", nil},
	{"litefence_transactions_cut_total", counter, "Transactions that a fence or a change of role cut off: write, read.", []string{"of"}},
	{"litefence_fence_drain_seconds", histogram, "How long a fence waited for writes in flight.", nil},
	{"litefence_fuse_op_duration_seconds", histogram, "How long an operation on the mount took, waiting for locks included. Of frequent ones one in sixteen is timed, picked at random, and counts for all.", []string{"op"}},
	{"litefence_cache_invalidations_total", counter, "Times the cached pages of a database were dropped.", nil},
	{"litefence_locks_held", gauge, "Lock slots held in LiteFS for applications, all databases.", nil},
	{"litefence_journal_repairs_total", counter, "Journals of cut-off transactions rolled back through LiteFS: done, failed (tried again).", []string{"result"}},
}

func newScraped(d *daemon) *scraped {
	s := &scraped{d: d, descs: map[string]*prometheus.Desc{}, kinds: map[string]prometheus.ValueType{}}
	for _, r := range readings {
		s.descs[r.name] = prometheus.NewDesc(r.name, r.help, r.labels, nil)
		s.kinds[r.name] = r.kind
	}
	return s
}

// Describe implements prometheus.Collector.
func (s *scraped) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *scraped) Collect(ch chan<- prometheus.Metric) {
	s.collect(ch, s.d.status(context.Background()))
}

func (s *scraped) collect(ch chan<- prometheus.Metric, st statusReply) {
	put := func(name string, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(s.descs[name], s.kinds[name], v, labels...)
	}
	s.node(st, put)
	s.peers(st, put)
	if st.Witness {
		return
	}
	s.databases(st.Positions, put)
	s.mount(st, put)
	times := func(name string, t fusefs.Times, labels ...string) {
		ch <- prometheus.MustNewConstHistogram(s.descs[name], t.Count, t.Sum.Seconds(), t.Buckets, labels...)
	}
	times("litefence_fence_drain_seconds", s.d.gate.DrainTimes())
	s.d.withMount(func(f *fusefs.FS) {
		times("litefence_commit_wait_seconds", f.CommitWaits())
		for op, t := range f.OpTimes() {
			times("litefence_fuse_op_duration_seconds", t, op)
		}
	})
}

// putter takes the value of one metric.
type putter func(name string, v float64, labels ...string)

func (s *scraped) node(st statusReply, put putter) {
	put("litefs_split_brain_detected", truth(splitBrain(st)))
	put("litefs_quorum_lost", float64(st.QuorumLost))
	put("litefs_node_fenced", truth(st.Fenced))
	put("litefence_writable", truth(st.Writable))
	put("litefence_quorum_known", truth(st.HasQuorum || st.FollowsLeader))
	put("litefence_lease_remaining_seconds", float64(st.LeaseLeftMS)/1000)
	put("litefence_lease_duration_seconds", float64(st.LeaseMS)/1000)
	put("litefence_raft_term", float64(st.Term))
	put("litefence_raft_leader", truth(st.IsLeader))
	put("litefence_litefs_primary", truth(st.Role == policy.RolePrimary.String()))
	put("litefence_in_step", truth(st.Witness || st.InStep || st.Open == 0))
	put("litefence_no_primary", truth(st.Problem != ""))
	for _, state := range []quorum.State{quorum.StateHealthy, quorum.StateSplitBrain, quorum.StateResolved, quorum.StateFailed} {
		put("litefence_state", truth(st.State == state), string(state))
	}
	for _, h := range []policy.Health{policy.Healthy, policy.Degraded, policy.Unhealthy} {
		put("litefence_health", truth(st.HealthStatus == h), string(h))
	}
	put("litefence_witness", truth(st.Witness))
	put("litefence_member", truth(st.Member == "voter"))
	put("litefence_refused_peers", float64(len(st.Refused)))
	if st.Expires != nil {
		put("litefence_certificate_expiry_timestamp_seconds", float64(st.Expires.Unix()))
	}
	watching, dropped, _ := s.d.events.count()
	put("litefence_event_watchers", float64(watching))
	put("litefence_event_watchers_dropped_total", float64(dropped))
	put("litefence_build_info", 1, label(st.Version), runtime.Version(), label(st.Node))
}

func (s *scraped) peers(st statusReply, put putter) {
	for _, p := range st.Peers[:min(len(st.Peers), maxLabelled)] {
		age := math.Inf(1)
		if sec := st.LastHeartbeatFrom[p.Node]; sec != nil {
			age = *sec
		}
		put("litefence_peer_last_heartbeat_seconds", age, label(p.Node))
		put("litefence_peer_answers", truth(p.Answers), label(p.Node))
		if p.Answers && !p.Witness {
			put("litefence_peer_lag_transactions", float64(p.Lag), label(p.Node))
		}
	}
}

func (s *scraped) databases(pos policy.Positions, put putter) {
	put("litefence_databases", float64(len(pos)))
	said := map[string]bool{}
	for _, db := range sortedKeys(pos) {
		if name := label(db); len(said) < maxLabelled && !said[name] {
			said[name] = true
			put("litefence_litefs_position", float64(pos[db].TXID), name)
		}
	}
}

func (s *scraped) mount(st statusReply, put putter) {
	w := st.Writes
	put("litefence_mounted", truth(st.Mounted && !st.LowerGone))
	put("litefence_enforcing", truth(st.Enforce))
	for result, by := range map[string]map[string]uint64{"admitted": w.Admitted, "refused": w.Refused, "suspended": w.Suspended} {
		for _, k := range []fusefs.Kind{fusefs.KindDatabase, fusefs.KindJournal, fusefs.KindWAL} {
			put("litefence_writes_total", float64(by[k.String()]), result, k.String())
			delete(by, k.String())
		}
		for kind, n := range by {
			put("litefence_writes_total", float64(n), result, kind)
		}
	}
	put("litefence_writes_in_flight", float64(w.Inflight))
	put("litefence_commits_in_doubt_total", float64(w.InDoubt))
	put("litefence_transactions_cut_total", float64(w.Poisoned), "write")
	put("litefence_transactions_cut_total", float64(w.CutReaders), "read")
	put("litefence_cache_invalidations_total", float64(w.Dropped))
	put("litefence_locks_held", float64(w.LocksHeld))
	put("litefence_journal_repairs_total", float64(w.Repairs), "done")
	put("litefence_journal_repairs_total", float64(w.RepairErrs), "failed")
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// label makes a name fit for a label: a file name can be any bytes, a label is
// UTF-8, and one that is not would spoil the whole answer.
func label(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) > 128 {
		s = fmt.Sprintf("%s...", strings.ToValidUTF8(s[:125], ""))
	}
	return s
}
