package checker

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/litefence/litefence/test/history"
)

// atOnce is how long a status may have taken for what it says to belong
// together.
const atOnce = int64(100 * time.Millisecond)

// noChange is a time too short for two changes of role, there and back, where
// the node in between follows.
const noChange = int64(100 * time.Millisecond)

// statements are the samples of one node.
type statements struct {
	byTo     []*history.Sample
	newest   []uint64          // of byTo[:i+1], the newest Open
	writable []uint64          // of byTo[:i+1], the newest Open under which the node was writable
	yes      []*history.Sample // writable, with an Open, and quickly given; by From
}

func (j *judge) listen() {
	j.seen, j.grants = map[string]statements{}, map[*history.Op]uint64{}
	by := map[string][]*history.Sample{}
	for i := range j.r.Samples {
		s := &j.r.Samples[i]
		by[s.Node] = append(by[s.Node], s)
		j.byGrants = j.byGrants || s.Open != 0
	}
	for n, ss := range by {
		st := statements{byTo: ss}
		slices.SortStableFunc(ss, func(a, b *history.Sample) int { return cmp.Compare(a.To, b.To) })
		var newest, writable uint64
		for _, s := range ss {
			newest = max(newest, s.Open)
			if s.Writable {
				writable = max(writable, s.Open)
			}
			st.newest, st.writable = append(st.newest, newest), append(st.writable, writable)
			if s.Writable && s.Open != 0 && s.To-s.From <= atOnce {
				st.yes = append(st.yes, s)
			}
		}
		slices.SortStableFunc(st.yes, func(a, b *history.Sample) int { return cmp.Compare(a.From, b.From) })
		j.seen[n] = st
	}
	if j.byGrants {
		for _, o := range j.acked {
			if g := j.seen[o.Node].atMost(o.End); g != 0 && g == j.seen[o.Node].known(o.Start) {
				j.grants[o] = g
			}
		}
		return
	}
	// Nobody spoke of Opens: LiteFS alone. A stretch without a pause, or an answer
	// that took long, is one grant.
	var g uint64
	for _, e := range j.epochs {
		for i, o := range e.ops {
			if i == 0 || o.End-e.ops[i-1].Start > noChange {
				g++
			}
			j.grants[o] = g
		}
	}
}

func upTo(byTo []*history.Sample, t int64) int {
	return sort.Search(len(byTo), func(i int) bool { return byTo[i].To > t })
}

// known returns the newest Open that the node had certainly heard of at t. What
// it writes from then on, it writes under that one or a newer.
func (s statements) known(t int64) uint64 {
	if i := upTo(s.byTo, t); i > 0 {
		return s.newest[i-1]
	}
	return 0
}

// wrote returns the newest Open under which, or under a newer one, the node was
// certainly writable before t.
func (s statements) wrote(t int64) uint64 {
	if i := upTo(s.byTo, t); i > 0 {
		return s.writable[i-1]
	}
	return 0
}

// atMost returns an Open such that what the node wrote before t was not written
// under a newer one; 0 if that is not known. It is that of the next status in
// which the node is writable: a node that is just starting may show an old Open,
// but it is not writable.
func (s statements) atMost(t int64) uint64 {
	if i := sort.Search(len(s.yes), func(i int) bool { return s.yes[i].From >= t }); i < len(s.yes) {
		return s.yes[i].Open
	}
	return 0
}
