package checker

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/litefence/litefence/test/history"
)

const (
	// recovering is how long a fault goes on having effects after its end.
	recovering = int64(2 * time.Second)
	// fresh is how old the newest write may be that a replica shows for it to be
	// connected; between two such looks it may be gone for as long.
	fresh = int64(500 * time.Millisecond)
)

// safe reports whether a majority held o, and was seen to follow o's node for so
// long, while that wrote under the same grant, that their having it must have
// been recorded.
func (j *judge) safe(o *history.Op, by map[string]int64) bool {
	others := len(j.nodes) / 2 // beside o's node
	var times []int64
	for n, t := range by {
		if n != o.Node {
			times = append(times, max(t, o.End))
		}
	}
	slices.Sort(times)
	if len(times) < others {
		return false
	}
	s := span{times[others-1], times[others-1] + replicated}
	if j.troubled(s) || !slices.ContainsFunc(j.acked, func(x *history.Op) bool {
		return x.Node == o.Node && j.grants[x] == j.grants[o] && x.Start > s.to
	}) {
		return false
	}
	following := 0
	for _, n := range slices.Sorted(maps.Keys(by)) {
		if n != o.Node && by[n] <= s.from && j.followed(n, o.Node, s) {
			following++
		}
	}
	return following >= others
}

// troubled reports whether recording may have failed in s although a majority
// followed: two faults at a time, or a full disk.
func (j *judge) troubled(s span) bool {
	n := 0
	for _, f := range j.r.Faults {
		if s.meets(span{f.Start, f.End + recovering}) {
			if n++; n > 1 || strings.HasPrefix(f.Name, "disk full") {
				return true
			}
		}
	}
	return false
}

// followed reports whether the reads on node showed, all through s, what primary
// had just written.
func (j *judge) followed(node, primary string, s span) bool {
	last := s.from
	for _, r := range j.reads[node] {
		if r.Outcome != history.Acked || r.Saw == nil || r.End < s.from {
			continue
		}
		if r.End-last > fresh {
			return false
		}
		if j.newest(r.Saw, primary) >= r.End-fresh {
			last = max(last, r.End)
		}
		if last >= s.to {
			return true
		}
	}
	return false
}

// newest returns the Start of the newest write of node that v shows.
func (j *judge) newest(v *history.View, node string) (t int64) {
	see := func(id string) {
		if o := j.byID[id]; o != nil && o.Node == node {
			t = max(t, o.Start)
		}
	}
	for _, id := range v.Registers {
		see(id)
	}
	for _, ids := range v.Lists {
		if len(ids) > 0 {
			see(ids[len(ids)-1])
		}
	}
	return t
}
