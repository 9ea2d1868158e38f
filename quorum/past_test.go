package quorum

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPastOfARestartedVoterIsUnknown(t *testing.T) {
	var p past
	require.Zero(t, p.age(5, 1000), "nothing was heard")
	p.took(5, 1000)
	require.Zero(t, p.age(5, 2000), "the present leader is no older one; before it nothing is known")
	require.Zero(t, p.age(4, 2000), "an answer to an older leader says nothing")
	require.Equal(t, time.Duration(1000), p.age(6, 2000))
	p.took(6, 2000)
	p.took(6, 3000)
	require.Equal(t, time.Duration(2000), p.age(6, 3000), "since the newest message of term 5")
	p.took(5, 3500) // late; raft refuses it, the stamp came first
	require.Equal(t, time.Duration(500), p.age(6, 4000))
}

// A dumb oracle keeps every message.
func TestPastAgreesWithOracle(t *testing.T) {
	type message struct {
		term uint64
		at   int64
	}
	rapid.Check(t, func(t *rapid.T) {
		var p past
		var all []message
		now := int64(1)
		for range rapid.IntRange(1, 30).Draw(t, "moves") {
			now += rapid.Int64Range(0, 50).Draw(t, "dt")
			m := message{rapid.Uint64Range(1, 6).Draw(t, "term"), now}
			p.took(m.term, m.at)
			all = append(all, m)
			ask := rapid.Uint64Range(1, 7).Draw(t, "ask")
			newest, highest := int64(0), uint64(0)
			for _, m := range all {
				highest = max(highest, m.term)
				if m.term < ask {
					newest = max(newest, m.at)
				}
			}
			want := time.Duration(now - newest)
			if newest == 0 || ask < highest {
				want = 0
			}
			require.Equal(t, want, p.age(ask, now))
		}
	})
}

func TestNoteSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := note{time.Duration(rapid.Int64Min(0).Draw(t, "age")), rapid.Bool().Draw(t, "unhealthy")}
		got, err := parseNote(n.encode())
		require.NoError(t, err)
		require.Equal(t, n, got)
	})
	for _, bad := range []string{"", "10.0.0.1:7400", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff", "\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00", "\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		_, err := parseNote([]byte(bad))
		require.ErrorIs(t, err, errNoNote, "%q", bad)
	}
}

func TestCreditIsTheSmallestAgeInTheFirstMajority(t *testing.T) {
	l, c, _ := newTestLease(5)
	l.past.took(4, c.Mono())
	c.add(70)
	l.lead(5)
	l.acked(5, "b", c.Boot(), 50)
	_, _, ok := l.firstMajority(5)
	require.False(t, ok)
	c.add(1)
	l.acked(5, "b", c.Boot(), 51) // its first answer is the one that counts
	l.acked(5, "c", c.Boot(), 60)
	at, credit, ok := l.firstMajority(5)
	require.True(t, ok)
	require.Equal(t, c.Mono(), at)
	require.Equal(t, time.Duration(50), credit)
	l.acked(5, "d", c.Boot(), 10) // not in the first majority: some voter of it was in the older one
	_, credit, _ = l.firstMajority(5)
	require.Equal(t, time.Duration(50), credit)
}

func TestCreditCountsTheLeaderItself(t *testing.T) {
	l, c, _ := newTestLease(3)
	l.lead(5)
	l.acked(5, "b", c.Boot(), 99)
	_, credit, _ := l.firstMajority(5)
	require.Zero(t, credit, "the leader has restarted: it may have answered anybody")

	l.past.took(6, c.Mono())
	c.add(30)
	l.lead(7)
	l.acked(7, "b", c.Boot(), 99)
	_, credit, _ = l.firstMajority(7)
	require.Equal(t, time.Duration(30), credit)
}

// Whoever held a lease vouched for itself until it was dead.
func TestCreditOfAnEarlierOpener(t *testing.T) {
	l, c, _ := newTestLease(3)
	l.past.took(4, c.Mono())
	c.add(90)
	l.lead(5)
	l.acked(5, "b", c.Boot(), 99)
	require.NoError(t, l.open(5, 1))
	c.add(40)
	l.saw(6)
	c.add(20)
	require.Equal(t, time.Duration(20), l.past.age(6, c.Mono()))
	l.saw(7)
	require.Equal(t, time.Duration(20), l.past.age(7, c.Mono()), "it dies once")
}

