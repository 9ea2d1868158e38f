package quorum

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func (c *testCluster) others(n *testNode) (out []*testNode) {
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		if c.nodes[name] != n {
			out = append(out, c.nodes[name])
		}
	}
	return out
}

// join adds a name to the cluster's list and starts it. Those that run keep
// their own list.
func (c *testCluster) join(name string) *testNode {
	c.t.Helper()
	free := freeAddr(c.t)
	c.addrs, c.lites = maps.Clone(c.addrs), maps.Clone(c.lites)
	c.addrs[name], c.lites[name] = free, newFakeLiteFS()
	return c.start(name, c.t.TempDir())
}

func add(t *testing.T, by, n *testNode) []string {
	t.Helper()
	steps, err := by.ChangeMembers(t.Context(), Change{Op: "add", Node: n.name, Address: n.cfg.Advertise})
	require.NoError(t, err)
	return steps
}

func refused(t *testing.T, by *testNode, c Change, why string) {
	t.Helper()
	_, err := by.ChangeMembers(t.Context(), c)
	var no *Refused
	require.ErrorAs(t, err, &no)
	require.Contains(t, no.Reason, why)
}

// configurations returns the voters of every configuration in a node's log.
func configurations(t *testing.T, n *testNode) (all []map[raft.ServerID]bool) {
	t.Helper()
	last, err := n.store.bolt.LastIndex()
	require.NoError(t, err)
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		require.NoError(t, n.store.bolt.GetLog(i, &l))
		if l.Type != raft.LogConfiguration {
			continue
		}
		voters := map[raft.ServerID]bool{}
		for _, s := range raft.DecodeConfiguration(l.Data).Servers {
			if s.Suffrage == raft.Voter {
				voters[s.ID] = true
			}
		}
		all = append(all, voters)
	}
	return all
}

// singleSteps: no configuration differs from the one before by more than one
// voter.
func singleSteps(t *testing.T, n *testNode) {
	t.Helper()
	all := configurations(t, n)
	for i, now := range all[1:] {
		changed := 0
		for id := range now {
			if !all[i][id] {
				changed++
			}
		}
		for id := range all[i] {
			if !now[id] {
				changed++
			}
		}
		require.LessOrEqual(t, changed, 1, "%v -> %v", all[i], now)
	}
}

// A cluster grows from one voter to three; writes under the first one's Open go
// on through it, because nobody votes before it has the log.
func TestGrowFromOne(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	for _, name := range []string{"n2", "n3"} {
		n := c.join(name)
		eventually(t, name+" says what is missing", func() bool {
			return strings.Contains(n.Status(t.Context()).Membership, "run `litefence peers add "+name+" "+n.cfg.Advertise+"` on a member")
		})
		steps := add(t, w, n)
		require.Len(t, steps, 2)
		require.Contains(t, steps[0], "admitted, without a vote yet")
		require.Contains(t, steps[1], "votes")
	}
	c.inStep(w)
	require.True(t, w.gate.admits())
	w.gate.mu.Lock()
	require.Len(t, w.gate.epochs, 1, "writes went on")
	w.gate.mu.Unlock()
	eventually(t, "the first one's list is short", func() bool {
		return strings.Contains(w.Status(t.Context()).Membership, "quorum.peers here lacks members; add n2: ")
	})
	eventually(t, "the others are content", func() bool { return c.nodes["n3"].Status(t.Context()).Membership == "" })
	require.False(t, w.fsm.state().creditable(), "no wait is saved until the next Open")
	steps := add(t, c.nodes["n2"], c.nodes["n3"])
	require.Contains(t, steps[0], "is a voter already")
	singleSteps(t, w)
	c.cut.set("n1", true)
	c.writer("n1")
}

