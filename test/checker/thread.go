package checker

import (
	"cmp"
	"slices"
	"sort"

	"github.com/litefence/litefence/test/history"
)

// thread is what is left in the end of a list, or of a register's values, in
// its order.
type thread struct {
	key string
	ids []string
	pos map[string]int
	// maxStart[i] is the latest Start of ids[:i+1].
	maxStart []int64
	all      settled            // acknowledged ones
	own      map[string]settled // those of one node
	// gap: a register's first values are not known, because a write of unknown
	// outcome does not say what it replaced.
	gap bool
}

// settled tells which position was reached by when.
type settled struct {
	ends []int64
	best []int
}

type settling struct {
	end int64
	pos int
}

func settle(s []settling) (out settled) {
	slices.SortStableFunc(s, func(a, b settling) int { return cmp.Compare(a.end, b.end) })
	best := -1
	for _, x := range s {
		best = max(best, x.pos)
		out.ends, out.best = append(out.ends, x.end), append(out.best, best)
	}
	return out
}

// before returns the last position of those that ended before t, -1 for none.
func (s settled) before(t int64) int {
	if i := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] >= t }); i > 0 {
		return s.best[i-1]
	}
	return -1
}

// count returns how many ended before t.
func (s settled) count(t int64) int {
	return sort.Search(len(s.ends), func(i int) bool { return s.ends[i] >= t })
}

// thread lays out the final state.
func (j *judge) thread() {
	j.lists, j.regs, j.rowsOn = map[string]*thread{}, map[string]*thread{}, map[string]settled{}
	if j.final == nil {
		return
	}
	for key, ids := range j.final.Lists {
		j.lists[key] = j.newThread(key, ids)
	}
	for key, last := range j.final.Registers {
		var ids []string
		gap, met := false, map[string]bool{}
		for id := last; id != ""; {
			o := j.byID[id]
			if met[id] || o == nil || o.Kind != history.Set || o.Outcome == history.Refused {
				gap = true
				break
			}
			met[id] = true
			ids = append(ids, id)
			if id = o.Old; id == "" && o.Outcome == history.Unknown {
				gap = true
			}
		}
		slices.Reverse(ids)
		j.regs[key] = j.newThread(key, ids)
		j.regs[key].gap = gap
	}
	var all []settling
	on := map[string][]settling{}
	for _, o := range j.acked {
		if o.Kind == history.Insert && j.final.IDs[o.ID] {
			all = append(all, settling{o.End, 0})
			on[o.Node] = append(on[o.Node], settling{o.End, 0})
		}
	}
	j.rows = settle(all)
	for n, s := range on {
		j.rowsOn[n] = settle(s)
	}
}

func (j *judge) newThread(key string, ids []string) *thread {
	t := &thread{key: key, ids: ids, pos: map[string]int{}, own: map[string]settled{}}
	var all []settling
	own := map[string][]settling{}
	var latest int64
	for i, id := range ids {
		t.pos[id] = i
		if o := j.byID[id]; o != nil {
			latest = max(latest, o.Start)
			if o.Outcome == history.Acked {
				all = append(all, settling{o.End, i})
				own[o.Node] = append(own[o.Node], settling{o.End, i})
			}
		}
		t.maxStart = append(t.maxStart, latest)
	}
	t.all = settle(all)
	for n, s := range own {
		t.own[n] = settle(s)
	}
	return t
}

// base returns the position of the newest value of the thread that a register
// with value id has behind it; false where that is not known.
func (j *judge) base(t *thread, id string) (int, bool) {
	for range len(j.byID) + 1 {
		if id == "" {
			return -1, true
		}
		if i, ok := t.pos[id]; ok {
			return i, true
		}
		o := j.byID[id]
		if o == nil || o.Kind != history.Set || o.Outcome == history.Refused || o.Old == "" && o.Outcome == history.Unknown {
			return 0, false
		}
		id = o.Old
	}
	return 0, false
}

// gone reports whether o, a write, is certainly not there in the end.
func (j *judge) gone(o *history.Op) bool {
	there, certain := j.lookup(o)
	return certain && !there
}

// there reports whether o, a write, is certainly there in the end.
func (j *judge) there(o *history.Op) bool {
	there, _ := j.lookup(o)
	return there
}

// lookup looks for o, a write, in the end; that it is not found may be no proof.
func (j *judge) lookup(o *history.Op) (there, certain bool) {
	if j.final == nil {
		return false, false
	}
	var t *thread
	switch o.Kind {
	case history.Set:
		t = j.regs[o.Key]
	case history.Append:
		t = j.lists[o.Key]
	default:
		return j.final.IDs[o.ID], true
	}
	if t == nil {
		return false, o.Kind == history.Append
	}
	_, there = t.pos[o.ID]
	return there, there || !t.gap
}
