package quorum

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/litefence/litefence/policy"
)

func TestWhyNotFound(t *testing.T) {
	list := map[string]string{"n1": "a:1", "n2": "b:1", "n3": "c:1"}
	empty := func(name string) PeerState { return PeerState{Name: name, Empty: true, Addresses: list} }
	for name, tc := range map[string]struct {
		self string
		edit func(map[string]PeerState)
		want string
	}{
		"all are empty":      {"n1", func(map[string]PeerState) {}, ""},
		"not the first":      {"n2", func(map[string]PeerState) {}, "n1 founds the cluster"},
		"one is silent":      {"n1", func(m map[string]PeerState) { delete(m, "n3") }, "waiting for n3"},
		"one is a member":    {"n1", func(m map[string]PeerState) { m["n2"] = PeerState{Name: "n2", Addresses: list} }, "n2 belongs to a cluster"},
		"one is about to be": {"n1", func(m map[string]PeerState) { s := empty("n2"); s.Cluster = "x"; m["n2"] = s }, "n2 belongs to a cluster"},
		"another list": {"n1", func(m map[string]PeerState) {
			m["n2"] = PeerState{Empty: true, Addresses: map[string]string{"n2": "b:1"}}
		}, "quorum.peers differs"},
		"another address": {"n1", func(m map[string]PeerState) {
			m["n2"] = PeerState{Empty: true, Addresses: map[string]string{"n1": "a:1", "n2": "b:1", "n3": "c:2"}}
		}, "n3=c:2 on n2; make it equal"},
		"data of an old life": {"n1", func(m map[string]PeerState) {
			s := empty("n3")
			s.Marker = policy.OpenRef{Index: 7, ID: "x"}
			m["n3"] = s
		}, "on n3 has followed a primary of an earlier cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			states := map[string]PeerState{}
			for n := range list {
				if n != tc.self {
					states[n] = empty(n)
				}
			}
			tc.edit(states)
			got := whyNotFound(empty(tc.self), states)
			if tc.want == "" {
				require.Empty(t, got)
			} else {
				require.Contains(t, got, tc.want)
			}
		})
	}
	self := empty("n1")
	self.Cluster = "0123"
	require.Contains(t, whyNotFound(self, map[string]PeerState{}), "which has never reached it")
}

// startWorld is the first start with every message as late as can be: a node
// acts on what the others said at some time since it was born.
type startWorld struct {
	*rapid.T
	lists    map[string]map[string]string
	ids      map[string]string // name -> raft ID of its present life
	bound    map[string]string // raft ID -> cluster
	clusters map[string]founding
	said     map[string]map[string]PeerState // by asker's raft ID
	reached  map[string]bool                 // raft IDs that hold the configuration
	serial   int
	wiped    bool
}

type founding struct {
	list    map[string]string
	members []string
}

func (w *startWorld) state(name string) PeerState {
	id := w.ids[name]
	s := PeerState{Name: name, RaftID: id, Addresses: w.lists[name], Cluster: w.bound[id]}
	if w.reached[id] {
		s.Members = w.clusters[s.Cluster].members
	}
	s.Empty = len(s.Members) == 0
	return s
}

func (w *startWorld) born(name string) {
	w.serial++
	w.ids[name] = fmt.Sprintf("%s-%d", name, w.serial)
	w.said[w.ids[name]] = map[string]PeerState{}
}

func (w *startWorld) ask(a, b string) {
	if _, ok := w.lists[a][b]; ok && a != b {
		w.said[w.ids[a]][b] = w.state(b)
	}
}

// act is tryJoin. It returns the members of a cluster that it founds.
func (w *startWorld) act(name string) []string {
	id := w.ids[name]
	if w.bound[id] != "" {
		return nil
	}
	for _, s := range w.said[id] {
		if s.Cluster != "" && slices.Contains(s.Members, id) {
			w.bound[id] = s.Cluster
			return nil
		}
	}
	if whyNotFound(w.state(name), w.said[id]) != "" {
		return nil
	}
	members := []string{id}
	for _, s := range w.said[id] {
		members = append(members, s.RaftID)
	}
	for _, c := range w.clusters {
		for _, m := range members {
			if !w.wiped && slices.Contains(c.members, m) {
				w.Fatalf("nobody was wiped, and %s is founded into %v and %v", m, c.members, members)
			}
		}
	}
	w.serial++
	cluster := fmt.Sprintf("c%d", w.serial)
	w.clusters[cluster], w.bound[id], w.reached[id] = founding{w.lists[name], members}, cluster, true
	return members
}

// round is what a node does in truth: it asks all and acts on the answers.
func (w *startWorld) round(name string) {
	for b := range w.lists[name] {
		w.ask(name, b)
	}
	members := w.act(name)
	for _, m := range members {
		if c := w.bound[m]; c != w.bound[w.ids[name]] && c != "" {
			w.Fatalf("%v is founded with %s, which has said that it belongs to %s", members, m, c)
		}
	}
}

// able lists the clusters of which a majority is alive and bound to them.
func (w *startWorld) able() (out []founding) {
	for name, c := range w.clusters {
		up := 0
		for _, id := range w.ids {
			if slices.Contains(c.members, id) && w.bound[id] == name {
				up++
			}
		}
		if up > len(c.members)/2 {
			out = append(out, c)
		}
	}
	return out
}

// onlyOne: no two clusters that name the same nodes can both elect a leader.
func (w *startWorld) onlyOne() int {
	able := w.able()
	for i, c := range able {
		for _, d := range able[i+1:] {
			for name := range c.list {
				if _, both := d.list[name]; both {
					w.Fatalf("two clusters at once over %s: %v and %v", name, c.members, d.members)
				}
			}
		}
	}
	return len(able)
}

