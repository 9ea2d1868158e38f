package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/litefence/litefence/test/workload"
)

// facts are what was recorded; times are CLOCK_MONOTONIC in nanoseconds.
type facts struct {
	old       string // the primary that was cut off
	cut       int64  // just before the first packet was dropped
	cutDone   int64  // when every packet was
	heal      int64
	followed  int64                       // 0 = did not
	events    map[string][]workload.Event // writes, by node
	reads     map[string][]workload.Event
	rows      map[string][]string // at the end, by node
	integrity map[string]string
	exits     []string
	settled   error // why the nodes did not come to the same position
}

// Bounds that the design promises at default settings.
const (
	promisedFence  = 300 * time.Millisecond // a lease
	promisedOutage = 3 * time.Second
)

// verdict is computed from facts alone.
type verdict struct {
	facts       facts
	lastAck     int64 // after the cut, of the old primary's last acknowledged write; 0 = none after it
	lateAcks    int   // begun on the old primary after its lease must have ended
	firstRefuse int64 // after the cut; 0 = never
	refused     int   // on the old primary, during the partition
	staleAcks   int   // on the old primary, begun after another had acknowledged
	writable    int64 // after the cut, another node's first acknowledgement; 0 = never
	reads       int   // served on the old primary between its fencing and the heal
	failedReads int
	acked       int
	present     int
	lostBefore  int // acknowledged before the cut, not replicated in time
	lostLease   int // acknowledged on the old primary after it, within its lease
	lostNew     int // acknowledged by the majority's primary: must be none
	inDoubt     int // answered with an error, and there nevertheless
	differ      bool
}

func newVerdict(f facts) *verdict {
	v := &verdict{facts: f}
	firstNew := v.firstOther()
	if firstNew != 0 {
		v.writable = firstNew - f.cut
	}
	v.judgeOld(firstNew)
	v.judgeReads()
	v.judgeRows()
	return v
}

// firstOther is when another node's first write after the cut was answered.
func (v *verdict) firstOther() (at int64) {
	for node, events := range v.facts.events {
		for _, e := range events {
			if node != v.facts.old && e.Op == "write" && e.OK() && e.Start > v.facts.cut && (at == 0 || e.End < at) {
				at = e.End
			}
		}
	}
	return at
}

// judgeOld counts only what is beyond doubt: a write that began after another
// node had answered one cannot have been admitted before it.
func (v *verdict) judgeOld(firstNew int64) {
	f := v.facts
	for _, e := range f.events[f.old] {
		if e.Op != "write" || e.End < f.cut || e.Start > f.heal {
			continue
		}
		if !e.OK() {
			v.refused++
			if v.firstRefuse == 0 {
				v.firstRefuse = e.End - f.cut
			}
			continue
		}
		if e.Start < f.heal && e.End > f.heal {
			continue // may have been admitted after the heal
		}
		v.lastAck = max(v.lastAck, e.End-f.cut)
		if e.Start > f.cutDone+promisedFence.Nanoseconds() {
			v.lateAcks++
		}
		if firstNew != 0 && e.Start > firstNew {
			v.staleAcks++
		}
	}
}

func (v *verdict) judgeReads() {
	f := v.facts
	for _, e := range f.reads[f.old] {
		if e.Op != "read" || e.Start < f.cut+v.firstRefuse || e.End > f.heal {
			continue
		}
		if e.OK() {
			v.reads++
		} else {
			v.failedReads++
		}
	}
}

func (v *verdict) judgeRows() {
	f := v.facts
	there := v.finalRows()
	for node, events := range f.events {
		for _, e := range events {
			if e.Op != "write" {
				continue
			}
			switch found := there[e.ID]; {
			case !e.OK() && found:
				v.inDoubt++
			case !e.OK():
			case found:
				v.acked++
				v.present++
			default:
				v.acked++
				v.countLost(node, e)
			}
		}
	}
}

func (v *verdict) countLost(node string, e workload.Event) {
	f := v.facts
	switch {
	case node == f.old && e.End < f.cut:
		v.lostBefore++
	case node == f.old && e.Start < f.heal:
		v.lostLease++
	default:
		v.lostNew++
	}
}

// finalRows are those that every readable node has.
func (v *verdict) finalRows() map[string]bool {
	count := map[string]int{}
	for _, rows := range v.facts.rows {
		for _, id := range rows {
			count[id]++
		}
	}
	there := map[string]bool{}
	for id, n := range count {
		there[id] = n == len(v.facts.rows)
		v.differ = v.differ || n != len(v.facts.rows)
	}
	return there
}

