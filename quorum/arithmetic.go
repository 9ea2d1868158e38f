package quorum

import (
	"math"
	"sort"
	"time"
)

// waitMargin is added to every waited-out lease: the clock reads around the
// measured instants, and the resolution of the clocks.
const waitMargin = 5 * time.Millisecond

// forever is newer than every acknowledgement: a cluster of one is its own
// majority at every instant.
const forever = math.MaxInt64

// ackedAt returns the newest time that a majority has reached: the k-th newest
// of n, k = n/2+1. acks holds the newest acknowledged send time of each voter
// that has one; n counts all voters of raft's latest configuration, also those
// never heard of. Where this node is a voter it counts as now, which is newer
// than every ack. ok is false where no majority was ever reached.
func ackedAt(acks []int64, n int, selfVotes bool) (at int64, ok bool) {
	k := n/2 + 1
	if selfVotes {
		k--
	}
	if n <= 0 || len(acks) < k {
		return 0, false
	}
	if k == 0 {
		return forever, true
	}
	sorted := append([]int64(nil), acks...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] > sorted[j] })
	return sorted[k-1], true
}

// waitFor returns how long a leader has to wait, after its first majority of
// Success in its own term, before it may open: until a lease of length d that
// was granted before has run out by every clock whose rate differs from ours
// by at most drift. Both clocks may be off, in opposite directions: hence
// twice.
func waitFor(newest Record, self string, drift float64) time.Duration {
	switch {
	case newest.Kind == KindNone, newest.Kind == KindClose:
		return 0
	case newest.RaftID == self:
		return 0 // our own lease; we know that we did not use it
	}
	return time.Duration(float64(newest.Lease)*(1+2*drift)) + waitMargin
}