// However late what is said arrives, whoever is wiped meanwhile, and whatever
// the lists say: at no time can two clusters elect a leader over the same nodes;
// and while nobody is wiped, a cluster is founded once.
func TestFirstStartMakesOneCluster(t *testing.T) {
	founded := 0
	rapid.Check(t, func(t *rapid.T) {
		w := &startWorld{
			T: t, lists: map[string]map[string]string{}, ids: map[string]string{}, bound: map[string]string{},
			clusters: map[string]founding{}, said: map[string]map[string]PeerState{}, reached: map[string]bool{},
		}
		var names []string
		full := map[string]string{}
		for i := range rapid.SampledFrom([]int{1, 2, 3, 5}).Draw(t, "nodes") {
			names = append(names, fmt.Sprintf("n%d", i+1))
			full[names[i]] = names[i] + ":1"
		}
		for _, name := range names {
			w.lists[name] = maps.Clone(full)
			if other := rapid.SampledFrom(append(names, "", "", "", "")).Draw(t, "left out of "+name); other != name {
				delete(w.lists[name], other)
			}
			w.born(name)
		}
		for range rapid.IntRange(5, 60).Draw(t, "steps") {
			a, b := rapid.SampledFrom(names).Draw(t, "a"), rapid.SampledFrom(names).Draw(t, "b")
			switch rapid.SampledFrom([]string{"ask", "ask", "act", "round", "round", "reach", "wipe"}).Draw(t, "step") {
			case "ask":
				w.ask(a, b)
			case "act":
				w.act(a)
			case "round":
				w.round(a)
			case "reach": // the leader's first message
				w.reached[w.ids[a]] = w.bound[w.ids[a]] != ""
			case "wipe":
				if rapid.IntRange(0, 1).Draw(t, "rarely") == 0 {
					w.wiped = true
					w.born(a)
				}
			}
			founded += w.onlyOne()
		}
	})
	require.NotZero(t, founded, "no cluster was ever founded: this test proves nothing")
}

// Any number of voters, any order of arrival, restarts in between: one cluster.
func TestFirstStartInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3, 5, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			c := newCluster(t, n, nil)
			c.stopAll()
			dirs := map[string]string{}
			names := slices.Sorted(maps.Keys(c.addrs))
			rnd.Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names {
				c.lites[name] = newFakeLiteFS()
				dirs[name] = t.TempDir()
			}
			for i, name := range names {
				c.start(name, dirs[name])
				time.Sleep(time.Duration(rnd.IntN(120)) * time.Millisecond)
				if again := names[rnd.IntN(i+1)]; rnd.IntN(3) == 0 {
					c.stop(again)
					c.start(again, dirs[again])
				}
			}
			c.writer()
			eventually(t, "all are voters of one cluster", func() bool {
				ids := map[string]bool{}
				for _, node := range c.nodes {
					ids[node.clusterID()] = true
					voters, self := node.voters()
					if len(voters) != n || !self || !node.joined.Load() {
						return false
					}
				}
				return len(ids) == 1
			})
			for _, node := range c.nodes {
				require.Len(t, node.Status(t.Context()).Cluster, clusterIDLen)
				require.Equal(t, "voter", node.Status(t.Context()).Member)
			}
		})
	}
}

func TestDifferentListsFoundNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(cfg *Config) {
		if cfg.Name == "n1" {
			cfg.Peers = maps.Clone(cfg.Peers)
			delete(cfg.Peers, "n3")
		}
	})
	for _, name := range []string{"n1", "n2", "n3"} {
		eventually(t, name+" says why", func() bool {
			w := c.nodes[name].Status(t.Context()).Membership
			return name == "n3" && w != "" || name != "n3" && len(w) > 40 && w[:37] == "empty, no cluster yet: quorum.peers d"
		})
		require.Empty(t, c.nodes[name].servers())
	}
	dir := c.nodes["n1"].dir
	c.stop("n1")
	c.edit = nil
	c.start("n1", dir)
	c.writer()
}

// A start that was cut off between the two writes of a founding leaves a node
// that says so, and founds nothing.
func TestCutOffFounding(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	c.stop("n1")
	c.lites["n1"] = newFakeLiteFS()
	dir := t.TempDir()
	s, err := openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	require.NoError(t, s.bolt.Set(keyCluster, []byte("00112233aabbccdd")))
	require.NoError(t, s.close())
	n := c.start("n1", dir) // nothing was promised to anybody: it begins anew
	c.writer()
	require.NotEqual(t, "00112233aabbccdd", n.clusterID())
	c.stop("n1")

	c.lites["n1"] = newFakeLiteFS()
	dir = t.TempDir()
	s, err = openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	require.NoError(t, s.bolt.Set(keyCluster, []byte("00112233aabbccdd")))
	require.NoError(t, s.bolt.SetUint64([]byte("CurrentTerm"), 1))
	require.NoError(t, s.close())
	n = c.start("n1", dir)
	eventually(t, "it says so", func() bool { return n.Status(t.Context()).Membership != "" })
	require.Contains(t, n.Status(t.Context()).Membership, "never reached it; if no peer knows that cluster, move the data-dir away")
	require.Empty(t, n.servers())
}

func TestRaftStateWithoutClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	require.NoError(t, s.bolt.SetUint64([]byte("CurrentTerm"), 3))
	require.NoError(t, s.close())
	_, err = openStore(dir, "n1", testLog("n1"))
	require.ErrorContains(t, err, "raft state without a cluster id: restore the directory")
	_, err = os.Stat(dir + "/raft.db")
	require.NoError(t, err)
}
