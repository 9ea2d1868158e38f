package quorum

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// replicated has a lease that a busy machine keeps: the role must not move while
// somebody waits.
func replicated(cfg *Config) {
	cfg.Replicated, cfg.HeartbeatTimeout, cfg.Lease = true, time.Second, 500*time.Millisecond
}

// commitOn is a transaction of the primary's that is yet to be acknowledged.
func commitOn(w *testNode, db string, sum uint64) policy.Commit {
	w.lite.commit(db, sum)
	return policy.Commit{DB: db, Pos: w.lite.at(db)}
}

// waits begins to wait for k, and delivers what came of it.
func waits(ctx context.Context, w *testNode, k policy.Commit) <-chan error {
	over := make(chan error, 1)
	go func() { over <- w.Replicated(ctx, k) }()
	return over
}

func stillWaits(t *testing.T, over <-chan error) {
	t.Helper()
	select {
	case err := <-over:
		require.FailNow(t, "it did not wait", "%v", err)
	case <-time.After(50 * time.Millisecond): // for what must not happen
	}
}

// on is whom raft's log names, by name.
func (n *testNode) on() []string { return n.copiesStatus().On }

// A commit waits for the node that raft's log names, not for any; the other takes
// its place where it holds commits up, and is the one to become primary.
func TestReplicatedCommit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, replicated)
	w := c.writer()
	require.NoError(t, w.Replicated(t.Context(), commitOn(w, "db", 1)))
	set := w.on()
	require.Len(t, set, 1)
	first := c.nodes[set[0]]
	require.True(t, has(first.lite.at("db"), policy.Commit{DB: "db", Pos: w.lite.at("db")}))
	var other *testNode
	for _, n := range c.others(w) {
		if n != first {
			other = n
		}
	}

	// The one that is not waited for may be late.
	other.lite.stuck.Store(true)
	require.NoError(t, w.Replicated(t.Context(), commitOn(w, "db", 2)))

	// Nobody has it: it waits, and status says for whom.
	first.lite.stuck.Store(true)
	k := commitOn(w, "db", 3)
	over := waits(t.Context(), w, k)
	stillWaits(t, over)
	s := w.Status(t.Context()).Copies
	require.Equal(t, 1, s.Waiting)
	require.Equal(t, []string{first.name}, s.HeldUpBy)
	require.Equal(t, 1, s.Wanted)

	// The other has it: it takes the place of the one that has not.
	other.lite.stuck.Store(false)
	require.NoError(t, <-over)
	require.Equal(t, []string{other.name}, w.on())
	for range 5 {
		require.NoError(t, w.Replicated(t.Context(), commitOn(w, "db", 4)))
	}
	last := w.lite.at("db")
	c.stop(w.name)
	first.lite.stuck.Store(false)
	next := c.writer()
	require.Equal(t, other, next)
	require.Equal(t, last, next.lite.at("db"))
}

// With two databases each replica may be ahead in one of them: what was
// acknowledged must be on one that is elected, not on one each.
func TestReplicatedWithTwoDatabases(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, replicated)
	w := c.writer()
	for _, db := range []string{"a", "b"} {
		require.NoError(t, w.Replicated(t.Context(), commitOn(w, db, 1)))
	}
	first := c.nodes[w.on()[0]]
	for _, n := range c.others(w) {
		eventually(t, n.name+" has both", func() bool { return n.lite.at("b").TXID == 1 && n.lite.at("a").TXID == 1 })
		if n == first {
			n.lite.deaf.Store("b", true)
		} else {
			n.lite.deaf.Store("a", true)
		}
	}
	// First has a and lacks b, the other has b and lacks a.
	require.NoError(t, w.Replicated(t.Context(), commitOn(w, "a", 2)))
	ctx, cancel := context.WithTimeout(t.Context(), 5*copyLate)
	defer cancel()
	require.ErrorIs(t, w.Replicated(ctx, commitOn(w, "b", 2)), context.DeadlineExceeded)
	for range 5 {
		commitOn(w, "b", 3) // more transactions there than first has of a
	}
	require.Equal(t, []string{first.name}, w.on(), "the other lacks an acknowledged transaction")
	for _, n := range c.others(w) {
		if n != first {
			eventually(t, n.name+" is ahead by number", func() bool { return n.lite.at("b").TXID == 7 })
		}
	}
	c.stop(w.name)
	require.Equal(t, first, c.writer())
}

// Without a node that has everything there is no primary, and the reason is said.
func TestReplicatedNobodyHasEverything(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, replicated)
	w := c.writer()
	require.NoError(t, w.Replicated(t.Context(), commitOn(w, "db", 1)))
	c.allMarked(w)
	first := c.nodes[w.on()[0]]
	for _, n := range c.others(w) {
		eventually(t, n.name+" has it", func() bool { return n.lite.at("db").TXID == 1 })
	}
	require.NoError(t, first.SetFence(true, "maintenance"))
	c.cut.set(w.name, true) // stopped in order it would hand its role on, with everything
	primary := false
	eventually(t, "it is said", func() bool {
		for _, n := range c.others(w) {
			primary = primary || n.gate.admits()
		}
		for _, n := range c.others(w) {
			if strings.Contains(n.Status(t.Context()).Problem, "none of the nodes that have every acknowledged transaction answers") {
				return true
			}
		}
		return false
	})
	require.False(t, primary)
	require.NoError(t, first.SetFence(false, ""))
	require.Equal(t, first, c.writer(w.name))
}

