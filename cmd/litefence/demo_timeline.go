package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// timeline tells what happens while it happens: the turning points at once,
// a count every two seconds between them.
type timeline struct {
	w       io.Writer
	mu      sync.Mutex
	start   int64
	cut     int64
	old     string
	open    bool // the partition lasts
	refused bool // the old primary has refused
	moved   bool // another node has acknowledged
	count   map[string]*tally
}

type tally struct{ acked, refused, reads, failedReads int }

func newTimeline(w io.Writer) *timeline {
	return &timeline{w: w, start: workload.Now(), count: map[string]*tally{}}
}

func seconds(ns int64) string { return fmt.Sprintf("%.2f s", float64(ns)/1e9) }

func (t *timeline) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sayLocked(format, args...)
}

func (t *timeline) sayLocked(format string, args ...any) {
	fmt.Fprintf(t.w, "%7.2f  %s\n", float64(workload.Now()-t.start)/1e9, fmt.Sprintf(format, args...))
}

// cutAt marks the cut; it was made at the monotonic time at.
func (t *timeline) cutAt(at int64, old string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut, t.old, t.open = at, old, true
	clear(t.count)
}

func (t *timeline) healed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = false
}

func (t *timeline) tallyOf(node string) *tally {
	if t.count[node] == nil {
		t.count[node] = &tally{}
	}
	return t.count[node]
}

func (t *timeline) onWrite(node string) func(workload.Event) {
	return func(e workload.Event) {
		if e.Op != "write" {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		n := t.tallyOf(node)
		if !e.OK() {
			n.refused++
			if t.open && !t.refused && node == t.old && e.Start > t.cut {
				t.refused = true
				t.sayLocked("%s refuses writes, %s after the cut: %q", node, seconds(e.End-t.cut), e.Err)
			}
			return
		}
		n.acked++
		if t.open && !t.moved && node != t.old && e.Start > t.cut {
			t.moved = true
			t.sayLocked("%s accepts writes, %s after the cut: the majority has a new primary", node, seconds(e.End-t.cut))
		}
	}
}

func (t *timeline) onRead(node string) func(workload.Event) {
	return func(e workload.Event) {
		if e.Op != "read" {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if e.OK() {
			t.tallyOf(node).reads++
		} else {
			t.tallyOf(node).failedReads++
		}
	}
}

func (t *timeline) progress(nodes []*cluster.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for _, node := range nodes {
		n := t.tallyOf(node.Name)
		p := fmt.Sprintf("%s: %d acked, %d refused, %d reads", node.Name, n.acked, n.refused, n.reads)
		if n.failedReads > 0 {
			p += fmt.Sprintf(" (%d failed)", n.failedReads)
		}
		parts = append(parts, p)
	}
	t.sayLocked("since the cut  %s", strings.Join(parts, " | "))
}
