package quorum

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	t.Parallel()
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
	t.Parallel()
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
			if n.IsLeading() && n.chosen().Unsynced {
				return strings.Contains(n.Status(t.Context()).Problem, "policy.require-synced")
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
		eventually(t, "its leader has looked", func() bool {
			_, err = n.AcceptLoss(t.Context(), &shown)
			return err == nil || !strings.Contains(err.Error(), "does not lead")
		})
		require.ErrorContains(t, err, "have changed")
	}
	target := others[0]
	require.NoError(t, others[1].SetFence(true, "lacks rows too"))
	plan = acceptOn(t, target)
	require.NoError(t, others[1].SetFence(false, ""))
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
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	others := c.loneRows(w, 0)
	others[0].lite.commit("db", 70)
	others[1].lite.commit("db", 71)
	c.writerNone(others)
	eventually(t, "state FAILED on leader and follower", func() bool {
		return others[0].Status(t.Context()).State == StateFailed && others[1].Status(t.Context()).State == StateFailed
	})
	problem := "no primary: db has contents on " + min(others[0].name, others[1].name) + " and " + max(others[0].name, others[1].name) + " that exclude each other; run `litefence accept-loss` on the node whose data shall win"
	eventually(t, "leader and follower say what it is", func() bool {
		return others[0].Status(t.Context()).Problem == problem && others[1].Status(t.Context()).Problem == problem
	})
	plan := acceptOn(t, others[1])
	require.Equal(t, []LostDB{{Name: "db", From: others[0].name, Had: policy.Pos{TXID: 2, Checksum: 70}, Have: policy.Pos{TXID: 2, Checksum: 71}}}, plan.Lost)
	require.Same(t, others[1], c.writer(w.name))
	require.Empty(t, others[1].Status(t.Context()).Problem)
	eventually(t, "it is over on both", func() bool {
		return others[0].Status(t.Context()).State == StateHealthy && others[1].Status(t.Context()).State == StateHealthy
	})
}

// The node in step comes back after the acceptance and before the Open: it goes
// first, and the acceptance is over. The wiped nodes never become primary by
// themselves.
func TestWhoIsInStepGoesBeforeTheAccepted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, quickOffers)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	others := c.loneRows(w, 1)
	for _, n := range others {
		n.lite.barred.Store(true) // LiteFS of the accepted node takes its time
		n.lite.copyFrom(newFakeLiteFS())
		require.NoError(t, n.lite.SetMarker(policy.OpenRef{}))
		n.lite.commit("db", 50) // an old copy
	}
	c.writerNone(others)
	plan := acceptOn(t, others[0])
	eventually(t, "the accepted node leads", func() bool {
		return others[0].IsLeading() && others[0].chosen() == policy.ElectionResult{Winner: others[0].name, Accepted: true}
	})
	require.Equal(t, string(others[0].raftID()), others[0].fsm.state().Accept.RaftID)
	c.cut.set(w.name, false)
	require.Same(t, w, c.writer(), "the last primary has all of its rows")
	require.Zero(t, w.fsm.state().Accept)
	for _, n := range others {
		n.lite.barred.Store(false)
	}
	later, err := others[0].AcceptLoss(t.Context(), &plan)
	require.True(t, err != nil || later.NotNeeded != "", "%+v", later)
	require.Same(t, w, c.writer())
}

