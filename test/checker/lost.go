package checker

import (
	"maps"
	"slices"
	"time"

	"github.com/litefence/litefence/test/history"
)

const (
	// replicated is how long all must have been well for a write that a majority
	// holds to be safe: a primary has the newest positions that a majority holds
	// committed once a second, and whoever is behind them is never elected.
	replicated = int64(3 * time.Second)
	// recovering is how long a fault goes on having effects after its end.
	recovering = int64(2 * time.Second)
	// followed is how long a replica may lag where all is normal.
	followed = int64(time.Second)
)

// lostKnown looks for acknowledged writes that are gone although the primary
// that made them cannot have taken them with it.
func (j *judge) lostKnown(seen sightings) {
	type grant struct {
		node string
		open uint64
	}
	last := map[grant]*history.Op{} // the one that began last and is there
	for _, o := range j.acked {
		if g := j.grants[o]; g != 0 && j.there(o) {
			last[grant{o.Node, g}] = o
		}
	}
	var newest uint64
	for _, s := range j.r.Samples {
		newest = max(newest, s.Open)
	}
	for _, o := range sortedBy(slices.Collect(maps.Keys(seen)), func(o *history.Op) int64 { return o.Start }) {
		g := j.grants[o]
		later := last[grant{o.Node, g}]
		switch {
		case g != 0 && later != nil && later.Start > o.End:
			j.accuse(LostKnown, o.ID, o.Start, "%s is gone; %s, of the same grant, is there", j.name(o), j.name(later))
		case g != 0 && j.byGrants && g == newest && j.held(o.Node, g, max(j.r.Normal, o.End+followed)):
			j.accuse(LostKnown, o.ID, o.Start, "%s is gone; it was made under Open %d, the last one, which the node held to the end", j.name(o), g)
		case j.everywhere(seen[o]):
			j.accuse(LostKnown, o.ID, o.Start, "%s is gone; every node held it", j.name(o))
		case g != 0 && j.safe(o, seen[o]):
			j.accuse(LostKnown, o.ID, o.Start, "%s is gone; a majority held it while its node wrote for %v without any fault", j.name(o), time.Duration(replicated))
		}
	}
}

// held reports whether node was certainly writable under Open g at some time
// after t.
func (j *judge) held(node string, g uint64, t int64) bool {
	return slices.ContainsFunc(j.seen[node].yes, func(s *history.Sample) bool { return s.From >= t && s.Open == g })
}

// everywhere reports whether all nodes held a write. The first one to become
// primary without it held it, then, before or after.
func (j *judge) everywhere(by map[string]int64) bool {
	for _, f := range j.r.Faults {
		if len(f.Wiped) > 0 {
			return false
		}
	}
	return len(by) == len(j.nodes)
}

// safe reports whether a majority held o and its node went on writing under the
// same grant, undisturbed, for long enough to have that recorded.
func (j *judge) safe(o *history.Op, by map[string]int64) bool {
	times := slices.Sorted(maps.Values(by))
	majority := len(j.nodes)/2 + 1
	if len(times) < majority {
		return false
	}
	from := times[majority-1]
	for _, f := range j.r.Faults {
		if f.Start < from+replicated && f.End+recovering > from {
			return false
		}
	}
	return slices.ContainsFunc(j.acked, func(x *history.Op) bool {
		return x.Node == o.Node && j.grants[x] == j.grants[o] && x.Start > from+replicated
	})
}
