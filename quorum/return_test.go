package quorum

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// An old copy, marker and all, is put back on a node. What a majority has held
// since is recorded in raft: the copy does not pass for current.
func TestOldBackupIsNoPrimary(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	backup, others := newFakeLiteFS(), c.others(w)
	backup.copyFrom(w.lite)
	w.lite.commit("db", 2)
	c.inStep(w)
	full := w.lite.at("db")
	for _, n := range others {
		eventually(t, "the newer position is recorded", func() bool { return n.fsm.state().Held["db"] == full })
	}
	restored, other := others[0], others[1]
	other.lite.stopped.Store(true)
	c.cut.set(w.name, true)
	eventually(t, "it follows no more", func() bool { _, ok := restored.Primary(); return !ok })
	restored.lite.copyFrom(backup)
	m, err := restored.lite.Marker()
	require.NoError(t, err)
	require.Equal(t, w.fsm.state().ref(), m, "the copy is marked with the newest Open")

	c.writerNone(others)
	eventually(t, "the mend is told", func() bool {
		for _, n := range others {
			if n.Status(t.Context()).Problem == problemOf(policy.ElectionResult{}) {
				return true
			}
		}
		return false
	})
	other.lite.stopped.Store(false)
	require.Same(t, other, c.writer(w.name))
	eventually(t, "the restored node has all rows again", func() bool { return restored.lite.at("db") == full })
}

// hops counts changes of leadership: each is one term.
func (c *testCluster) hops(since uint64) int {
	var term uint64
	for _, n := range c.nodes {
		if !c.cut.isOff(n.name) {
			term = max(term, n.raft.CurrentTerm())
		}
	}
	return int(term - since)
}

// A node whose LiteFS does not take the key is passed over. Where none does,
// leadership does not go round and round, and the tries do not end.
func TestHandOnDoesNotLoop(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, quickOffers)
	w := c.writer()
	c.inStep(w)
	others := c.others(w)
	for _, n := range others {
		n.lite.barred.Store(true)
	}
	offers := func() uint64 { return others[0].grantSeq.Load() + others[1].grantSeq.Load() }
	c.cut.set(w.name, true)
	var lead, rest *testNode
	eventually(t, "one is offered the role", func() bool {
		for i, n := range others {
			if n.IsLeading() && n.grantSeq.Load() > 0 {
				lead, rest = n, others[1-i]
				return true
			}
		}
		return false
	})
	first := lead.raft.CurrentTerm()
	before, until := offers(), time.Now().Add(5*time.Second)
	eventually(t, "they keep trying", func() bool { return time.Now().After(until) && offers() > before+5 })
	hops := c.hops(first)
	t.Logf("%d changes of leadership, %d offers", hops, offers()-before)
	require.LessOrEqual(t, hops, 5)

	rest.lite.barred.Store(false)
	first = max(lead.raft.CurrentTerm(), rest.raft.CurrentTerm())
	require.Same(t, rest, c.writer(w.name))
	require.LessOrEqual(t, c.hops(first), 2)
	c.cut.set(w.name, false)
	c.inStep(rest)
}

// powerLoss ends all nodes at once, in the middle of whatever they do; their
// disks stay.
func (c *testCluster) powerLoss() (dirs map[string]string) {
	dirs = map[string]string{}
	for name, n := range c.nodes {
		c.cut.set(name, true) // nothing is said in parting
		dirs[name] = n.dir
	}
	for name := range dirs {
		c.stop(name)
	}
	for name := range dirs {
		c.cut.set(name, false)
		c.lites[name].stuck.Store(false)
	}
	return dirs
}

// Everything loses power; the opener, a node with all rows that a majority has,
// and one without them return in every order. The third comes when the two
// before have a primary, or as soon as they have a leader.
func TestPowerLossInEveryOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	rounds := 0
	round := func(order [3]int, late bool) {
		rounds++
		w := c.writer()
		c.inStep(w)
		full, behind := c.others(w)[0], c.others(w)[1]
		behind.lite.stuck.Store(true)
		sleep(t.Context(), 2*fakeDelay) // a copy under way
		require.True(t, w.write(uint64(100*rounds)))
		eventually(t, "a majority has the row", func() bool { return full.lite.at("db") == w.lite.at("db") })
		held := w.lite.at("db")
		full.lite.stuck.Store(true)
		sleep(t.Context(), 2*fakeDelay)
		require.True(t, w.write(uint64(100*rounds+1)))
		acked := w.lite.at("db")
		require.Equal(t, held, full.lite.at("db"))

		names := [3]string{w.name, full.name, behind.name}
		dirs := c.powerLoss()
		for i, k := range order {
			if i == 2 && late {
				c.writer()
			} else if i == 2 {
				until := time.Now().Add(2 * c.H) // well within the cold wait
				eventually(t, "a leader", func() bool { return c.leader() != "" || time.Now().After(until) })
			}
			c.start(names[k], dirs[names[k]])
		}
		next := c.writer()
		c.inStep(next)
		want := held
		if order[2] != 0 || !late {
			want = acked
		}
		require.True(t, next.lite.InHistory(policy.Positions{"db": want}), "return in order %v, late %t: %s is lost", order, late, want)
	}
	w := c.writer()
	w.lite.commit("db", 1)
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {2, 0, 1}, {1, 2, 0}, {2, 1, 0}} {
		round(order, true)
	}
	for _, order := range [][3]int{{1, 2, 0}, {2, 1, 0}} {
		round(order, false)
	}
}
