package quorum

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// inStep waits until every node is marked with the newest Open and stands where
// w stands.
func (c *testCluster) inStep(w *testNode) {
	c.t.Helper()
	eventually(c.t, "all in step", func() bool {
		for _, n := range c.nodes {
			m, _ := n.lite.Marker()
			if m != w.fsm.state().ref() || n.lite.at("db") != w.lite.at("db") {
				return false
			}
		}
		return true
	})
}

// loneRows lets w commit rows that nobody else gets but everybody hears of, and
// cuts w off.
func (c *testCluster) loneRows(w *testNode, rows int) (others []*testNode) {
	c.t.Helper()
	for _, n := range c.nodes {
		if n != w {
			n.lite.stopped.Store(true)
			others = append(others, n)
		}
	}
	sleep(c.t.Context(), 2*fakeDelay) // a copy under way
	for i := range rows {
		w.lite.commit("db", uint64(1000+i))
	}
	for _, n := range others {
		eventually(c.t, "it hears of the rows", func() bool {
			return n.knownOf(n.fsm.state())["db"] == w.lite.at("db")
		})
	}
	c.cut.set(w.name, true)
	for _, n := range others {
		// The stand-in's stream does not pass through the cut.
		eventually(c.t, "it follows no more", func() bool { _, ok := n.Primary(); return !ok })
		n.lite.stopped.Store(false)
	}
	return others
}

func acceptOn(t *testing.T, n *testNode) LossPlan {
	t.Helper()
	var plan LossPlan
	eventually(t, "a plan", func() bool {
		var err error
		plan, err = n.AcceptLoss(t.Context(), nil)
		return err == nil && plan.Wait == "" && plan.NotNeeded == ""
	})
	_, err := n.AcceptLoss(t.Context(), &plan)
	require.NoError(t, err)
	return plan
}

// The last primary's rows that nobody has are written down as lost.
func TestKnownLossIsWrittenDown(t *testing.T) {
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	c.loneRows(w, 2)
	next := c.writer(w.name)
	var all []Lost
	eventually(t, "an entry", func() bool {
		var err error
		all, err = ListLost(next.dir)
		return err == nil && len(all) == 1
	})
	require.Equal(t, []LostDB{{Name: "db", From: w.name, Had: policy.Pos{TXID: 3, Checksum: 1001}, Have: policy.Pos{TXID: 1, Checksum: 1}}}, all[0].Databases)
	require.Equal(t, "known-lost", all[0].Kind)
	require.Equal(t, next.fsm.state().Index, all[0].Open)
}

// With require-synced nobody becomes primary who lacks a row known of the last
// one, until it is back or an operator accepts the loss.
func TestRequireSyncedAndAcceptLoss(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.RequireSynced = true })
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	plan, err := w.AcceptLoss(t.Context(), nil)
	require.NoError(t, err)
	require.Contains(t, plan.NotNeeded, "is primary")

	others := c.loneRows(w, 2)
	eventually(t, "the choice is refused", func() bool {
		for _, n := range others {
			n.mu.Lock()
			res := n.lastResult
			n.mu.Unlock()
			if n.IsLeading() && res.Unsynced {
				return true
			}
		}
		return false
	})
	for _, n := range others {
		require.False(t, n.gate.admits())
	}
	for _, n := range others {
		n.lite.commit("other", 5) // what is accepted must be what was shown
		var shown LossPlan
		eventually(t, "a plan", func() bool {
			shown, err = n.AcceptLoss(t.Context(), nil)
			return err == nil && shown.NotNeeded == ""
		})
		n.lite.commit("other", 6)
		_, err = n.AcceptLoss(t.Context(), &shown)
		require.ErrorContains(t, err, "have changed")
	}
	target := others[0]
	plan = acceptOn(t, target)
	require.Contains(t, plan.Lost, LostDB{Name: "db", From: w.name, Had: policy.Pos{TXID: 3, Checksum: 1001}, Have: policy.Pos{TXID: 1, Checksum: 1}})
	require.Same(t, target, c.writer(w.name))
	require.Empty(t, target.fsm.state().Accept.Node, "an acceptance ends with the next Open")
	all, err := ListLost(target.dir)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Contains(t, all[0].Why, "accept")

	c.cut.set(w.name, false)
	eventually(t, "the old primary follows", func() bool {
		m, _ := w.lite.Marker()
		return m == target.fsm.state().ref() && w.lite.at("db") == target.lite.at("db")
	})
}

// One TXID with two contents among nodes in step: FAILED, until an operator
// says whose data wins.
func TestConflictIsForTheOperator(t *testing.T) {
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	others := c.loneRows(w, 0)
	others[0].lite.commit("db", 70)
	others[1].lite.commit("db", 71)
	c.writerNone(others)
	eventually(t, "state FAILED", func() bool {
		for _, n := range others {
			if n.IsLeading() && n.Status(t.Context()).State == StateFailed {
				return true
			}
		}
		return false
	})
	plan := acceptOn(t, others[1])
	require.Equal(t, []LostDB{{Name: "db", From: others[0].name, Had: policy.Pos{TXID: 2, Checksum: 70}, Have: policy.Pos{TXID: 2, Checksum: 71}}}, plan.Lost)
	require.Same(t, others[1], c.writer(w.name))
}

// The node in step comes back between acceptance and Open: it goes first. The
// wiped nodes never become primary by themselves.
func TestWhoIsInStepGoesBeforeTheAccepted(t *testing.T) {
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	others := c.loneRows(w, 1)
	for _, n := range others {
		n.lite.copyFrom(newFakeLiteFS())
		require.NoError(t, n.lite.SetMarker(policy.OpenRef{}))
		n.lite.commit("db", 50) // an old copy
	}
	c.writerNone(others)
	var plan LossPlan
	eventually(t, "a plan", func() bool {
		var err error
		plan, err = others[0].AcceptLoss(t.Context(), nil)
		return err == nil && plan.NotNeeded == ""
	})
	c.cut.set(w.name, false)
	require.Same(t, w, c.writer(), "the last primary has all of its rows")
	later, err := others[0].AcceptLoss(t.Context(), &plan)
	require.True(t, err != nil || later.NotNeeded != "", "%+v", later)
}

func TestLostEntriesSurviveACrashedWrite(t *testing.T) {
	dir := t.TempDir()
	all, err := ListLost(dir)
	require.NoError(t, err)
	require.Empty(t, all)
	e := Lost{ID: "20260101T000000.000Z-1", Kind: "known-lost", Databases: []LostDB{{Name: "db"}}}
	require.NoError(t, SaveLost(dir, e))
	require.NoError(t, os.WriteFile(filepath.Join(dir, lostDir, "x.json.tmp"), []byte("{"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, lostDir, "y.json"), []byte("{"), 0o600))
	all, err = ListLost(dir)
	require.ErrorContains(t, err, "y.json")
	require.Equal(t, []Lost{e}, all)
}

func (n *testNode) IsLeading() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reigning != 0
}

// writerNone waits until a leader among nodes has made a choice of nobody.
func (c *testCluster) writerNone(nodes []*testNode) {
	c.t.Helper()
	eventually(c.t, "a choice of nobody", func() bool {
		for _, n := range nodes {
			n.mu.Lock()
			none := n.reigning != 0 && n.lastReports != nil && n.lastResult.Winner == "" && !n.lastResult.Missing && n.ineligible
			n.mu.Unlock()
			if none {
				return true
			}
		}
		return false
	})
	for _, n := range nodes {
		require.False(c.t, n.gate.admits())
	}
}
