package test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// roles is the history of a cluster whose role moves, and what must be true of
// it.
type roles struct {
	mode   string
	events []nodeEvent
	fenced []interval      // fenced by hand: the command had returned, and the fence was not lifted yet
	kept   map[string]bool // rows that every node has had at one time

	acked, refused, doubts, reads, busy int
}

type nodeEvent struct {
	node string
	workload.Event
}

type interval struct {
	node       string
	start, end int64
}

func (r *roles) add(a *cluster.App, events []workload.Event) {
	for _, e := range events {
		r.events = append(r.events, nodeEvent{a.Node.Name, e})
	}
}

// keep remembers what all nodes have.
func (r *roles) keep(all []map[string]bool) {
	if r.kept == nil {
		r.kept = map[string]bool{}
	}
next:
	for id := range all[0] {
		for _, have := range all[1:] {
			if !have[id] {
				continue next
			}
		}
		r.kept[id] = true
	}
}

const (
	busyCode, ioErrCode, cantOpenCode = 5, 10, 14
	ioErrWrite                        = 10 | 3<<8
	ioErrDelete                       = 10 | 10<<8
)

// wasRefused reports a single INSERT that certainly did not commit: it failed
// while its node was fenced by hand, or by a lock, at the journal, or in DELETE
// mode by a write, which comes before the unlink that commits.
func (r *roles) wasRefused(e nodeEvent) bool {
	code := workload.CodeOf(e.Err)
	return r.whileFenced(e) || code&0xff == busyCode || code&0xff == cantOpenCode || r.mode == "delete" && code == ioErrWrite
}

func (r *roles) whileFenced(e nodeEvent) bool {
	for _, f := range r.fenced {
		if f.node == e.node && f.start <= e.Start && e.End <= f.end {
			return true
		}
	}
	return false
}

// check compares the events with the rows at the end. lost are acknowledged
// rows that are not there, which is no more than LiteFS promises.
func (r *roles) check(have map[string]bool) (problems, lost []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for id := range r.kept {
		if !have[id] {
			say("%s: every node had it, and it is gone", id)
		}
	}
	for _, e := range r.events {
		switch {
		case e.Op == "read":
			r.checkRead(e, say)
		case e.Op == "write" && e.OK():
			r.acked++
			if r.whileFenced(e) {
				say("%s: acknowledged on %s while it was fenced", e.ID, e.node)
			}
			if !have[e.ID] {
				lost = append(lost, e.ID)
			}
		case e.Op == "write":
			r.checkRefusal(e, have[e.ID], say)
		}
	}
	return problems, lost
}

func (r *roles) checkRefusal(e nodeEvent, there bool, say func(string, ...any)) {
	if code := workload.CodeOf(e.Err); code&0xff != busyCode && code&0xff != cantOpenCode && code&0xff != ioErrCode {
		say("%s: an error that no writer may get: %s", e.ID, e.Err)
	}
	if !r.wasRefused(e) {
		r.doubts++
		return
	}
	r.refused++
	if there {
		say("%s: refused on %s (%s), and there", e.ID, e.node, e.Err)
	}
}

// checkRead: BUSY, counted; IOERR where the change of role cut it off or the
// fence came into the rollback of a dead writer's journal, counted with it.
func (r *roles) checkRead(e nodeEvent, say func(string, ...any)) {
	r.reads++
	if e.OK() {
		return
	}
	r.busy++
	if code := workload.CodeOf(e.Err); code&0xff != busyCode && code&0xff != ioErrCode {
		say("an error that no reader may get, on %s: %s", e.node, e.Err)
	}
}

func TestRolesCheckerDetects(t *testing.T) {
	event := func(op, id, err string, start, end int64) nodeEvent {
		return nodeEvent{"n1", workload.Event{Op: op, ID: id, Err: err, Start: start, End: end}}
	}
	fresh := func() (*roles, map[string]bool) {
		return &roles{mode: "wal", fenced: []interval{{"n1", 100, 200}, {"n2", 0, 1000}}, events: []nodeEvent{
			event("write", "a", "", 10, 20),
			event("write", "b", "disk I/O error (778)", 110, 120),
			event("write", "c", "disk I/O error (778)", 90, 120),
			event("write", "d", "database is locked (5) (SQLITE_BUSY)", 300, 310),
			event("read", "", "database is locked (5)", 300, 310),
		}}, map[string]bool{"a": true, "k": true}
	}
	r, have := fresh()
	r.keep([]map[string]bool{{"a": true, "k": true, "x": true}, {"k": true, "a": true}})
	problems, lost := r.check(have)
	require.Empty(t, problems)
	require.Empty(t, lost)
	require.Equal(t, []int{1, 2, 1, 1, 1}, []int{r.acked, r.refused, r.doubts, r.reads, r.busy})
	for want, plant := range map[string]func(r *roles, have map[string]bool){
		"every node had it":                  func(r *roles, have map[string]bool) { r.kept = map[string]bool{"y": true} },
		"a: acknowledged on n1 while":        func(r *roles, have map[string]bool) { r.events[0].Start, r.events[0].End = 110, 120 },
		"b: refused on n1":                   func(r *roles, have map[string]bool) { have["b"] = true },
		"d: refused on n1":                   func(r *roles, have map[string]bool) { have["d"] = true },
		"c: an error that no writer may get": func(r *roles, have map[string]bool) { r.events[2].Err = "database disk image is malformed (11)" },
		"no reader may get, on n1":           func(r *roles, have map[string]bool) { r.events[4].Err = "database disk image is malformed (11)" },
	} {
		r, have := fresh()
		plant(r, have)
		problems, _ := r.check(have)
		require.Len(t, problems, 1, want)
		require.Contains(t, problems[0], want)
	}
	r, have = fresh()
	delete(have, "a")
	_, lost = r.check(have)
	require.Equal(t, []string{"a"}, lost)
}
