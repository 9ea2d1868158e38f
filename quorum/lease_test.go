package quorum

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// handClock moves when it is told.
type handClock struct{ boot, mono atomic.Int64 }

func (c *handClock) Boot() int64 { return c.boot.Load() }
func (c *handClock) Mono() int64 { return c.mono.Load() }
func (c *handClock) add(d time.Duration) {
	c.boot.Add(int64(d))
	c.mono.Add(int64(d))
}

func newTestLease(n int) (*lease, *handClock, *testGate) {
	c := &handClock{}
	c.add(time.Second)
	g := &testGate{}
	ids := []raft.ServerID{"me", "b", "c", "d", "e", "f", "g"}[:n]
	return &lease{
		clock: c, duration: 100, self: "me", gate: g,
		voters: func() ([]raft.ServerID, bool) { return ids, true },
	}, c, g
}

func TestLeaseCountsFromTheSend(t *testing.T) {
	l, c, g := newTestLease(3)
	l.lead(5)
	require.False(t, l.valid(5), "nobody has answered")
	sent := c.Boot()
	c.add(60) // the answer is slow
	l.acked(5, "b", sent, 0)
	require.True(t, l.valid(5))
	require.NoError(t, l.open(5, 17))
	require.Equal(t, sent+100, g.until)
	c.add(40)
	require.False(t, l.valid(5), "D after the send, not after the answer")
	l.acked(5, "c", c.Boot(), 0)
	require.True(t, l.valid(5), "a lapse heals in the same term")
	require.Equal(t, c.Boot()+100, g.until)
}

func TestLeaseOldAnswersMoveNothingBack(t *testing.T) {
	l, c, _ := newTestLease(3)
	l.lead(1)
	l.acked(1, "b", c.Boot(), 0)
	l.acked(1, "b", c.Boot()-50, 0)
	until, ok := l.until(1)
	require.True(t, ok)
	require.Equal(t, c.Boot()+100, until)
}

func TestLeaseIsDeadForGoodAtAHigherTerm(t *testing.T) {
	l, c, g := newTestLease(3)
	l.lead(5)
	l.acked(5, "b", c.Boot(), 0)
	require.NoError(t, l.open(5, 17))
	l.saw(6)
	require.Zero(t, g.epoch, "revoked at once")
	l.acked(5, "b", c.Boot()+1, 0)
	l.acked(5, "c", c.Boot()+1, 0)
	require.False(t, l.valid(5))
	require.True(t, l.over(5))
	require.ErrorIs(t, l.open(5, 18), errLeaseOver)
	l.lead(6)
	l.acked(6, "b", c.Boot()+1, 0)
	require.True(t, l.valid(6))
}

func TestLeaseBornDeadWhereAHigherTermWasSeen(t *testing.T) {
	l, c, _ := newTestLease(3)
	l.saw(9)
	l.lead(5)
	l.acked(5, "b", c.Boot(), 0)
	require.True(t, l.over(5))
}

func TestLeaseAnswersOfOtherTermsCountForNothing(t *testing.T) {
	l, c, _ := newTestLease(3)
	l.lead(5)
	l.acked(4, "b", c.Boot(), 0)
	require.False(t, l.valid(5))
	l.acked(5, "stranger", c.Boot(), 0)
	require.False(t, l.valid(5), "not a voter")
}

// A dumb oracle keeps every answer of the term and recomputes by definition.
func TestLeaseAgreesWithOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 3, 5, 7}).Draw(t, "n")
		l, c, _ := newTestLease(n)
		ids, _ := l.voters()
		term, dead := uint64(0), true
		newest := map[raft.ServerID]int64{}
		for range rapid.IntRange(1, 60).Draw(t, "moves") {
			switch rapid.IntRange(0, 3).Draw(t, "move") {
			case 0:
				c.add(time.Duration(rapid.Int64Range(0, 80).Draw(t, "dt")))
			case 1:
				term, dead, newest = l.highest+1, false, map[raft.ServerID]int64{}
				l.lead(term)
			case 2:
				if n > 1 && term > 0 {
					id := rapid.SampledFrom(ids[1:]).Draw(t, "voter")
					sent := c.Boot() - rapid.Int64Range(0, 120).Draw(t, "age")
					l.acked(term, id, sent, 0)
					newest[id] = max(newest[id], sent)
				}
			case 3:
				seen := term + uint64(rapid.IntRange(0, 1).Draw(t, "higher"))
				l.saw(seen)
				dead = dead || seen > term
			}
			want := false
			if term > 0 && !dead {
				acks := []int64{}
				for _, a := range newest {
					acks = append(acks, a)
				}
				at, ok := dumbAcked(acks, n, true)
				want = ok && (at == forever || c.Boot() < at+100)
			}
			require.Equal(t, want, l.valid(term))
		}
	})
}

func TestRecordsFold(t *testing.T) {
	open := Record{Kind: KindOpen, Term: 3, RaftID: "a-1", ID: "x", Lease: 7}
	st, err := state{}.apply(open, 10, 3)
	require.NoError(t, err)
	require.Equal(t, KindOpen, st.Newest.Kind)

	_, err = st.apply(Record{Kind: KindOpen, Term: 3, RaftID: "b-1", ID: "y"}, 11, 4)
	require.ErrorContains(t, err, "made in term 3, logged in term 4")

	same, err := st.apply(Record{Kind: KindClose, Term: 4, RaftID: "b-1", ID: "x"}, 12, 4)
	require.Error(t, err, "only the maker of the newest open may close it")
	require.Equal(t, st, same)

	st, err = st.apply(Record{Kind: KindClose, Term: 4, RaftID: "a-1", ID: "x"}, 12, 4)
	require.NoError(t, err)
	require.Equal(t, KindClose, st.Newest.Kind)
	require.Equal(t, uint64(10), st.Index, "the lineage stays the open's")
}

func TestClusterIDIsNotOverwrittenOnceConfirmed(t *testing.T) {
	st, err := state{}.apply(Record{Kind: KindClusterID, ClusterID: "A"}, 1, 0)
	require.NoError(t, err)
	st, err = st.apply(Record{Kind: KindClusterID, ClusterID: "B"}, 2, 0)
	require.NoError(t, err, "killed before it was on LiteFS's disk: the next id replaces it")
	require.Equal(t, "B", st.ClusterID)
	st, err = st.apply(Record{Kind: KindConfirmed, ClusterID: "B"}, 3, 0)
	require.NoError(t, err)
	_, err = st.apply(Record{Kind: KindClusterID, ClusterID: "C"}, 4, 0)
	require.Error(t, err)
}

// A gate's deadline never moves back, and a cluster of one may grow: paused with
// a deadline that never comes it would wake beside another primary
// (quorum/model, AloneBounded).
func TestLeaseOfAClusterOfOneEndsOnceItHasGrown(t *testing.T) {
	l, c, g := newTestLease(1)
	l.lead(5)
	require.NoError(t, l.open(5, 17))
	for range 3 {
		c.add(60)
		l.extend()
		require.True(t, l.valid(5))
		require.Equal(t, c.Boot()+100, g.until)
	}
	l.voters = func() ([]raft.ServerID, bool) { return []raft.ServerID{"me", "b", "c"}, true }
	l.acked(5, "b", c.Boot(), 0)
	c.add(100)
	l.extend()
	require.False(t, l.valid(5))
	require.LessOrEqual(t, g.until, c.Boot(), "the gate itself refuses, whoever is paused")
}
