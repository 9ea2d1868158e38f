package quorum

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// dumbAcked is the definition, without a trick: the newest time t such that
// more than half of all voters acknowledged a message sent at t or later.
func dumbAcked(acks []int64, n int, selfVotes bool) (int64, bool) {
	candidates := append([]int64(nil), acks...)
	if selfVotes {
		candidates = append(candidates, math.MaxInt64)
	}
	best, ok := int64(0), false
	for _, t := range candidates {
		reached := 0
		for _, a := range candidates {
			if a >= t {
				reached++
			}
		}
		if 2*reached > n && (!ok || t > best) {
			best, ok = t, true
		}
	}
	return best, ok
}

func TestAckedAgreesWithDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		self := rapid.Bool().Draw(t, "self")
		n := rapid.IntRange(1, 9).Draw(t, "n")
		most := n
		if self {
			most--
		}
		acks := rapid.SliceOfN(rapid.Int64Range(1, 20), 0, most).Draw(t, "acks")
		at, ok := ackedAt(acks, n, self)
		wantAt, wantOK := dumbAcked(acks, n, self)
		require.Equal(t, wantOK, ok)
		if ok {
			require.Equal(t, wantAt, at)
		}
	})
}

func TestAckedNobodyVotes(t *testing.T) {
	_, ok := ackedAt(nil, 0, false)
	require.False(t, ok)
}

// Whatever two clocks do within the drift, the wait outlasts the lease: the old
// leader's lease is over by real time when the new leader's wait is.
func TestWaitOutlastsTheLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(10*time.Millisecond), int64(time.Hour)).Draw(t, "D"))
		drift := rapid.Float64Range(0, 0.1).Draw(t, "drift")
		// Two clocks whose rates differ by at most drift, one slow, one fast.
		old := 1 - drift/2*rapid.Float64Range(0, 1).Draw(t, "slow")
		mine := 1 + drift/2*rapid.Float64Range(0, 1).Draw(t, "fast")
		lease := float64(d) / old // real time until the old clock has counted D
		wait := float64(waitFor(Record{Kind: KindOpen, RaftID: "other", Lease: d}, "me", drift)) / mine
		require.Greater(t, wait, lease)
	})
}

func TestNoWaitWhereNobodyCanHoldALease(t *testing.T) {
	require.Zero(t, waitFor(Record{}, "me", 0.01))
	require.Zero(t, waitFor(Record{Kind: KindClose, RaftID: "other", Lease: time.Second}, "me", 0.01))
	require.Zero(t, waitFor(Record{Kind: KindOpen, RaftID: "me", Lease: time.Second}, "me", 0.01))
	require.NotZero(t, waitFor(Record{Kind: KindOpen, RaftID: "me-older", Lease: time.Second}, "me", 0.01))
}
