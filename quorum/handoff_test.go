package quorum

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// settled waits until every node follows the newest Open and stands where the
// primary stands, and returns the primary and the others.
func (c *testCluster) settled() (w *testNode, others []*testNode) {
	c.t.Helper()
	eventually(c.t, "all in step", func() bool {
		w = c.writer()
		ref := w.fsm.state().ref()
		for _, n := range c.nodes {
			if m, _ := n.lite.Marker(); m != ref || n.lite.at("db") != w.lite.at("db") {
				return false
			}
		}
		return true
	})
	for _, n := range c.nodes {
		if n != w {
			others = append(others, n)
		}
	}
	return w, others
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// atFence runs once, when a gate has been shut.
type atFence struct {
	mu sync.Mutex
	f  func()
}

func (a *atFence) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.f = f
}

func (a *atFence) edit(cfg *Config) {
	fence := cfg.Fence
	cfg.Fence = func(ctx context.Context) error {
		err := fence(ctx)
		a.mu.Lock()
		f := a.f
		a.f = nil
		a.mu.Unlock()
		if f != nil {
			f()
		}
		return err
	}
}

func TestHandoffMovesTheRole(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	c.writer().lite.commit("db", 1)
	old, others := c.settled()
	to := others[1]
	res, err := old.Handoff(within(t, 10*time.Second), to.name)
	require.NoError(t, err)
	require.Equal(t, HandoffResult{From: old.name, Primary: to.name, PausedMS: res.PausedMS}, res)
	require.True(t, to.gate.admits())
	require.False(t, old.gate.admits())

	c.settled()
	res, err = old.Handoff(within(t, 10*time.Second), to.name)
	require.NoError(t, err, "it is primary already")
	require.Equal(t, HandoffResult{From: to.name, Primary: to.name}, res)

	// From a node that does not lead, and to whoever is best.
	res, err = others[0].Handoff(within(t, 10*time.Second), "")
	require.NoError(t, err)
	require.Equal(t, to.name, res.From)
	require.Equal(t, min(old.name, others[0].name), res.Primary, "equals go by name")

	c.settled()
	require.NoError(t, to.Promote(within(t, 10*time.Second)))
	require.True(t, to.gate.admits())
}

// What becomes of the target while writes are held up calls the handoff off:
// the old primary goes on under the same Open, and nothing is lost.
func TestHandoffIsCalledOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(c *testCluster, to *testNode)
		kind error
		says string
	}{
		{"killed", func(c *testCluster, to *testNode) { c.stop(to.name) }, ErrLate, "does not answer"},
		{"its LiteFS stopped", func(_ *testCluster, to *testNode) { to.lite.stopped.Store(true) }, ErrLate, "behind"},
		{"it does not apply", func(_ *testCluster, to *testNode) { to.lite.stuck.Store(true) }, ErrLate, "is 1 transactions behind"},
		{"cut off", func(c *testCluster, to *testNode) { c.cut.set(to.name, true) }, ErrLate, "n"},
		{"fenced", func(_ *testCluster, to *testNode) { _ = to.SetFence(true, "maintenance") }, ErrUnsafe, "is fenced (manual)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hook := &atFence{}
			cl := newCluster(t, 3, hook.edit)
			cl.writer().lite.commit("db", 1)
			old, others := cl.settled()
			to := others[0]
			index := old.fsm.state().Index
			hook.set(func() {
				c.do(cl, to)
				old.lite.commit("db", 2) // the write that was drained
			})
			_, err := old.Handoff(within(t, 2*cl.H), to.name)
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.says)
			eventually(t, "writes pass again", old.gate.admits)
			require.Equal(t, index, old.fsm.state().Index, "under the same Open")
			require.Equal(t, policy.ReasonNone, old.Status(t.Context()).Reason)
			require.Equal(t, uint64(2), old.lite.at("db").TXID)
		})
	}
}

func TestHandoffRefusals(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	old, others := c.settled()
	fenced, stale := others[0], others[1]
	require.NoError(t, fenced.SetFence(true, "maintenance"))
	stale.lite.stopped.Store(true)
	require.NoError(t, stale.lite.SetMarker(policy.OpenRef{Index: 1, ID: "older"}))
	for name, says := range map[string]string{
		"n9":        `no node "n9" in this cluster (n1, n2, n3)`,
		fenced.name: "is fenced (manual); lift it with `litefence unfence` there",
		stale.name:  "is not in step with this primary",
		"":          "no other node is in step with this primary",
	} {
		_, err := old.Handoff(within(t, 10*time.Second), name)
		require.ErrorIs(t, err, ErrUnsafe, name)
		require.ErrorContains(t, err, says)
		require.True(t, old.gate.admits(), "writes went on")
		if name == "" || name == stale.name {
			continue // these take their time
		}
		_, err = stale.Handoff(within(t, 10*time.Second), name)
		require.ErrorIs(t, err, ErrUnsafe, "the kind crosses the wire")
		require.ErrorContains(t, err, says)
	}
}

func TestSecondHandoffIsRefused(t *testing.T) {
	t.Parallel()
	hook := &atFence{}
	c := newCluster(t, 3, hook.edit)
	old, others := c.settled()
	var second error
	var reason policy.Reason
	hook.set(func() {
		_, second = old.Handoff(t.Context(), others[1].name)
		reason = old.Status(t.Context()).Reason
	})
	_, err := old.Handoff(within(t, 10*time.Second), others[0].name)
	require.NoError(t, err)
	require.ErrorIs(t, second, errUnderWay)
	require.Equal(t, policy.ReasonHandoff, reason)
	require.True(t, others[0].gate.admits())
}

