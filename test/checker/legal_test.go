package checker

import (
	"testing"

	"github.com/stretchr/testify/require"
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