func TestNoCreditAfterAChangeOfTheVoters(t *testing.T) {
	st, err := state{Voters: 1}.apply(Record{Kind: KindOpen, Term: 3, RaftID: "a-1", ID: "x"}, 10, 3)
	require.NoError(t, err)
	require.True(t, st.creditable())
	f := &fsm{st: st, changed: func() {}}
	f.StoreConfiguration(11, raft.Configuration{})
	require.False(t, f.state().creditable())
	f.Apply(&raft.Log{Index: 12, Term: 4, Data: Record{Kind: KindClose, Term: 4, RaftID: "a-1", ID: "x"}.encode()})
	require.False(t, f.state().creditable(), "until the next open")
	f.Apply(&raft.Log{Index: 13, Term: 4, Data: Record{Kind: KindOpen, Term: 4, RaftID: "b-1", ID: "y"}.encode()})
	require.True(t, f.state().creditable())
}

// Raft tells the index of a change of the voters, on every node, and it is the
// one that the Open's is compared with.
func TestRaftTellsTheIndexOfTheVoters(t *testing.T) {
	r := newRig(t, false, map[string]time.Duration{"A": 150 * time.Millisecond, "B": 400 * time.Millisecond, "C": 400 * time.Millisecond})
	a := r.leadBy("A")
	require.True(t, a.fsm.state().creditable())
	f := a.raft.AddNonvoter("D", "127.0.0.1:1", 0, time.Second)
	require.NoError(t, f.Error())
	for name, n := range r.nodes {
		eventually(t, name+" knows of the change", func() bool { return n.fsm.state().Voters == f.Index() })
		require.False(t, n.fsm.state().creditable())
	}
}

// After a silent partition the voters have not heard of the old leader for
// longer than its lease: nothing is left to wait.
func TestSilentPartitionLeavesNothingToWait(t *testing.T) {
	h := map[string]time.Duration{"L": 1500 * time.Millisecond, "A": 1500 * time.Millisecond, "B": 1300 * time.Millisecond}
	r := newRig(t, false, h)
	l := r.leadBy("L")
	for _, other := range []string{"A", "B"} {
		r.links.set("L", other, true)
	}
	var next *rigNode
	eventually(t, "A or B opens", func() bool {
		for _, n := range []*rigNode{r.nodes["A"], r.nodes["B"]} {
			if n.gate.admits() {
				next = n
			}
		}
		return next != nil
	})
	require.False(t, l.gate.admits())
	_, credit, ok := next.lease.firstMajority(next.raft.CurrentTerm())
	require.True(t, ok)
	require.Greater(t, credit, waitFor(Record{Kind: KindOpen, RaftID: "L", Lease: r.D}, next.name, 0.01))
	_, overlaps := r.seen()
	require.Zero(t, overlaps)
}

// A voter that hears a new leader says how long ago it heard the old one, and
// says it of the message that raft has accepted a moment before.
func TestVoterSaysHowLongAgoItHeardTheOldLeader(t *testing.T) {
	v, old, cand := startVoter(t, false, func(s raft.StableStore) raft.StableStore { return s })
	var sick atomic.Bool
	v.trans.healthy = func() bool { return !sick.Load() }
	ask := func(id string, from *raft.NetworkTransport, term uint64) (note, bool) {
		var resp raft.AppendEntriesResponse
		require.NoError(t, from.AppendEntries("V", v.trans.LocalAddr(), heartbeat(id, from, term), &resp))
		n, err := parseNote(resp.Addr)
		require.NoError(t, err)
		return n, resp.Success
	}
	n, accepted := ask("L", old, 5)
	require.True(t, accepted)
	require.Zero(t, n.age, "it knows of nobody before L")
	heard := (systemClock{}).Mono()
	n, accepted = ask("C", cand, 6)
	require.True(t, accepted)
	require.Positive(t, n.age)
	eventually(t, "a while has passed", func() bool { return (systemClock{}).Mono() > heard+int64(50*time.Millisecond) })
	n, _ = ask("C", cand, 6)
	require.Greater(t, n.age, 50*time.Millisecond)
	require.False(t, n.unhealthy)
	sick.Store(true)
	late, accepted := ask("L", old, 5)
	require.False(t, accepted)
	require.Zero(t, late.age)
	again, _ := ask("C", cand, 6)
	require.Less(t, again.age, n.age, "a late message counts too: its stamp comes before raft's word")
	require.True(t, again.unhealthy)
}
