package checker

import (
	"maps"
	"slices"
	"time"

	"github.com/litefence/litefence/test/history"
)

const (
	// replicated is how long a majority must have gone on following for what it
	// holds to be safe: a primary has the newest positions that a majority holds
	// committed once a second, and whoever is behind them is never elected.
	replicated = int64(3 * time.Second)
	// followed is how long a replica may lag where all is normal.
	followed = int64(time.Second)
)

// keeps reports whether o had to be kept whatever happened: it was acknowledged,
// a commit waits for copies, and no more nodes than a minority lost their data.
func (j *judge) keeps(o *history.Op) bool {
	if j.r.Confirm != history.Replicated || o.Outcome != history.Acked {
		return false
	}
	wiped := map[string]bool{}
	for _, f := range j.r.Faults {
		for _, n := range f.Wiped {
			wiped[n] = true
		}
	}
	return len(wiped) <= (len(j.nodes)-1)/2
}

// lostReplicated looks for acknowledged writes that are gone although they were
// acknowledged only once enough nodes had them.
func (j *judge) lostReplicated() {
	for _, o := range j.acked {
		if j.keeps(o) && j.gone(o) {
			j.accuse(LostReplicated, o.ID, o.Start, "%s is gone", j.name(o))
		}
	}
}

// lostKnown looks for acknowledged writes that are gone although the primary
// that made them cannot have taken them with it. Where none may be lost, it is
// another rule that says so.
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
		if j.keeps(o) {
			continue
		}
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
			j.accuse(LostKnown, o.ID, o.Start, "%s is gone; a majority held it and went on following its node for %v", j.name(o), time.Duration(replicated))
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
