package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/workload"
)

const ms = int64(time.Millisecond)

// goodFacts: cut at 1,000 ms, n1 refuses at 1,310, n2 writes from 2,500, heal
// at 21,000.
func goodFacts() facts {
	w := func(id string, start, end int64, err string) workload.Event {
		return workload.Event{Op: "write", ID: id, Start: start * ms, End: end * ms, Err: err}
	}
	return facts{
		old: "n1", cut: 1000 * ms, cutDone: 1010 * ms, heal: 21000 * ms, followed: 21500 * ms,
		events: map[string][]workload.Event{
			"n1": {w("a", 900, 905, ""), w("b", 1100, 1105, ""), w("c", 1305, 1310, "disk I/O error")},
			"n2": {w("d", 1400, 1401, "readonly"), w("e", 2490, 2500, "")},
		},
		reads: map[string][]workload.Event{"n1": {
			{Op: "read", Start: 500 * ms, End: 501 * ms}, {Op: "read", Start: 1500 * ms, End: 1501 * ms},
		}},
		rows:      map[string][]string{"n1": {"a", "e"}, "n2": {"a", "e"}, "n3": {"a", "e"}},
		integrity: map[string]string{"n1": "ok", "n2": "ok", "n3": "ok"},
	}
}

func TestVerdictOfAGoodRun(t *testing.T) {
	v := newVerdict(goodFacts())
	require.Empty(t, v.broken())
	require.Equal(t, 105*ms, v.lastAck)
	require.Equal(t, 310*ms, v.firstRefuse)
	require.Equal(t, 1500*ms, v.writable)
	require.Equal(t, 1, v.refused)
	require.Equal(t, 1, v.reads)
	require.Equal(t, []int{3, 2}, []int{v.acked, v.present})
	require.Equal(t, 1, v.lostLease, "b was acknowledged within the lease; the majority never saw it")
	require.Zero(t, v.lostBefore+v.lostNew+v.inDoubt)

	b, err := json.Marshal(v.shown())
	require.NoError(t, err)
	require.JSONEq(t, `{"old_primary":"n1","last_ack_ms":105,"time_to_fence_ms":310,"writes_refused":1,"stale_acks":0,"late_acks":0,
		"majority_writable_ms":1500,"reads_while_fenced":1,"reads_failed_while_fenced":0,"followed_ms":500,"rows_acknowledged":3,"rows_present":2,
		"lost_of_new_primary":0,"lost_acknowledged_before_cut":0,"lost_acknowledged_within_lease":1,"in_doubt":0,
		"integrity_check":{"n1":"ok","n2":"ok","n3":"ok"}}`, string(b))
}

func TestVerdictSeesBrokenPromises(t *testing.T) {
	write := func(node, id string, start, end int64) func(*facts) {
		return func(f *facts) {
			f.events[node] = append(f.events[node], workload.Event{Op: "write", ID: id, Start: start * ms, End: end * ms})
		}
	}
	for _, tc := range []struct {
		name, want string
		do         func(*facts)
	}{
		{"two writers", "P1 one writer: 1 writes acknowledged on n1 after another", write("n1", "x", 2600, 2601)},
		{"late", "P1 one writer: 1 writes acknowledged on n1 that began later", write("n1", "x", 1311, 1312)},
		{"lost row", "P9 no resurrection: 1 rows", write("n2", "x", 3000, 3001)},
		{"never fenced", "P3 fail closed", func(f *facts) { f.events["n1"] = f.events["n1"][:2] }},
		{"no reads", "P4 reads never stop", func(f *facts) { f.reads = nil }},
		{"no new primary", "P7 bounded outage: no other", func(f *facts) { f.events["n2"] = nil }},
		{"slow", "P7 bounded outage: the majority was writable after 3.20 s", func(f *facts) { f.events["n2"][1].End = 4200 * ms }},
		{"not back", "P7 bounded outage: n1 did not follow", func(f *facts) { f.followed = 0 }},
		{"differ", "the nodes do not hold the same rows", func(f *facts) { f.rows["n3"] = []string{"a"} }},
		{"corrupt", "integrity_check on n3: 2 errors", func(f *facts) { f.integrity["n3"] = "2 errors" }},
		{"exit", "LiteFS on n1 exited with code 99", func(f *facts) { f.exits = []string{"LiteFS on n1 exited with code 99"} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := goodFacts()
			tc.do(&f)
			require.Contains(t, strings.Join(newVerdict(f).broken(), "\n"), tc.want)
		})
	}
}

// A write under way at the cut or at the heal may have been admitted outside
// of the partition; it accuses nobody.
func TestVerdictGivesTheBenefitOfDoubt(t *testing.T) {
	f := goodFacts()
	f.events["n1"] = append(f.events["n1"],
		workload.Event{Op: "write", ID: "a", Start: 2450 * ms, End: 20999 * ms, Err: "disk I/O error"},
		workload.Event{Op: "write", ID: "e", Start: 20999 * ms, End: 21001 * ms})
	v := newVerdict(f)
	require.Zero(t, v.staleAcks+v.lateAcks)
	require.Equal(t, 1, v.inDoubt)
}