// The first by name comes back empty: it founds nothing, has no vote, says what
// to do, and so do the others; a follower takes the command.
func TestWipedNodeIsTakenIn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	victim := "n1"
	if w.name == victim {
		victim = "n2"
	}
	old := c.nodes[victim].raftID()
	c.stop(victim)
	c.lites[victim] = newFakeLiteFS()
	again := c.start(victim, t.TempDir())
	command := "run `litefence peers add " + victim + " " + c.addrs[victim] + "` on a member"
	eventually(t, "both sides say so", func() bool {
		seen := ""
		for _, p := range w.Status(t.Context()).Peers {
			if p.Node == victim {
				seen = p.Membership
			}
		}
		own := again.Status(t.Context())
		return seen == "empty, not a member: "+command && own.Member == "none" &&
			strings.HasPrefix(own.Membership, "empty, not a member of the cluster") && strings.HasSuffix(own.Membership, command)
	})
	var follower *testNode
	for _, n := range c.others(w) {
		if n != again {
			follower = n
		}
	}
	steps := add(t, follower, again)
	require.Len(t, steps, 3)
	require.Contains(t, steps[0], string(old)+") removed")
	ids, _ := w.voters()
	require.Len(t, ids, 3)
	require.NotContains(t, ids, old)
	require.Contains(t, ids, again.raftID())
	singleSteps(t, w)
	c.inStep(w)
	eventually(t, "it knows", func() bool { return again.Status(t.Context()).Member == "voter" })
	c.cut.set(w.name, true)
	c.writer(w.name)
}

// The leader is asked to remove itself: it hands on first. The removed node says
// so, also after a restart, and disturbs nobody.
func TestRemovedLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	old := c.writer()
	old.lite.commit("db", 1)
	c.inStep(old)
	steps, err := old.ChangeMembers(t.Context(), Change{Op: "remove", Node: old.name})
	require.NoError(t, err)
	require.Len(t, steps, 1)
	next := c.writer(old.name)
	ids, _ := next.voters()
	require.Len(t, ids, 2)
	require.NotContains(t, ids, old.raftID())
	dir := old.dir
	for range 2 {
		eventually(t, "it says that it was removed", func() bool {
			s := c.nodes[old.name].Status(t.Context())
			return strings.HasPrefix(s.Membership, "removed from the cluster; to take it in again run `litefence peers add "+old.name)
		})
		c.stop(old.name)
		c.start(old.name, dir)
	}
	term := next.raft.CurrentTerm()
	removed := c.nodes[old.name]
	eventually(t, "it has looked for a leader in vain", func() bool {
		s := removed.Status(t.Context())
		return time.Since(removed.born) > 6*c.H && s.Fenced && s.Leader == "" && !s.StaleLeadership && s.State == StateHealthy
	})
	require.Equal(t, term, next.raft.CurrentTerm(), "nobody was disturbed")
	require.True(t, next.gate.admits())
	for _, p := range next.Status(t.Context()).Peers {
		if p.Node == old.name {
			require.Equal(t, "none", p.Member)
			require.Contains(t, p.Membership, "not a member any more")
		}
	}
	steps = add(t, next, removed)
	require.Contains(t, steps[len(steps)-1], "votes")
	c.inStep(next)
	singleSteps(t, next)
}

func TestUnsafeChangesAreRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	down, up := c.others(w)[0], c.others(w)[1]
	refused(t, up, Change{Op: "add", Node: "n4", Address: "127.0.0.1:1"}, "n4 does not answer at 127.0.0.1:1: start litefence there first")
	refused(t, w, Change{Op: "add", Node: "n4", Address: c.addrs[up.name]}, `says it is "`+up.name+`"`)
	_, err := w.ChangeMembers(t.Context(), Change{Op: "remove", Node: "n9"})
	require.ErrorContains(t, err, "n9 is no member")

	w.changing.Lock()
	refused(t, up, Change{Op: "remove", Node: down.name}, "another change of the members is under way")
	w.changing.Unlock()

	// A node of another cluster, and one that knows none of the members.
	foreign := newCluster(t, 1, nil)
	f := foreign.writer()
	refused(t, w, Change{Op: "add", Node: "n1", Address: f.cfg.Advertise}, "n1 at "+f.cfg.Advertise+" belongs to another cluster")
	foreign.stopAll()
	foreign.edit = func(cfg *Config) { cfg.Peers = map[string]string{"n1": cfg.Advertise, "n8": "127.0.0.1:1"} }
	lone := foreign.start("n1", t.TempDir())
	refused(t, w, Change{Op: "add", Node: "n1", Address: lone.cfg.Advertise}, "quorum.peers on n1 names no member of this cluster")
	foreign.stopAll()
	foreign.edit = func(cfg *Config) {
		cfg.Lease = 2 * foreign.D
		cfg.Peers = map[string]string{"n1": cfg.Advertise, "n8": "127.0.0.1:1"}
	}
	lone = foreign.start("n1", t.TempDir())
	refused(t, w, Change{Op: "add", Node: "n1", Address: lone.cfg.Advertise}, "quorum.lease: 150ms here, 300ms on n1")

	// Another machine under the name of a member that is alive.
	twin := freeAddr(t)
	lite := c.lites[up.name]
	c.lites[up.name] = newFakeLiteFS()
	c.edit = func(cfg *Config) {
		if cfg.Name == up.name {
			cfg.Listen, cfg.Advertise = twin, twin
		}
	}
	second := c.start(up.name, t.TempDir())
	c.nodes["twin"], c.nodes[up.name], c.lites[up.name], c.edit = second, up, lite, nil
	refused(t, w, Change{Op: "add", Node: up.name, Address: twin}, "is a member and answers, as "+string(up.raftID()))
	c.stop("twin")

	c.stop(down.name)
	refused(t, w, Change{Op: "remove", Node: up.name}, "1 of 2 voters would answer, which is no majority (["+down.name+"] silent)")
	refused(t, up, Change{Op: "remove", Node: w.name}, "which is no majority")
	_, err = up.ChangeMembers(t.Context(), Change{Op: "remove", Node: down.name})
	require.NoError(t, err, "the one that is down may go")
	_, err = w.ChangeMembers(t.Context(), Change{Op: "remove", Node: up.name})
	require.NoError(t, err)
	eventually(t, "it goes on alone", w.gate.admits)
	refused(t, w, Change{Op: "remove", Node: w.name}, w.name+" is the last voter")
	singleSteps(t, w)
}

// Without a majority nothing can be changed, and that is said.
func TestChangeWithoutLeaderIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	for _, n := range c.others(w) {
		c.cut.set(n.name, true)
	}
	eventually(t, "no leader", func() bool { return w.raft.State() != raft.Leader })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := w.ChangeMembers(ctx, Change{Op: "remove", Node: c.others(w)[0].name})
	var no *Refused
	require.True(t, errors.As(err, &no), "%v", err)
	require.Contains(t, no.Reason, "no leader is known here")
}

// A node that cannot be reached by raft gets no vote, and is out again.
func TestNodeThatDoesNotCatchUpGetsNoVote(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := c.writer()
	n := c.join("n2")
	m := &memberChange{Node: w.Node, term: w.fsm.state().Open.Term, name: "n2", addr: n.cfg.Advertise}
	require.NoError(t, m.commit(w.raft.AddNonvoter("n2-other", "127.0.0.1:1", 0, time.Second), "admitted", "n2-other"))
	require.ErrorContains(t, m.caughtUp(t.Context(), "n2-other"), "n2 was wiped meanwhile: it answers as "+string(n.raftID()))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, m.caughtUp(ctx, n.raftID()), "it has not answered raft")
	require.True(t, w.gate.admits())
	ids, _ := w.voters()
	require.Len(t, ids, 1)
}

// What a peer said before it refused this node still counts: a member that was
// removed gets no other answer.
func TestRemovalIsRemembered(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	other := c.others(w)[0]
	require.False(t, w.removed())
	eventually(t, "it takes itself for removed", func() bool {
		w.mu.Lock()
		rec := w.peerStates[other.name]
		rec.err = errors.New("refused")
		rec.state.Cluster, rec.state.Voters = w.clusterID(), w.fsm.state().Voters+1
		rec.state.Members = []string{string(other.raftID())}
		w.peerStates[other.name] = rec
		w.mu.Unlock()
		return w.removed()
	})
}