// A LiteFS without the cluster's id refuses to be its primary. The loss is not
// accepted there; what to do is said.
func TestAcceptLossWantsTheClusterID(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(cfg *Config) { cfg.LiteFSDir = "/var/lib/litefs" })
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	require.NoError(t, w.SetClusterID(t.Context(), "LFSC1"))
	eventually(t, "the id is confirmed everywhere", func() bool {
		return c.nodes["n1"].ClusterID() != "" && c.nodes["n2"].ClusterID() != "" && c.nodes["n3"].ClusterID() != ""
	})
	others := c.loneRows(w, 1)
	wiped := others[0]
	for _, n := range others {
		n.lite.copyFrom(newFakeLiteFS())
		require.NoError(t, n.lite.SetMarker(policy.OpenRef{}))
	}
	c.writerNone(others)
	for id, says := range map[string]string{"": "has no cluster id and", "LFSC2": "has the cluster id LFSC2 and"} {
		wiped.lite.id.Store(&id)
		var plan LossPlan
		eventually(t, "a plan", func() bool {
			var err error
			plan, err = wiped.AcceptLoss(t.Context(), nil)
			return plan.Node != "" && err != nil
		})
		_, err := wiped.AcceptLoss(t.Context(), &plan)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "write LFSC1 into /var/lib/litefs/clusterid, start LiteFS again")
		require.Empty(t, wiped.fsm.state().Accept.Node)
	}
	wiped.lite.id.Store(nil)
	acceptOn(t, wiped)
	require.Same(t, wiped, c.writer(w.name))
}

// An acceptance is for one identity of a node: it is read from the log alone.
func TestAcceptRecordNamesTheIdentity(t *testing.T) {
	st := state{Open: Record{Kind: KindOpen, ID: "o", Node: "n1", RaftID: "n1-1"}, Index: 7}
	r := Record{Kind: KindAccept, Term: 3, ID: "o", Node: "n2", RaftID: "n2-1", Positions: policy.Positions{"db": {TXID: 1}}}
	next, err := st.apply(r, 8, 3)
	require.NoError(t, err)
	rep := policy.Report{Node: "n2", ID: "n2-1", HasLiteFS: true, Positions: r.Positions}
	require.True(t, next.lineage().Accepted.Covers(rep))
	rep.ID = "n2-2"
	require.False(t, next.lineage().Accepted.Covers(rep), "wiped and added again")
	for _, bad := range []Record{
		{Kind: KindAccept, Term: 3, ID: "o", Node: "n2"},
		{Kind: KindAccept, Term: 3, ID: "o", RaftID: "n2-1"},
		{Kind: KindAccept, Term: 3, ID: "o", Node: "n2", RaftID: "n3-1"},
		{Kind: KindAccept, Term: 3, ID: "other", Node: "n2", RaftID: "n2-1"},
		{Kind: KindAccept, Term: 2, ID: "o", Node: "n2", RaftID: "n2-1"},
	} {
		same, err := st.apply(bad, 8, 3)
		require.Error(t, err, "%+v", bad)
		require.Equal(t, st, same)
	}
	next, err = next.apply(Record{Kind: KindOpen, Term: 3, ID: "p", Node: "n3", RaftID: "n3-1"}, 9, 3)
	require.NoError(t, err)
	require.Zero(t, next.Accept, "an Open ends it")
}

// A node that is fenced by hand makes an acceptance unnecessary only where it
// would really be chosen.
func TestUnfencedHeir(t *testing.T) {
	open := policy.OpenRef{Index: 7, ID: "o"}
	at := func(txid uint64) policy.Positions { return policy.Positions{"db": {TXID: txid, Checksum: txid}} }
	l := policy.Lineage{Open: open, Held: at(3), Opened: at(1)}
	fenced := policy.Report{Node: "n2", HasLiteFS: true, Positions: at(4), Marker: open}
	wiped := policy.Report{Node: "n3", HasLiteFS: true, Eligible: true}
	require.Equal(t, "n2", unfenced(3, l, []policy.Report{wiped, fenced}))
	l.Known = at(5)
	require.Empty(t, unfenced(3, l, []policy.Report{wiped, fenced}), "it lacks what require-synced asks for")
	l.Known = nil
	fenced.Marker = policy.OpenRef{}
	require.Empty(t, unfenced(3, l, []policy.Report{wiped, fenced}), "it is not in step")
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

// chosen is the result of the node's newest choice.
func (n *testNode) chosen() policy.ElectionResult {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lastResult
}

// quickOffers gives a LiteFS little time to ask for the key.
func quickOffers(cfg *Config) { cfg.acquireWithin = 300 * time.Millisecond }

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
