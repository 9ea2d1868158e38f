package checker

import (
	"math"

	"github.com/litefence/litefence/test/history"
)

// sightings tell when each node was first certainly seen to hold a write that
// is gone in the end.
type sightings map[*history.Op]map[string]int64

func (s sightings) add(o *history.Op, node string, t int64) {
	if s[o] == nil {
		s[o] = map[string]int64{}
	}
	if was, ok := s[o][node]; !ok || t < was {
		s[o][node] = t
	}
}

// views judges what each single read saw.
func (j *judge) views() sightings {
	seen := sightings{}
	for _, o := range j.acked {
		if j.gone(o) {
			seen.add(o, o.Node, o.End)
		}
	}
	for _, n := range j.nodes {
		for _, o := range j.reads[n] {
			if o.Outcome == history.Acked && o.Saw != nil {
				j.view(o, seen)
			}
		}
	}
	return seen
}

func (j *judge) view(r *history.Op, seen sightings) {
	v := r.Saw
	where := "a read on " + r.Node
	if v.Sum != j.r.Sum {
		j.accuse(Bank, where, r.Start, "a read on %s saw %d at %s, not %d", r.Node, v.Sum, j.at(r.Start), j.r.Sum)
	}
	if n := j.inserted(r.End); v.Rows > n {
		j.accuse(MadeUp, "rows "+r.Node, r.Start, "a read on %s saw %d rows at %s; %d at most were written", r.Node, v.Rows, j.at(r.Start), n)
	}
	// What is there in the end and is in v began by there; lost is, of what is in
	// v and gone, what was acknowledged first.
	there := int64(math.MinInt64)
	var lost *history.Op
	saw := func(id string) {
		o := j.byID[id]
		if o == nil || !j.gone(o) {
			return
		}
		seen.add(o, r.Node, r.End)
		if o.Outcome == history.Acked && (lost == nil || o.End < lost.End) {
			lost = o
		}
	}
	for key, id := range v.Registers {
		j.value(history.Set, key, id, r.End, where)
		saw(id)
		if t := j.regs[key]; t != nil {
			if i, ok := j.base(t, id); ok && i >= 0 {
				there = max(there, t.maxStart[i])
			}
		}
	}
	for key, ids := range v.Lists {
		t := j.lists[key]
		p := 0
		if t != nil {
			p = common(t.ids, ids)
		}
		if p > 0 {
			there = max(there, t.maxStart[p-1])
			if t.maxStart[p-1] > r.End {
				for _, id := range ids[:p] {
					j.value(history.Append, key, id, r.End, where)
				}
			}
		}
		j.unique(key, ids, p, where)
		for i, id := range ids[p:] {
			j.value(history.Append, key, id, r.End, where)
			saw(id)
			if t == nil {
				continue
			}
			if at, ok := t.pos[id]; ok && at >= p {
				j.accuse(List, key+" "+t.ids[p], r.Start, "a read on %s at %s saw %s in list %s as element %d; in the end it is element %d, after %s",
					r.Node, j.at(r.Start), id, key, p+i, at, t.ids[p])
			}
		}
	}
	if lost != nil && lost.End < there && !j.keeps(lost) {
		j.accuse(LostKnown, lost.ID, lost.Start, "%s is gone; a read on %s at %s saw it together with what began at %s and is there in the end",
			j.name(lost), r.Node, j.at(r.Start), j.at(there))
	}
}

// inserted returns how many rows may have been written by t.
func (j *judge) inserted(t int64) int { return j.inserts.count(t + 1) }
