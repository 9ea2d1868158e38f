package checker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/history"
)

// TestNothingLegalIsAccused plays random rounds in which one primary follows the
// other as the design allows it: with what it has of the last one's writes.
func TestNothingLegalIsAccused(t *testing.T) {
	rounds, changes, lost, unknown := 1000, 0, 0, 0
	if testing.Short() {
		rounds = 300
	}
	for seed := range uint64(rounds) {
		r := newPlay(seed).run()
		res := Check(r)
		require.Empty(t, res.Anomalies, "seed %d", seed)
		changes, lost, unknown = changes+len(res.Epochs)-1, lost+res.Counts.Lost, unknown+res.Counts.Unknown
	}
	t.Logf("%d changes of role, %d lost, %d unknown", changes, lost, unknown)
	require.Greater(t, changes, rounds/2)
	require.Greater(t, lost, rounds/2)
	require.Greater(t, unknown, rounds/2)
}

// TestNothingReplicatedIsLost: with the same rounds, where a commit waits for
// copies every lost write is told, and none is where those were not acknowledged.
func TestNothingReplicatedIsLost(t *testing.T) {
	lost := 0
	for seed := range uint64(200) {
		r := newPlay(seed).run()
		gone := map[string]bool{}
		for _, id := range Check(r).Counts.LostIDs {
			gone[id] = true
		}
		r.Confirm = history.Replicated
		told := 0
		for _, a := range Check(r).Anomalies {
			require.Equal(t, LostReplicated, a.Rule, "seed %d: %s", seed, a.Text)
			told++
		}
		require.Equal(t, min(len(gone), each), min(told, each), "seed %d", seed)
		for i := range r.Ops {
			if o := &r.Ops[i]; gone[o.ID] {
				o.Outcome = history.Unknown
			}
		}
		require.Empty(t, Check(r).Anomalies, "seed %d", seed)
		lost += len(gone)
	}
	require.Positive(t, lost)
}