// A wait ends with an error when the role does, and when its context does.
func TestReplicatedEnds(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, replicated)
	w := c.writer()
	require.NoError(t, w.Replicated(t.Context(), commitOn(w, "db", 1)))
	for _, n := range c.others(w) {
		n.lite.stuck.Store(true)
	}
	k := commitOn(w, "db", 2)
	ctx, cancel := context.WithCancel(t.Context())
	over := waits(ctx, w, k)
	stillWaits(t, over)
	cancel()
	require.ErrorIs(t, <-over, context.Canceled)

	over = waits(t.Context(), w, k)
	stillWaits(t, over)
	c.cut.set(w.name, true)
	require.Error(t, <-over)
	require.Error(t, w.Replicated(t.Context(), k), "nor is another one acknowledged")
}

// A node alone, and two, acknowledge what they have; the other may not become
// primary without it.
func TestReplicatedSmallClusters(t *testing.T) {
	t.Parallel()
	for n := range 2 {
		c := newCluster(t, n+1, replicated)
		w := c.writer()
		require.NoError(t, w.Replicated(t.Context(), commitOn(w, "db", 1)))
		require.Empty(t, w.on())
		require.True(t, w.fsm.state().Copied)
	}
}

// What a replica has said counts for nothing under another Open.
func TestReplicatedForgets(t *testing.T) {
	t.Parallel()
	var c copies
	ref := policy.OpenRef{Index: 1, ID: "a"}
	c.begin(ref, 1)
	at := &copyAt{policy.Positions{}}
	require.True(t, c.join(ref, "x", at))
	c.note(at, policy.Positions{"db": {TXID: 5, Checksum: 5}})
	c.set, c.settled = append(c.set, "x"), true
	k := policy.Commit{DB: "db", Pos: policy.Pos{TXID: 5, Checksum: 5}}
	require.True(t, c.lookLocked(k))
	k.Pos.Checksum = 6
	require.False(t, c.lookLocked(k), "the same number, other data")
	k.Pos = policy.Pos{TXID: 4, Checksum: 4}
	require.True(t, c.lookLocked(k))
	c.note(at, policy.Positions{"db": {TXID: 3, Checksum: 3}})
	require.EqualValues(t, 5, at.pos["db"].TXID, "an older word")
	c.frozen = true
	require.False(t, c.lookLocked(k))
	c.frozen = false

	again := &copyAt{policy.Positions{}}
	require.True(t, c.join(ref, "x", again))
	require.False(t, c.lookLocked(k), "a new connection has to say it anew")
	c.leave("x", at)
	require.Same(t, again, c.at["x"], "the end of the old connection is not that of the new one")
	next := policy.OpenRef{Index: 2, ID: "b"}
	c.begin(next, 2)
	require.False(t, c.join(ref, "x", at), "a report under the old Open")
	require.False(t, c.lookLocked(k))
}

// Two witnesses of three leave nobody to wait for: refused at start.
func TestReplicatedNeedsData(t *testing.T) {
	t.Parallel()
	n := &Node{cfg: Config{Replicated: true, Peers: map[string]string{"n1": "", "n2": "", "n3": ""}}, peerStates: map[string]peerRecord{}}
	require.NoError(t, n.checkCopies())
	n.peerStates["n2"] = peerRecord{state: PeerState{Witness: true}}
	require.NoError(t, n.checkCopies(), "two of three, and both are needed")
	n.peerStates["n3"] = peerRecord{state: PeerState{Witness: true}}
	require.EqualError(t, n.checkCopies(), "quorum.confirm: replicated needs 2 nodes with data of 3 voters, and there are 1; add one (`litefence peers add`), or use quorum or lease")
	n.cfg.Replicated = false
	require.NoError(t, n.checkCopies())
}

// A node that the log names, and that has lost its data, is not told that it is in
// step before it has everything again; nor does what it had said count.
func TestReplicatedDataGone(t *testing.T) {
	t.Parallel()
	var c copies
	ref := policy.OpenRef{Index: 1, ID: "a"}
	c.begin(ref, 1)
	at := &copyAt{policy.Positions{}}
	require.True(t, c.join(ref, "x", at))
	k := policy.Commit{DB: "db", Pos: policy.Pos{TXID: 5, Checksum: 5}}
	c.note(at, policy.Positions{"db": k.Pos})
	c.set, c.maybe, c.settled = append(c.set, "x"), append(c.maybe, "x"), true
	require.True(t, c.lookLocked(k))

	require.False(t, c.vouches(ref, "x", policy.Positions{"db": {TXID: 4, Checksum: 4}}))
	require.False(t, c.lookLocked(k), "it was said before the data was gone")
	c.note(at, policy.Positions{"db": k.Pos})
	require.False(t, c.lookLocked(k), "on the old connection")
	require.True(t, c.vouches(ref, "x", policy.Positions{"db": k.Pos}))
	require.True(t, c.vouches(ref, "y", policy.Positions{}), "it may not become primary")
	c.end()
	require.False(t, c.vouches(ref, "x", policy.Positions{}), "the role's end changes nothing")
}
