package quorum

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A majority holds what its voters hold: who is none any more is not asked when
// the next primary is chosen.
func TestOnlyVotersHoldPositions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	lead := c.writer()
	ref := lead.fsm.state().ref()
	eventually(t, "both others are marked", func() bool { return len(lead.markedPositions(ref)) == 2 })
	lead.mu.Lock()
	defer lead.mu.Unlock()
	for _, rec := range lead.peerStates {
		rec.state.RaftID = rec.state.Name + "-00000000" // it came back empty
		lead.peerStates[rec.state.Name+" of old"] = rec
	}
	require.Len(t, lead.markedLocked(ref), 2)
}

// While a stream feeds LiteFS its positions are no report: a frame may follow.
// That holds for the second stream under one leadership too.
func TestReportWaitsForTheEndOfTheStream(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	lead := c.writer()
	var follower *testNode
	for _, n := range c.nodes {
		if n != lead {
			follower = n
		}
	}
	ref := lead.fsm.state().ref()
	eventually(t, "the follower is fed", func() bool { m, _ := follower.lite.Marker(); return m == ref })
	soon, cancel := context.WithTimeout(context.Background(), 5*fakeDelay)
	defer cancel()
	require.Error(t, follower.waitStreamEnd(soon))

	lead.mu.Lock()
	g := lead.grant
	lead.mu.Unlock()
	g.cancel() // its streams end; the leadership does not
	late, cancelLate := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancelLate()
	require.NoError(t, follower.waitStreamEnd(late))
}
