package quorum

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// recorder keeps the events of every node.
type recorder struct {
	mu  sync.Mutex
	all map[string][]policy.Event
}

func (r *recorder) add(e policy.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[e.Node] = append(r.all[e.Node], e)
}

func (r *recorder) of(node string) []policy.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all[node])
}

// words are kind and reason, or state, of events.
func words(all []policy.Event) (out []string) {
	for _, e := range all {
		switch e.Kind {
		case policy.EventFenced:
			out = append(out, e.Kind+" "+string(e.Reason))
		case policy.EventState:
			out = append(out, e.Kind+" "+e.State)
		case policy.EventLeader:
			out = append(out, e.Kind+" "+e.Leader)
		case policy.EventRole:
			out = append(out, e.Kind+" "+e.Role)
		default:
			out = append(out, e.Kind)
		}
	}
	return out
}

// inOrder reports whether want occurs in got, in this order, with whatever
// between.
func inOrder(got []string, want ...string) bool {
	for _, w := range want {
		i := slices.Index(got, w)
		if i < 0 {
			return false
		}
		got = got[i+1:]
	}
	return true
}

// The leader is cut off and comes back: each node's events tell its story, and
// the loss of the quorum is counted.
func TestEventsOfAPartition(t *testing.T) {
	t.Parallel()
	rec := &recorder{all: map[string][]policy.Event{}}
	var beats sync.Map
	var c *testCluster
	c = newCluster(t, 3, func(cfg *Config) {
		cfg.OnEvent = rec.add
		cfg.OnHeartbeat = func(peer string, took time.Duration) { beats.Store(cfg.Name+" "+peer, took) }
	})
	old := c.writer()
	c.allMarked(old)
	eventually(t, "the writer's story", func() bool {
		return inOrder(words(rec.of(old.name)), "fenced starting", "leader "+old.name, "role primary", "lifted")
	})
	for _, p := range c.others(old) {
		var took any
		eventually(t, "a heartbeat to "+p.name, func() (ok bool) {
			took, ok = beats.Load(old.name + " " + p.name)
			return ok
		})
		require.Greater(t, took, time.Duration(0))
		require.Less(t, took, c.D)
	}
	lost := old.QuorumLost()
	before := len(rec.of(old.name))
	c.cut.set(old.name, true)
	next := c.writer(old.name)
	story := func() []string { return words(rec.of(old.name)[before:]) }
	eventually(t, "the split brain is over", func() bool {
		got := story() // state and fence are told by two hands
		return inOrder(got, "stale-leader", "fenced stale-leader") && inOrder(got, "state split_brain_detected", "state resolved")
	})
	require.Equal(t, lost+1, old.QuorumLost())
	c.cut.set(old.name, false)
	eventually(t, "it follows", func() bool { return inOrder(story(), "state resolved", "leader "+next.name, "fenced replica") })
	eventually(t, "the others' story", func() bool {
		return inOrder(words(rec.of(next.name)), "fenced replica", "leader "+next.name, "role primary", "lifted")
	})
	require.Equal(t, 1, count(story(), "stale-leader"), story())
	for _, e := range rec.of(old.name) {
		require.Equal(t, old.name, e.Node)
		require.NotEmpty(t, e.Message)
		require.False(t, e.Time.IsZero())
		require.LessOrEqual(t, e.LeaseLeftMS, c.D.Milliseconds())
		if e.Kind == policy.EventFenced {
			require.Equal(t, "writes are refused: "+e.Reason.Text(), e.Message)
		}
	}

	next.UpdateHealth(false, "a disk dies")
	eventually(t, "its health is told", func() bool {
		return slices.ContainsFunc(rec.of(next.name), func(e policy.Event) bool {
			return e.Kind == policy.EventHealth && e.Message == "this node is unhealthy, was healthy: a disk dies"
		})
	})
	next.UpdateHealth(true, "")
}

func count(all []string, word string) (n int) {
	for _, w := range all {
		if w == word {
			n++
		}
	}
	return n
}

// Whoever is told may ask the node back: no lock is held.
func TestEventsAreToldWithoutALock(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	nodes := map[string]*Node{}
	asked := map[string]int{}
	c := newCluster(t, 3, func(cfg *Config) {
		cfg.OnEvent = func(e policy.Event) {
			mu.Lock()
			n := nodes[e.Node]
			mu.Unlock()
			if n != nil {
				_ = n.Glance()
				_ = n.HasQuorum()
				mu.Lock()
				asked[e.Kind]++
				mu.Unlock()
			}
		}
	})
	mu.Lock()
	for name, n := range c.nodes {
		nodes[name] = n.Node
	}
	mu.Unlock()
	eventually(t, "a handoff", func() bool {
		w := c.writer()
		c.allMarked(w)
		_, err := w.Handoff(t.Context(), c.others(w)[0].name)
		return err == nil
	})
	mu.Lock()
	defer mu.Unlock()
	for _, kind := range []string{policy.EventLifted, policy.EventFenced, policy.EventHandoff, policy.EventLeader} {
		require.Positive(t, asked[kind], fmt.Sprint(kind, " ", asked))
	}
}
