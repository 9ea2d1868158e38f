package fusefs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplicaCheckerDetects(t *testing.T) {
	txids := map[uint64]int{10: 0, 11: 1, 12: 2}
	at := func(before, after uint64, seq int) []string {
		l := appliedLook{look: &look{on: onReplica, seq: seq, reply: &reply{}}, before: before, after: after}
		return new(history).staleness([]appliedLook{l}, txids)[onReplica]
	}
	require.Empty(t, at(11, 11, 1))
	require.Empty(t, at(10, 12, 1))
	require.Contains(t, at(11, 12, 0)[0], "stale")
	require.Contains(t, at(10, 11, 2)[0], "last applied")
	require.Contains(t, at(9, 11, 1)[0], "never did")
	require.Contains(t, at(11, 13, 1)[0], "never did")
}

func TestReplicaLag(t *testing.T) {
	s := &replicaStress{txids: map[uint64]int{10: 0, 11: 1, 12: 2}}
	acks := []int64{100, 200}
	for _, l := range []look{
		{span: span{150, 160}, seq: 1}, // in step
		{span: span{250, 260}, seq: 1}, // behind by one, for 50
		{span: span{300, 310}, seq: 0}, // behind by two, for 200
	} {
		l.on, l.reply = onReplica, &reply{}
		s.looked = append(s.looked, appliedLook{look: &l, before: 11})
	}
	got := s.lagOf(onReplica, acks)
	require.Equal(t, lag{reads: 3, moved: 2, applied: 2.0 / 3, seen: 1, median: 50, p99: 200}, got)
}
