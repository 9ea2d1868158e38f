package quorum

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every node knows whom it hears, and whom those that it hears hear.
func TestLinksAreKnownToAll(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 7)
	peersOf := func(n *testNode) map[string]PeerStatus {
		m := map[string]PeerStatus{}
		for _, p := range n.Status(t.Context()).Peers {
			m[p.Node] = p
		}
		return m
	}
	eventually(t, "all hear all, and one may take over", func() bool {
		for _, n := range c.nodes {
			if m, _ := n.lite.Marker(); m != w.fsm.state().ref() || n.lite.at("db").TXID != 1 {
				return false
			}
			for _, p := range peersOf(n) {
				if !p.Answers || p.RTTMS <= 0 || p.LastAnswerS == nil || len(p.Hears) != 2 || p.Hears[n.name] == nil {
					return false
				}
			}
		}
		return true
	})
	require.LessOrEqual(t, w.LeaseLeft(), w.cfg.Lease)
	eventually(t, "only the leader holds a lease", func() bool { return w.LeaseLeft() > 0 })

	c.cut.set(w.name, true)
	next := c.writer(w.name)
	eventually(t, "the one that is cut off is missed, by itself as well", func() bool {
		there := peersOf(next)
		for name, p := range there {
			if name != w.name && (!p.Answers || p.Hears[w.name] != nil || p.Hears[next.name] == nil) {
				return false
			}
		}
		here := peersOf(w)
		return !there[w.name].Answers && !here[next.name].Answers && *here[next.name].LastAnswerS > 0 && w.LeaseLeft() == 0
	})
	require.Equal(t, time.Duration(0), w.LeaseLeft())
	c.cut.set(w.name, false)
	eventually(t, "heard again", func() bool { return peersOf(next)[w.name].Answers && peersOf(w)[next.name].Answers })
}