// broken lists the promises that were seen broken.
func (v *verdict) broken() (out []string) {
	add := func(broken bool, format string, args ...any) {
		if broken {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	f := v.facts
	add(v.staleAcks > 0, "P1 one writer: %d writes acknowledged on %s after another node was writable", v.staleAcks, f.old)
	add(v.lateAcks > 0, "P1 one writer: %d writes acknowledged on %s that began later than %v after the cut", v.lateAcks, f.old, promisedFence)
	add(v.firstRefuse == 0, "P3 fail closed: %s never refused a write", f.old)
	add(v.reads == 0, "P4 reads never stop: %s served none while fenced", f.old)
	add(v.writable == 0, "P7 bounded outage: no other node became writable")
	add(v.writable > promisedOutage.Nanoseconds(), "P7 bounded outage: the majority was writable after %s, promised %v", seconds(v.writable), promisedOutage)
	add(f.followed == 0, "P7 bounded outage: %s did not follow after the partition", f.old)
	add(v.lostNew > 0, "P9 no resurrection: %d rows acknowledged by the new primary are gone", v.lostNew)
	add(v.differ, "the nodes do not hold the same rows")
	add(f.settled != nil, "the nodes did not come to the same position: %s", oneLineOf(f.settled))
	for _, node := range v.nodes() {
		add(f.integrity[node] != "ok", "integrity_check on %s: %s", node, f.integrity[node])
	}
	for _, e := range f.exits {
		add(true, "%s", e)
	}
	return out
}

func oneLineOf(err error) string {
	if err == nil {
		return ""
	}
	return oneLine(err)
}

func (v *verdict) nodes() (names []string) {
	for n := range v.facts.integrity {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// table is the verdict as label and figure.
func (v *verdict) table() [][2]string {
	f := v.facts
	after := func(ns int64) string {
		if ns <= 0 {
			return "never"
		}
		return seconds(ns)
	}
	lastAck := "none after the cut"
	if v.lastAck > 0 {
		lastAck = seconds(v.lastAck)
	}
	follow := int64(0)
	if f.followed > 0 {
		follow = f.followed - f.heal
	}
	var integrity []string
	for _, n := range v.nodes() {
		integrity = append(integrity, n+" "+f.integrity[n])
	}
	return [][2]string{
		{"last write acknowledged on " + f.old + ", after the cut", lastAck},
		{"first write refused there (time to fence)", after(v.firstRefuse)},
		{"writes refused there during the partition", fmt.Sprint(v.refused)},
		{"writes acknowledged there after another node was writable", fmt.Sprint(v.staleAcks)},
		{"majority writable, after the cut", after(v.writable)},
		{"reads served on the fenced node meanwhile", fmt.Sprintf("%d (%d failed)", v.reads, v.failedReads)},
		{"back as a replica, after the network healed", after(follow)},
		{"rows acknowledged / present at the end", fmt.Sprintf("%d / %d", v.acked, v.present)},
		{"  lost, acknowledged by the new primary", fmt.Sprint(v.lostNew)},
		{"  lost to asynchronous replication, acknowledged before the cut", fmt.Sprint(v.lostBefore)},
		{"  lost to asynchronous replication, after the cut, within the lease", fmt.Sprint(v.lostLease)},
		{"rows answered with an error and there nevertheless (in doubt)", fmt.Sprint(v.inDoubt)},
		{"PRAGMA integrity_check", strings.Join(integrity, ", ")},
	}
}

func (v *verdict) print(w io.Writer) {
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range v.table() {
		fmt.Fprintf(tw, "  %s\t%s\n", row[0], row[1])
	}
	tw.Flush()
	for _, e := range v.facts.exits {
		fmt.Fprintln(w, " ", e)
	}
	fmt.Fprintln(w)
}

func printComparison(w io.Writer, fenced, direct *verdict) {
	fmt.Fprintln(w, "== side by side")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  \tlitefence\tLiteFS directly")
	a, b := fenced.table(), direct.table()
	for i := range a {
		label := a[i][0]
		if fenced.facts.old != direct.facts.old {
			label = strings.Replace(label, fenced.facts.old, "the old primary", 1)
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", label, a[i][1], b[i][1])
	}
	tw.Flush()
	fmt.Fprintln(w)
}