// The target gets leadership, but its LiteFS takes no role: back to us, under
// another Open, with everything.
func TestHandoffTargetTakesNoRole(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	c.writer().lite.commit("db", 1)
	old, others := c.settled()
	to := others[0]
	to.lite.barred.Store(true)
	index := old.fsm.state().Index
	_, err := old.Handoff(within(t, 10*time.Second), to.name)
	require.ErrorContains(t, err, to.name+" did not take over")
	require.NotErrorIs(t, err, ErrUnsafe)
	w := c.writer()
	require.NotEqual(t, to, w)
	require.Greater(t, w.fsm.state().Index, index)
	require.Equal(t, uint64(1), w.lite.at("db").TXID)
}

// A primary that loses its majority in the middle gives up: others go on.
func TestHandoffOfAPrimaryThatIsCutOff(t *testing.T) {
	t.Parallel()
	hook := &atFence{}
	c := newCluster(t, 3, hook.edit)
	old, others := c.settled()
	hook.set(func() { c.cut.set(old.name, true) })
	_, err := old.Handoff(within(t, 5*time.Second), others[0].name)
	require.Error(t, err)
	w := c.writer(old.name)
	require.NotEqual(t, old, w)
	require.False(t, old.gate.admits())
}

// A fenced or stopping leader waits for an heir that has everything: LiteFS
// replicates after it has acknowledged.
func TestLeavingLeaderWaitsForAnHeir(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*testNode){
		"fenced":   func(n *testNode) { _ = n.SetFence(true, "maintenance") },
		"blocked":  func(n *testNode) { _ = n.SetBlocked(true) },
		"stopping": func(n *testNode) { n.StepDown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3, nil)
			c.writer().lite.commit("db", 1)
			old, others := c.settled()
			for _, n := range others {
				n.lite.stuck.Store(true)
			}
			old.lite.commit("db", 2) // acknowledged, and nobody has it yet
			thaw := time.AfterFunc(c.H, func() {
				for _, n := range others {
					n.lite.stuck.Store(false)
				}
			})
			defer thaw.Stop()
			leave(old)
			w := c.writer(old.name)
			require.Equal(t, uint64(2), w.lite.at("db").TXID, "the last transaction is there")
		})
	}
}

// After a Close for somebody, nobody who lacks an acknowledged transaction may
// come next; after any other Close the rule is the Open's.
func TestCloseForAnHeirHoldsEverything(t *testing.T) {
	open := Record{Kind: KindOpen, Term: 3, RaftID: "a-1", ID: "x", Positions: map2("db", 5, 50)}
	st, err := state{}.apply(open, 10, 3)
	require.NoError(t, err)
	plain := Record{Kind: KindClose, Term: 3, RaftID: "a-1", ID: "x"}
	after, err := st.apply(plain, 11, 3)
	require.NoError(t, err)
	require.Equal(t, map2("db", 5, 50), after.Held)
	plain.To, plain.Positions = "b-1", map2("db", 9, 90)
	after, err = st.apply(plain, 11, 3)
	require.NoError(t, err)
	behind := policy.Report{Node: "c", HasLiteFS: true, Eligible: true, Marker: after.ref(), Positions: map2("db", 8, 80)}
	require.False(t, behind.Qualifies(after.lineage()))
	behind.Positions = map2("db", 9, 90)
	require.True(t, behind.Qualifies(after.lineage()))
	late, err := after.apply(Record{Kind: KindHeld, Term: 3, ID: "x", Positions: map2("db", 7, 70)}, 12, 3)
	require.ErrorContains(t, err, "close")
	require.Equal(t, after, late)
}

func TestUnfitForAHandoff(t *testing.T) {
	n := &Node{cfg: Config{Name: "n1", HeartbeatTimeout: time.Second, Lease: time.Second, LiteFS: newFakeLiteFS()}, mux: &mux{}}
	fit := PeerState{Name: "n2", RaftID: "n2-1", Heartbeat: time.Second, Lease: time.Second, Mode: modeServe, Protocol: peerProtocol}
	s := raft.Server{ID: "n2-1", Address: "n2:1"}
	require.NoError(t, n.unfit(s, fit))
	for says, spoil := range map[string]func(*PeerState){
		"is fenced (manual)":     func(p *PeerState) { p.Reason = policy.ReasonManual },
		"is fenced (command)":    func(p *PeerState) { p.Reason = policy.ReasonCommand },
		"is stopping":            func(p *PeerState) { p.Reason = policy.ReasonShutdown },
		"is unhealthy (no disk)": func(p *PeerState) { p.Health = policy.HealthStatus{Health: policy.Unhealthy, Reason: "no disk"} },
		"was replaced":           func(p *PeerState) { p.RaftID = "n2-2" },
		"quorum.lease":           func(p *PeerState) { p.Lease = time.Minute },
		"says it is \"n3\"":      func(p *PeerState) { p.Name = "n3" },
	} {
		p := fit
		spoil(&p)
		err := n.unfit(s, p)
		require.ErrorIs(t, err, ErrUnsafe, says)
		require.ErrorContains(t, err, says)
	}
}
