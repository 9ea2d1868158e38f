package quorum

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// ownLite is a LiteFS that elects by a lease of its own: the test is the lease.
type ownLite struct {
	*fakeLiteFS
	name string
	dead atomic.Bool
}

func (o *ownLite) Roles(ctx context.Context, fn func(bool, string)) error {
	for !o.dead.Load() {
		if _, primary, _ := o.Positions(ctx); primary {
			fn(true, o.name)
		} else {
			fn(false, "")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return errors.New("dead")
}

// owns is a LiteFS with a lease of its own for every node.
type owns map[string]*ownLite

func newOwns(names ...string) owns {
	o := owns{}
	for _, name := range names {
		o[name] = &ownLite{fakeLiteFS: newFakeLiteFS(), name: name}
	}
	return o
}

// use makes a node follow its LiteFS. The one that the cluster made stands
// still.
func (o owns) use(cfg *Config) {
	cfg.LiteFS.(*fakeLiteFS).stopped.Store(true)
	cfg.LiteFS, cfg.Roles = o[cfg.Name], o[cfg.Name]
	cfg.RenewWithin = func() time.Duration { return time.Hour } // what ends a grant here is LiteFS's word
}

func (o owns) move(from, to string) {
	if from != "" {
		o[from].setPrimary(false)
	}
	o[to].setPrimary(true)
}

func followCluster(t *testing.T) (*testCluster, owns) {
	o := newOwns("n1", "n2", "n3")
	return newCluster(t, 3, o.use), o
}

func (c *testCluster) admitted(name string) bool { return c.nodes[name].gate.admits() }

func (c *testCluster) leader() string {
	for name, n := range c.nodes {
		if n.observe().RaftLeader {
			return name
		}
	}
	return ""
}

// never looks again and again for what must not be, as long as what runs.
func never(t *testing.T, what string, bad func() bool, during func()) {
	t.Helper()
	done, found := make(chan struct{}), make(chan bool, 1)
	go func() {
		for {
			if bad() {
				found <- true
				return
			}
			select {
			case <-done:
				found <- false
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	during()
	close(done)
	require.False(t, <-found, what)
}

func (c *testCluster) twoAdmit() func() bool {
	var gates []*testGate
	for _, n := range c.nodes {
		gates = append(gates, n.gate)
	}
	return func() bool {
		open := 0
		for _, g := range gates {
			if g.admits() {
				open++
			}
		}
		return open > 1
	}
}

func TestFollowGoesWhereLiteFSIsPrimary(t *testing.T) {
	t.Parallel()
	c, o := followCluster(t)
	eventually(t, "somebody leads", func() bool { return c.leader() != "" })
	eventually(t, "and waits for a primary", func() bool {
		l := c.leader()
		return l != "" && c.nodes[l].verdict0().Reason == policy.ReasonNoRole
	})
	_, err := c.nodes["n1"].AcceptLoss(t.Context(), nil)
	require.ErrorIs(t, err, errFollows)
	never(t, "two gates are open", c.twoAdmit(), func() {
		was := ""
		for _, name := range []string{"n2", "n3", "n1", "n3"} {
			o.move(was, name)
			was = name
			eventually(t, "writes pass on "+name, func() bool { return c.admitted(name) })
			require.Equal(t, name, c.leader())
			st := c.nodes[name].fsm.state()
			require.Equal(t, name, st.Open.Hostname)
			m, _ := o[name].Marker()
			require.Equal(t, st.ref(), m, "the opener is marked")
			for other, n := range c.nodes {
				if other != name {
					require.NotEqual(t, StateSplitBrain, n.Status(t.Context()).State, "%s is on its way, no split brain", other)
				}
			}
		}
	})
}

func (n *testNode) verdict0() policy.Verdict { return policy.Decide(n.observe()) }

func TestFollowWithoutQuorum(t *testing.T) {
	c, o := followCluster(t)
	o.move("", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	index := c.nodes["n1"].fsm.state().Index
	// A claim that is just begun is on its way: let it be an old one.
	c.nodes["n1"].backdate(time.Minute)
	c.cut.set("n1", true)
	eventually(t, "n1 is fenced", func() bool { return !c.admitted("n1") })
	eventually(t, "n1 is a stale leader", func() bool {
		s := c.nodes["n1"].Status(t.Context())
		return s.StaleLeadership && s.State == StateSplitBrain && s.Reason == policy.ReasonStale && s.Role == "primary"
	})
	eventually(t, "another leads", func() bool { l := c.leader(); return l != "" && l != "n1" })
	never(t, "a node without the role admits writes", func() bool { return c.admitted("n2") || c.admitted("n3") }, func() {
		c.cut.set("n1", false)
		eventually(t, "n1 writes again, without help", func() bool { return c.admitted("n1") })
	})
	require.Greater(t, c.nodes["n1"].fsm.state().Index, index, "under another Open")
}

func (n *Node) backdate(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.own.claimed -= int64(d)
}

func TestFollowOneOpenForEachClaim(t *testing.T) {
	t.Parallel()
	c, o := followCluster(t)
	o.move("", "n2")
	eventually(t, "writes pass on n2", func() bool { return c.admitted("n2") })
	n2 := c.nodes["n2"]
	index := n2.fsm.state().Index
	n2.backdate(time.Minute)
	o["n2"].dead.Store(true)
	eventually(t, "LiteFS is not heard: fenced", func() bool { return !c.admitted("n2") && n2.observe().Role == policy.RoleUnknown })
	o["n2"].dead.Store(false)
	eventually(t, "writes pass again", func() bool { return c.admitted("n2") })
	require.Greater(t, n2.fsm.state().Index, index)
	require.Equal(t, n2.fsm.state().Index, n2.gate.lastEpoch(), "the gate's epoch is the Open's index")
	claim := n2.peerState(t.Context()).Claim
	require.Less(t, claim.Age, time.Minute, "another claim")
	require.False(t, claim.Seen, "nobody heard it begin")
}

func (g *testGate) lastEpoch() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epochs[len(g.epochs)-1]
}

func TestFollowFenceByHandStays(t *testing.T) {
	t.Parallel()
	c, o := followCluster(t)
	o.move("", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	n1 := c.nodes["n1"]
	epoch := n1.gate.lastEpoch()
	require.NoError(t, n1.SetFence(true, "maintenance"))
	never(t, "writes pass", func() bool { return n1.gate.admits() || c.admitted("n2") || c.admitted("n3") }, func() {
		require.Equal(t, policy.ReasonManual, n1.verdict0().Reason)
		require.Equal(t, "n1", c.leader(), "nobody else could use the leadership")
	})
	require.NoError(t, n1.SetFence(false, ""))
	eventually(t, "writes pass again", n1.gate.admits)
	require.Equal(t, epoch, n1.gate.lastEpoch(), "under the same Open")

	require.NoError(t, n1.SetFence(true, "maintenance"))
	o.move("n1", "n3")
	eventually(t, "the role went elsewhere, and leadership with it", func() bool { return c.admitted("n3") })
	require.NoError(t, n1.SetFence(false, ""))
}

// Two static primaries are a mistake: nobody writes until one is gone.
func TestFollowTwoStaticPrimaries(t *testing.T) {
	t.Parallel()
	o := newOwns("n1", "n2", "n3")
	o.move("", "n1")
	o.move("", "n2")
	c := newCluster(t, 3, func(cfg *Config) {
		o.use(cfg)
		cfg.SingleClaim = true
	})
	never(t, "writes pass", func() bool { return c.admitted("n1") || c.admitted("n2") || c.admitted("n3") }, func() {
		eventually(t, "the leader says so", func() bool {
			l := c.leader()
			if l == "" {
				return false
			}
			s := c.nodes[l].Status(t.Context())
			return s.Reason == policy.ReasonConflict && s.State == StateFailed
		})
	})
	o["n2"].setPrimary(false)
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	c.nodes["n1"].backdate(time.Minute)
	o["n2"].setPrimary(true)
	eventually(t, "n1 has heard of n2", func() bool {
		n := c.nodes["n1"]
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.peerStates["n2"].state.Claim != nil
	})
	require.True(t, c.admitted("n1"), "an open primary is not deposed by a mistake elsewhere")
	require.False(t, c.admitted("n2"))
}

// A LiteFS whose request to the lease server hangs goes on claiming. The newer
// claim holds.
func TestFollowNewerClaim(t *testing.T) {
	t.Parallel()
	c, o := followCluster(t)
	o.move("", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	c.nodes["n1"].backdate(time.Minute)
	never(t, "two gates are open", c.twoAdmit(), func() {
		o["n2"].setPrimary(true)
		eventually(t, "writes pass on n2", func() bool { return c.admitted("n2") })
	})
	require.False(t, c.admitted("n1"))
	eventually(t, "n1 clings to the role", func() bool { return c.nodes["n1"].Status(t.Context()).StaleLeadership })
	require.Nil(t, c.nodes["n1"].peerState(t.Context()).Claim, "and claims nothing any more")
	// Whoever leads, the old claim gets nothing.
	s, ok := c.nodes["n2"].server("n1")
	require.True(t, ok)
	never(t, "n1 writes", func() bool { return c.admitted("n1") }, func() {
		_ = c.nodes["n2"].raft.LeadershipTransferToServer(s.ID, s.Address).Error()
		eventually(t, "leadership returns to n2", func() bool { return c.leader() == "n2" && c.admitted("n2") })
	})
	// A role that it takes anew is another claim.
	o["n1"].setPrimary(false)
	eventually(t, "n1 has heard it", func() bool { return c.nodes["n1"].observe().Role == policy.RoleReplica })
	c.nodes["n2"].backdate(time.Minute)
	o.move("n2", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
}

func TestFollowShutdownIsNoSplitBrain(t *testing.T) {
	t.Parallel()
	c, o := followCluster(t)
	o.move("", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	n1 := c.nodes["n1"]
	n1.backdate(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	never(t, "split brain", func() bool { return n1.DetectStaleLeadership() }, func() { n1.StepDown(ctx) })
	require.NoError(t, ctx.Err())
	require.False(t, n1.gate.admits())
	require.Nil(t, n1.peerState(ctx).Claim, "leadership must not come back")
	eventually(t, "another leads", func() bool { l := c.leader(); return l != "" && l != "n1" })
	require.Equal(t, KindClose, n1.fsm.state().Newest.Kind)
}

func TestFollowAndServeDoNotMix(t *testing.T) {
	t.Parallel()
	o := newOwns("n1", "n2", "n3")
	c := newCluster(t, 3, o.use)
	o.move("", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	dir := c.nodes["n3"].dir
	c.stop("n3")
	c.edit = nil
	c.lites["n3"] = newFakeLiteFS()
	n3 := c.start("n3", dir)
	require.ErrorContains(t, n3.CheckPeers(), "litefs.mode: serve here, follow on n")
	require.True(t, c.admitted("n1"), "one node of another mode stops nobody")
	// Even where raft elects it, it opens nothing.
	never(t, "n3 writes", n3.gate.admits, func() {
		n1 := c.nodes["n1"]
		s, ok := n1.server("n3")
		require.True(t, ok)
		eventually(t, "n3 is elected", func() bool {
			_ = n1.raft.LeadershipTransferToServer(s.ID, s.Address).Error()
			n3.lease.mu.Lock()
			defer n3.lease.mu.Unlock()
			return n3.lease.term != 0
		})
		eventually(t, "leadership comes back to n1", func() bool { return c.admitted("n1") })
	})
}

// A voter without LiteFS belongs to either mode; as leader it looks for the
// claimant.
func TestFollowWitnessHandsOn(t *testing.T) {
	t.Parallel()
	o := newOwns("n1", "n2", "n3")
	c := newCluster(t, 3, func(cfg *Config) {
		o.use(cfg)
		if cfg.Name == "n3" {
			cfg.LiteFS, cfg.Roles = nil, nil
		}
	})
	o.move("", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	require.NoError(t, c.nodes["n3"].CheckPeers())
	s, ok := c.nodes["n1"].server("n3")
	require.True(t, ok)
	_ = c.nodes["n1"].raft.LeadershipTransferToServer(s.ID, s.Address).Error()
	eventually(t, "leadership comes back to n1", func() bool { return c.leader() == "n1" && c.admitted("n1") })
	require.False(t, c.admitted("n3"))
}

// What LiteFS replicated by itself is recorded as held, so that a cluster that
// goes over to serve does not take an old copy for current.
func TestFollowThenServe(t *testing.T) {
	t.Parallel()
	o := newOwns("n1", "n2", "n3")
	c := newCluster(t, 3, o.use)
	o["n1"].commit("db", 1)
	o["n2"].copyFrom(o["n1"].fakeLiteFS)
	o["n3"].copyFrom(o["n1"].fakeLiteFS)
	o.move("", "n1")
	eventually(t, "writes pass on n1", func() bool { return c.admitted("n1") })
	opened := c.nodes["n1"].fsm.state()
	require.Equal(t, policy.Positions{"db": {TXID: 1, Checksum: 1}}, opened.Open.Positions)
	o["n1"].commit("db", 2)
	o["n2"].copyFrom(o["n1"].fakeLiteFS) // n3 stays where the Open was
	held := policy.Positions{"db": {TXID: 2, Checksum: 2}}
	eventually(t, "what two of three hold is recorded", func() bool {
		return c.nodes["n3"].fsm.state().Held.Equal(held)
	})
	eventually(t, "n2 shows that it is in step", func() bool {
		return c.nodes["n2"].fsm.state().Held.Equal(held) && c.nodes["n2"].Status(t.Context()).InStep
	})
	dirs := map[string]string{}
	for name, n := range c.nodes {
		dirs[name] = n.dir
	}
	for name := range dirs {
		c.stop(name)
		o[name].setPrimary(false)
	}
	// The opener does not come back.
	c.edit = nil
	for _, name := range []string{"n2", "n3"} {
		c.lites[name] = o[name].fakeLiteFS
		c.start(name, dirs[name])
	}
	never(t, "the old copy becomes primary", func() bool { return c.admitted("n3") }, func() {
		eventually(t, "writes pass on n2", func() bool { return c.admitted("n2") })
	})
}

func TestFollowMakesRoomForRecovery(t *testing.T) {
	clock := &setClock{}
	var mu sync.Mutex
	holding, calls := 0, 0
	n := &Node{
		cfg: Config{
			Name: "n1", ReaderGrace: time.Hour, Roles: &ownLite{}, HeartbeatTimeout: time.Second,
			Quiesce: func(context.Context, time.Duration) func() {
				mu.Lock()
				defer mu.Unlock()
				holding++
				calls++
				return func() { mu.Lock(); defer mu.Unlock(); holding-- }
			},
		},
		clock: clock, log: testLog("n1"), changed: make(chan struct{}, 1), wakeLead: make(chan struct{}, 1),
	}
	n.ctx, n.cancel = context.WithCancel(t.Context())
	held := func(want int) {
		t.Helper()
		eventually(t, "readers held back", func() bool { mu.Lock(); defer mu.Unlock(); return holding == want })
	}
	say := func(primary bool, host string, after time.Duration) {
		clock.boot += int64(after)
		n.heardRole(primary, host)
	}
	say(false, "n2", time.Second)
	say(false, "", 6*time.Second) // the stream has broken: Recover
	held(1)
	say(false, "", 0) // no change
	held(1)
	say(false, "n3", time.Second) // another primary: Recover is over
	held(0)
	say(false, "", time.Second) // it could not connect
	say(false, "n3", time.Second)
	say(false, "", time.Second)
	held(0)
	require.Equal(t, 1, calls, "a replica that tries in vain holds nobody back")
	say(true, "n1", time.Second)
	held(0)
	say(false, "", time.Minute) // deposed
	held(1)
	n.lostRole(http.ErrServerClosed) // and dead
	held(0)
	require.Equal(t, 2, calls)
	n.cancel()
	n.wg.Wait()
}

// setClock stands still.
type setClock struct{ boot int64 }

func (c *setClock) Boot() int64 { return c.boot + int64(time.Hour) }
func (c *setClock) Mono() int64 { return c.Boot() }
