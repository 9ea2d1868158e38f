package checker

import (
	"sort"

	"github.com/litefence/litefence/test/history"
)

// staleReads walks through the reads of each node. A read may be old on a
// replica, but there are things that it must see, of what is there in the end:
// what was acknowledged on this node, what an earlier read here saw, and what
// anybody had acknowledged before this node last acknowledged a write.
func (j *judge) staleReads() {
	for _, n := range j.nodes {
		var own []*history.Op
		for _, o := range j.acked {
			if o.Node == n {
				own = append(own, o)
			}
		}
		lastStart := newLatest(own)
		m := newMemory()
		for _, r := range j.reads[n] {
			if r.Outcome != history.Acked || r.Saw == nil {
				continue
			}
			wiped := j.wiped(r)
			if m.start < wiped || m.end >= r.Start {
				m = newMemory() // reads that overlap have no order
			}
			w := lastStart.before(r.Start)
			if w != nil && w.Start < wiped {
				w = nil
			}
			j.read(r, w, wiped, m)
		}
	}
}

// wiped returns the end of the last fault that took the database from r's node
// and began before r ended. What the node held before that says nothing of r.
func (j *judge) wiped(r *history.Op) (last int64) {
	for _, f := range j.r.Faults {
		for _, n := range f.Wiped {
			if n == r.Node && f.Start <= r.End {
				last = max(last, f.End)
			}
		}
	}
	return last
}

// read judges r, w being the write of its node that began last of those
// acknowledged before r began.
func (j *judge) read(r, w *history.Op, wiped int64, m *memory) {
	for key, t := range j.lists {
		ids := r.Saw.Lists[key]
		j.position(List, t, common(t.ids, ids)-1, r, w, wiped, m)
		m.tail(j, key, ids[common(t.ids, ids):], r)
	}
	for key, t := range j.regs {
		if i, ok := j.base(t, r.Saw.Registers[key]); ok && !t.gap {
			j.position(Register, t, i, r, w, wiped, m)
		}
	}
	if j.final != nil {
		j.rowsRead(r, w, wiped)
	}
	m.start, m.end = r.Start, r.End
	m.n++
}

// rowsRead judges how many rows r saw. Gone ones may make up for missing ones:
// it is a lower bound only.
func (j *judge) rowsRead(r, w *history.Op, wiped int64) {
	var others int64
	if w != nil {
		others = w.Start
	}
	must := j.rows.count(others)
	if r.Saw.Rows < must {
		j.accuse(StaleAck, w.ID, w.Start, "%s; a read there at %s saw %d rows, though %d that are there in the end had been acknowledged before",
			j.name(w), j.at(r.Start), r.Saw.Rows, must)
		return
	}
	must += j.rowsOn[r.Node].count(r.Start) - j.rowsOn[r.Node].count(others)
	if r.Saw.Rows < must && wiped == 0 {
		j.accuse(List, "rows "+r.Node, r.Start, "a read on %s at %s saw %d rows, though %d that are there in the end had been acknowledged on this node or before",
			r.Node, j.at(r.Start), r.Saw.Rows, must)
	}
}

// position judges that r saw t up to position i only.
func (j *judge) position(rule string, t *thread, i int, r, w *history.Op, wiped int64, m *memory) {
	if must := t.own[r.Node].before(r.Start); must > i && j.byID[t.ids[must]].Start > wiped {
		j.accuse(rule, t.key+" "+r.Node, r.Start, "a read on %s at %s did not see %s, acknowledged on this node before", r.Node, j.at(r.Start), j.name(j.byID[t.ids[must]]))
		return
	}
	if w != nil {
		if must := t.all.before(w.Start); must > i {
			j.accuse(StaleAck, w.ID, w.Start, "%s; a read there at %s did not see %s, which had been acknowledged before and is there in the end",
				j.name(w), j.at(r.Start), j.name(j.byID[t.ids[must]]))
			return
		}
	}
	was, ok := m.best[rule+t.key]
	if ok && was > i {
		j.accuse(rule, t.key+" "+r.Node, r.Start, "a read on %s at %s did not see %s any more, which is there in the end", r.Node, j.at(r.Start), t.ids[was])
		return
	}
	m.best[rule+t.key] = i
}

// memory is what the reads of a node have seen so far.
type memory struct {
	start, end int64
	n          int            // reads
	best       map[string]int // by rule and key, the position
	last       map[string]int // of elements that are gone in the end: the read that saw it last
}

func newMemory() *memory { return &memory{best: map[string]int{}, last: map[string]int{}} }

// tail judges that what went from a node does not come back to it.
func (m *memory) tail(j *judge, key string, ids []string, r *history.Op) {
	for _, id := range ids {
		o := j.byID[id]
		if o == nil || !j.gone(o) {
			continue
		}
		if last, ok := m.last[id]; ok && last < m.n-1 {
			j.accuse(List, "back "+id, r.Start, "a read on %s at %s saw %s in list %s again, which an earlier one did not see any more", r.Node, j.at(r.Start), j.name(o), key)
		}
		m.last[id] = m.n
	}
}

// latest finds the write that began last of those that had ended.
type latest struct{ byEnd, best []*history.Op }

func newLatest(ops []*history.Op) (l latest) {
	l.byEnd = sortedBy(ops, func(o *history.Op) int64 { return o.End })
	for i, o := range l.byEnd {
		if i > 0 && l.best[i-1].Start > o.Start {
			o = l.best[i-1]
		}
		l.best = append(l.best, o)
	}
	return l
}

func (l latest) before(t int64) *history.Op {
	if i := sort.Search(len(l.byEnd), func(i int) bool { return l.byEnd[i].End >= t }); i > 0 {
		return l.best[i-1]
	}
	return nil
}
