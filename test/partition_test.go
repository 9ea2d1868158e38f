package test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

const (
	lease = 300 * time.Millisecond // default
	// outage is P7's 3 s and slack: two cores carry three nodes, their
	// applications and the race detector.
	outage = 6 * time.Second
)

// TestPartition is the main scenario: the primary is cut off in silence, and
// leadership is moved straight back after it has healed; with LONG=1 three times.
func TestPartition(t *testing.T) {
	c := start(t, cluster.Options{})
	createDB(t, c, writable(t, c.Nodes...), "wal")
	kept := map[string]bool{} // rows that no later round may lose
	rounds := 1
	if os.Getenv("LONG") != "" {
		rounds = 3
	}
	for i := range rounds {
		round(t, c, i+1, kept)
	}
}

func round(t *testing.T, c *cluster.Cluster, i int, kept map[string]bool) {
	old := writable(t, c.Nodes...)
	writers := startWriters(t, c, fmt.Sprintf("r%d", i))
	reader, err := old.StartApp("read", appDB(old), nil)
	require.NoError(t, err)
	eventually(t, "rows on the primary", atLeast(writers[old], 50))

	cut := workload.Now()
	require.NoError(t, old.Isolate())
	cutDone := workload.Now()
	var next *cluster.Node
	eventually(t, "another node acknowledges", func() error {
		for _, n := range c.Others(old) {
			if len(ackedAfter(writers[n], cut)) >= 50 {
				next = n
				return nil
			}
		}
		return fmt.Errorf("nobody but %s has acknowledged 50 rows since the cut", old.Name)
	})
	status, err := old.Status()
	require.NoError(t, err)
	require.True(t, status.Fenced, "the old primary is fenced")
	heal := workload.Now()
	require.NoError(t, old.Heal())
	eventually(t, "the old primary follows", func() error { return isReplica(old) })
	for _, w := range writers {
		_, err := w.Finish()
		require.NoError(t, err)
	}
	reads, err := reader.Finish()
	require.NoError(t, err)
	allInStep(t, c)

	first := ackedAfter(writers[next], cut)[0]
	t.Logf("round %d: %s cut off, %s writable after %v", i, old.Name, next.Name, time.Duration(first.End-cut).Round(time.Millisecond))
	require.Less(t, time.Duration(first.End-cut), outage)
	requireFenced(t, writers[old], cutDone, first, heal)
	requireReads(t, reads, cutDone, heal)
	for _, e := range ackedAfter(writers[next], cut) {
		kept[e.ID] = true
	}

	moveTo(t, c, old)
	insert(t, old, fmt.Sprintf("back-%d", i))
	kept[fmt.Sprintf("back-%d", i)] = true
	allInStep(t, c)
	for _, n := range c.Nodes {
		requireRows(t, n, kept)
	}
	integrity(t, c.Nodes...)
}

func startWriters(t *testing.T, c *cluster.Cluster, name string) map[*cluster.Node]*cluster.App {
	t.Helper()
	writers := map[*cluster.Node]*cluster.App{}
	for _, n := range c.Nodes {
		w, err := n.StartApp("write", appDB(n), nil, "-name", name+"-"+n.Name)
		require.NoError(t, err)
		writers[n] = w
	}
	return writers
}

func atLeast(a *cluster.App, n int) func() error {
	return func() error {
		if got := len(a.Acked()); got < n {
			return fmt.Errorf("%s: %d operations acknowledged", a.Name, got)
		}
		return nil
	}
}

func ackedAfter(a *cluster.App, at int64) (out []workload.Event) {
	for _, e := range a.Acked() {
		if e.Start > at {
			out = append(out, e)
		}
	}
	return out
}

func isReplica(n *cluster.Node) error {
	s, err := n.Status()
	if err == nil && (s.Role != "replica" || s.Leader == "" || s.StaleLeadership) {
		err = fmt.Errorf("%s is %s (%s), leader %q", n.Name, s.Role, s.Reason, s.Leader)
	}
	return err
}

// requireFenced accuses only beyond doubt: by what began after the lease must
// have ended, or after another node had answered a write.
func requireFenced(t *testing.T, old *cluster.App, cutDone int64, first workload.Event, heal int64) {
	t.Helper()
	refused := 0
	for _, e := range old.Events() {
		if e.Op != "write" || e.Start < cutDone || e.End > heal {
			continue
		}
		if !e.OK() {
			refused++
			continue
		}
		require.LessOrEqual(t, e.Start, cutDone+lease.Nanoseconds(), "%s was acknowledged after the lease", e.ID)
		require.LessOrEqual(t, e.Start, first.End, "%s was acknowledged after another node was writable", e.ID)
	}
	require.Positive(t, refused, "the old primary refused writes")
}

func requireReads(t *testing.T, reads []workload.Event, from, to int64) {
	t.Helper()
	ok := 0
	for _, e := range reads {
		if e.Op == "read" && e.Start > from && e.End < to {
			require.Empty(t, e.Err, "a read on the fenced node")
			ok++
		}
	}
	require.Positive(t, ok, "the fenced node served reads")
}

func requireRows(t *testing.T, n *cluster.Node, want map[string]bool) {
	t.Helper()
	got := rowsOf(t, n)
	for id := range want {
		require.True(t, got[id], "row %s is missing on %s", id, n.Name)
	}
}

// TestPartitionOneWay: a leader whose packets leave but to whom nothing comes
// back must not keep its lease. Over TLS, as in production.
func TestPartitionOneWay(t *testing.T) {
	long(t) // rounds of torture have it
	for name, cut := range map[string]func(*cluster.Node) error{
		"receives nothing": (*cluster.Node).IsolateIn,
		"sends nothing":    (*cluster.Node).IsolateOut,
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, cluster.Options{TLS: true})
			old := writable(t, c.Nodes...)
			createDB(t, c, old, "delete")
			require.NoError(t, cut(old))
			next := writable(t, c.Others(old)...)
			s, err := old.Status()
			require.NoError(t, err)
			require.True(t, s.Fenced)
			insert(t, next, "after")
			require.NoError(t, old.Heal())
			allInStep(t, c)
			require.True(t, rowsOf(t, old)["after"])
			integrity(t, c.Nodes...)
		})
	}
}
