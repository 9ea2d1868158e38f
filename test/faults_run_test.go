package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// outcome is what one fault did, as the applications saw it.
type outcome struct {
	fault, timing string
	moved         bool          // another node took over
	fence         time.Duration // from the fault to the last write acknowledged on the old primary
	elsewhere     time.Duration // from the fault to the first write acknowledged on another node
	outage        time.Duration // the longest time without any acknowledged write
	stale         int           // acknowledged on the old primary after the first one elsewhere
	refused       int           // writes refused there meanwhile
	reads, failed int           // on the old primary, begun and ended during the fault
	lost          int           // acknowledged before another node wrote, and not there in the end
	back          time.Duration // from the end of the fault until every node is in step
}

// a befallen cluster, with what is written down while it lasts.
type befallen struct {
	t       *testing.T
	c       *cluster.Cluster
	old     *cluster.Node
	writers map[*cluster.Node]*cluster.App
	reader  *cluster.App
	said    *cluster.Watch

	begin, began, end int64
}

func befall(t *testing.T, c *cluster.Cluster, f fault, at timing, name string) outcome {
	allInStep(t, c)
	b := &befallen{t: t, c: c, old: writable(t, c.Nodes...), said: c.Watch()}
	defer b.said.Stop()
	b.writers = startWriters(t, c, name)
	var err error
	b.reader, err = b.old.StartApp("read", appDB(b.old), nil)
	require.NoError(t, err)
	eventually(t, "rows on the primary", atLeast(b.writers[b.old], 50))

	b.begin = workload.Now()
	require.NoError(t, f.begin(b.old))
	b.began = workload.Now()
	if f.hold > 0 {
		time.Sleep(f.hold) // the fault itself
	}
	if !f.stays {
		eventually(t, "another node takes over", b.takenOver)
	}
	require.NoError(t, b.truthful(f))
	b.end = workload.Now()
	require.NoError(t, f.end(b.old))
	eventually(t, "somebody acknowledges again", func() error {
		for _, w := range b.writers {
			if len(ackedAfter(w, b.end)) >= 20 {
				return nil
			}
		}
		return fmt.Errorf("nobody has acknowledged 20 rows since the end of the fault")
	})
	eventually(t, "every node may become primary again", func() error {
		now, err := writableNow(c)
		if err != nil {
			return err
		}
		return marked(now, c)
	})
	back := time.Duration(workload.Now() - b.end)
	o := b.finish()
	o.back = back
	o.fault, o.timing = f.name, at.name
	t.Logf("%+v", o)
	require.Zero(t, o.stale, "acknowledged on the old primary after another node wrote")
	require.True(t, o.moved || f.stays)
	return o
}

func (b *befallen) takenOver() error {
	for _, n := range b.c.Others(b.old) {
		if len(ackedAfter(b.writers[n], b.began)) >= 20 {
			return nil
		}
	}
	return fmt.Errorf("nobody but %s has acknowledged 20 rows", b.old.Name)
}

// finish stops the applications and reads from what they reported.
func (b *befallen) finish() (o outcome) {
	t := b.t
	var all, next []workload.Event
	for n, w := range b.writers {
		_, err := w.Finish()
		require.NoError(t, err)
		all = append(all, w.Acked()...)
		if n != b.old {
			next = append(next, ackedAfter(w, b.begin)...)
		}
	}
	reads, err := b.reader.Finish()
	require.NoError(t, err)
	allInStep(t, b.c)
	byEnd := func(x, y workload.Event) int { return int(x.End - y.End) }
	slices.SortFunc(all, byEnd)
	slices.SortFunc(next, byEnd)
	first := int64(1<<63 - 1)
	if o.moved = len(next) > 0; o.moved {
		first = next[0].End
		o.elsewhere = time.Duration(first - b.begin)
	}
	said := b.said.Statements()
	for _, e := range b.writers[b.old].Events() {
		switch {
		case e.Op != "write" || e.Start < b.begin:
		case !e.OK():
			o.refused++
		case e.Start > first && fencedAt(said, b.old, e.End):
			o.stale++
		case e.Start < first:
			o.fence = max(o.fence, time.Duration(e.End-b.begin))
		}
	}
	for i := 1; i < len(all); i++ {
		if all[i].End > b.begin {
			o.outage = max(o.outage, time.Duration(all[i].End-all[i-1].End))
		}
	}
	for _, e := range reads {
		if e.Op == "read" && e.Start > b.began && e.End < b.end {
			o.reads++
			if !e.OK() {
				o.failed++
			}
		}
	}
	o.lost = b.lost(all, first)
	return o
}

// lost counts the acknowledged rows that are not there. Only what was
// acknowledged before another node wrote may be among them: LiteFS replicates
// after the commit.
func (b *befallen) lost(all []workload.Event, first int64) (n int) {
	rows := rowsOf(b.t, b.c.Nodes[0])
	for _, other := range b.c.Nodes[1:] {
		require.Equal(b.t, rows, rowsOf(b.t, other), "%s and %s have the same rows", b.c.Nodes[0].Name, other.Name)
	}
	for _, e := range all {
		if !rows[e.ID] {
			require.Less(b.t, e.Start, first, "%s was acknowledged by the new primary's time and is not there", e.ID)
			n++
		}
	}
	return n
}

// fencedAt reports whether n's last word before at was that it is fenced.
func fencedAt(said []cluster.Statement, n *cluster.Node, at int64) bool {
	fenced := true
	for _, x := range said {
		if x.Of == n && x.To < at {
			fenced = x.Status.Fenced
		}
	}
	return fenced
}

// truthful asks every node, once another one has taken over: who leads, in
// which term, how much lease is left, and why a node is fenced.
func (b *befallen) truthful(f fault) error {
	if b.takenOver() != nil {
		return nil
	}
	return cluster.WaitFor(deadline(b.t), func() error {
		var leader cluster.Status
		for _, n := range b.c.Others(b.old) {
			if s, err := n.Status(); err == nil && s.Writable {
				leader = s
			}
		}
		switch {
		case !leader.IsLeader || leader.Leader != leader.Node || !leader.HasQuorum || leader.Role != "primary":
			return fmt.Errorf("the writable node says %+v", leader)
		case leader.LeaseLeftMS <= 0 || leader.Reason != "":
			return fmt.Errorf("%s has %d ms of lease left, reason %q", leader.Node, leader.LeaseLeftMS, leader.Reason)
		}
		for _, n := range b.c.Others(b.old) {
			if s, err := n.Status(); err == nil && s.Node != leader.Node {
				if err := follower(s, leader); err != nil {
					return err
				}
			}
		}
		// The old primary may be dead or stopped; if it answers, then the truth.
		s, err := b.old.Status()
		switch {
		case err != nil:
			return nil
		case !s.Fenced || s.Writable || s.HasQuorum || s.Reason == "" || s.LeaseLeftMS != 0:
			return fmt.Errorf("the old primary says %+v", s)
		case s.Leader == leader.Leader && s.Term != leader.Term:
			return fmt.Errorf("%s follows %s in term %d, which leads in term %d", s.Node, s.Leader, s.Term, leader.Term)
		}
		return nil
	})
}

func follower(s, leader cluster.Status) error {
	if !s.Fenced || s.Writable || s.Leader != leader.Node || s.Term != leader.Term || s.Reason != "replica" || s.IsLeader || s.StaleLeadership {
		return fmt.Errorf("%s leads in term %d, but %s says %+v", leader.Node, leader.Term, s.Node, s)
	}
	return nil
}
