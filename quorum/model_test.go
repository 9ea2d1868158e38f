package quorum

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/litefence/litefence/quorum/model"
)

// The model checks its own arithmetic; it is this program's.
func TestArithmeticIsTheModels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		self := rapid.Bool().Draw(t, "self")
		n := rapid.IntRange(1, 9).Draw(t, "n")
		most := n
		if self {
			most--
		}
		acks := rapid.SliceOfN(rapid.Int64Range(1, 20), 0, most).Draw(t, "acks")
		at, ok := ackedAt(acks, n, self)
		want, wantOK := model.Acked(acks, n, self)
		require.Equal(t, wantOK, ok)
		if ok && at != forever {
			require.Equal(t, want, at)
		}
		d := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "D"))
		percent := rapid.Int64Range(0, 10).Draw(t, "drift")
		wait := waitFor(Record{Kind: KindOpen, RaftID: "other", Lease: d}, "me", float64(percent)/100)
		require.InDelta(t, model.WaitFor(int64(d), percent, int64(waitMargin)), int64(wait), float64(time.Microsecond))
	})
}
