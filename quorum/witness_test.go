package quorum

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

func freeAddr(t *testing.T) string { return freeAddrs(t, 1)[0] }

var hosts atomic.Uint32

// freeAddrs returns addresses of a loopback host that nobody else has: others run
// beside this test, and a node that is down must find its port free.
func freeAddrs(t *testing.T, n int) (addrs []string) {
	t.Helper()
	h := hosts.Add(1)
	host := net.IPv4(127, 1, byte(h>>8), byte(h))
	for range n {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: host})
		require.NoError(t, err)
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// withWitness makes n nodes of which the last is a witness.
func withWitness(t *testing.T, n int, name string) *testCluster {
	return newCluster(t, n, func(cfg *Config) {
		if cfg.Name == name {
			cfg.LiteFS.(*fakeLiteFS).stopped.Store(true)
			cfg.LiteFS, cfg.Gate, cfg.Fence = nil, nil, nil
		}
	})
}

// Leadership is given to the witness again and again: it hands it on, and no
// Open is ever its own.
func TestWitnessNeverStaysLeader(t *testing.T) {
	t.Parallel()
	c := withWitness(t, 3, "n3")
	w := c.writer()
	w.lite.commit("db", 1)
	witness := c.nodes["n3"]
	eventually(t, "in step", func() bool {
		return slices.ContainsFunc(c.others(w), func(n *testNode) bool {
			m, _ := n.lite.Marker()
			return n != witness && m == w.fsm.state().ref() && n.lite.at("db").TXID == 1
		})
	})
	for range 3 {
		w = c.writer()
		s, ok := w.server("n3")
		require.True(t, ok)
		before := w.raft.CurrentTerm()
		_ = w.raft.LeadershipTransferToServer(s.ID, s.Address).Error()
		eventually(t, "a data node writes in a later term", func() bool {
			for _, n := range c.nodes {
				if n != witness && n.gate.admits() && n.raft.CurrentTerm() > before+1 {
					return true
				}
			}
			st := witness.Status(t.Context())
			require.False(t, st.CanCommitWrites || st.StaleLeadership || st.Writable || st.LeaseLeftMS != 0)
			return false
		})
		require.NotEqual(t, witness.raftID(), raft.ServerID(c.nodes["n1"].fsm.state().Open.RaftID))
	}
	st := witness.Status(t.Context())
	require.True(t, st.Witness)
	require.Equal(t, policy.ReasonWitness, st.Reason)
	for _, p := range c.writer().Status(t.Context()).Peers {
		require.Equal(t, p.Node == "n3", p.Witness, p.Node)
	}
	// The last node with data stays.
	w = c.writer()
	for _, n := range c.others(w) {
		if n != witness {
			_, err := w.ChangeMembers(t.Context(), Change{Op: "remove", Node: n.name})
			require.NoError(t, err)
		}
	}
	refused(t, witness, Change{Op: "remove", Node: w.name}, "is the last voter with a LiteFS; the others are witnesses")
}

// The very first primary needs a report of every voter with a LiteFS. A witness
// that has fallen silent is known not to be one.
func TestSilentWitnessIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	c := withWitness(t, 3, "n1")
	for _, name := range []string{"n2", "n3"} {
		c.lites[name].stopped.Store(true)
	}
	eventually(t, "they know each other", func() bool {
		for _, name := range []string{"n2", "n3"} {
			n := c.nodes[name]
			n.mu.Lock()
			s := n.peerStates["n1"].state
			n.mu.Unlock()
			if !s.Witness || s.Empty || len(n.servers()) != 3 {
				return false
			}
		}
		return true
	})
	c.stop("n1")
	for _, name := range []string{"n2", "n3"} {
		c.lites[name].stopped.Store(false)
	}
	c.writer()
}

// groups cuts nodes of different groups off from each other, in silence.
type groups struct {
	mu sync.Mutex
	of map[string]int // name -> group
}

func (g *groups) split(of map[string]int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.of = of
}

func (g *groups) apart(a, b string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of[a] != g.of[b]
}

type groupSecure struct {
	*groups
	name string
}

func (s groupSecure) Server(c net.Conn) (net.Conn, error) { return c, nil }
func (s groupSecure) Client(_ context.Context, c net.Conn, name string) (net.Conn, error) {
	return &groupConn{c, s, name}, nil
}

// groupConn is the dialler's end; the accepting one needs none.
type groupConn struct {
	net.Conn
	by groupSecure
	to string
}

func (c *groupConn) Write(b []byte) (int, error) {
	if c.by.apart(c.by.name, c.to) {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *groupConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.by.apart(c.by.name, c.to) {
			return n, err
		}
	}
}

// Five voters fall apart into three and two: the three write, the two, among
// them the old primary, do not.
func TestFiveVotersApart(t *testing.T) {
	t.Parallel()
	g := &groups{of: map[string]int{}}
	c := newCluster(t, 5, func(cfg *Config) {
		cfg.Secure = groupSecure{g, cfg.Name}
	})
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	with := c.others(w)[0]
	g.split(map[string]int{w.name: 1, with.name: 1})
	eventually(t, "the two are fenced", func() bool { return !w.gate.admits() && !with.gate.admits() })
	next := c.writer(w.name)
	require.NotEqual(t, with, next)
	next.lite.commit("db", 2)
	for range 50 {
		require.False(t, w.gate.admits() || with.gate.admits())
		sleep(t.Context(), fakeDelay)
	}
	g.split(map[string]int{})
	w = c.writer()
	c.inStep(w)
	require.Equal(t, uint64(2), w.lite.at("db").TXID)
}
