package quorum

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// tryJoin brings an empty node into the cluster: by learning that its ID is in a
// peer's configuration, or by founding it, where every configured node has said
// that it is empty too.
func (n *Node) tryJoin() {
	if len(n.servers()) > 0 {
		n.joined.Store(true)
		return
	}
	states := n.freshStates()
	for _, s := range states {
		if s.Cluster != "" && slices.Contains(s.Members, string(n.raftID())) {
			n.admit(s)
			return
		}
	}
	if n.whyNotFound(states) == "" {
		n.found(states)
	}
}

// admit enters the cluster of a peer that counts this node's ID among its
// members. The cluster's id is on disk before the first answer to raft.
func (n *Node) admit(by PeerState) {
	switch own := n.clusterID(); {
	case own == "":
		if err := n.setCluster(by.Cluster); err != nil {
			n.log.Error("not admitted", "err", err)
			return
		}
	case own != by.Cluster:
		return // vet says so
	}
	n.log.Info("admitted to the cluster", "by", by.Name, "raft_id", n.raftID(), "cluster", by.Cluster)
	n.joined.Store(true)
}

// freshStates returns what the configured peers have said of themselves in the
// round of questions that has just ended.
func (n *Node) freshStates() map[string]PeerState {
	n.mu.Lock()
	defer n.mu.Unlock()
	states := map[string]PeerState{}
	for name := range n.cfg.Peers {
		rec, ok := n.peerStates[name]
		if ok && name != n.cfg.Name && rec.err == nil && time.Since(rec.at) < 2*peerTimeout {
			states[name] = rec.state
		}
	}
	return states
}

// whyNotFound says why this node does not found a cluster with the peers that
// said states; "" = it does.
func (n *Node) whyNotFound(states map[string]PeerState) string {
	self := PeerState{
		Name: n.cfg.Name, Addresses: n.cfg.Peers, Empty: len(n.servers()) == 0, Cluster: n.clusterID(),
	}
	if n.cfg.LiteFS != nil {
		var err error
		if self.Marker, err = n.cfg.LiteFS.Marker(); err != nil {
			return err.Error()
		}
	}
	return whyNotFound(self, states)
}

// whyNotFound decides. Of the nodes that have the same list of peers exactly one
// is the first by name, and it founds the cluster once every other one has said,
// with that list, that it is empty. A node whose LiteFS has followed a primary
// is no newcomer: the cluster of that primary may go on without it, and a second
// one over the same data would be a second writer.
func whyNotFound(self PeerState, states map[string]PeerState) string {
	if self.Cluster != "" {
		return "it belongs to cluster " + self.Cluster + ", which has never reached it; if no peer knows that cluster, move the data-dir away and start again"
	}
	var silent []string
	for _, name := range slices.Sorted(maps.Keys(self.Addresses)) {
		s, ok := states[name]
		switch {
		case name == self.Name:
			s = self
		case !ok:
			silent = append(silent, name)
			continue
		case !s.Empty || s.Cluster != "":
			return name + " belongs to a cluster"
		case !maps.Equal(s.Addresses, self.Addresses):
			return fmt.Sprintf("quorum.peers differs: %s here, %s on %s; make it equal on all nodes", listed(self.Addresses), listed(s.Addresses), name)
		}
		if !s.Marker.IsZero() {
			return fmt.Sprintf("LiteFS's data on %s has followed a primary of an earlier cluster (open %d); if that cluster is gone for good, remove litefence.marker from LiteFS's data directory", name, s.Marker.Index)
		}
	}
	first := slices.Min(slices.Collect(maps.Keys(self.Addresses)))
	switch {
	case len(silent) > 0:
		return "waiting for " + strings.Join(silent, ", ")
	case first != self.Name:
		return first + " founds the cluster"
	}
	return ""
}

func listed(peers map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		all = append(all, name+"="+peers[name])
	}
	return strings.Join(all, ",")
}

// found makes a cluster of this node and the peers, under the IDs that they
// stated. One that was wiped since is a member that never answers, until it is
// replaced.
func (n *Node) found(states map[string]PeerState) {
	servers := []raft.Server{{ID: n.raftID(), Address: raft.ServerAddress(n.cfg.Advertise)}}
	for name, s := range states {
		servers = append(servers, raft.Server{ID: raft.ServerID(s.RaftID), Address: raft.ServerAddress(n.cfg.Peers[name])})
	}
	sort.Slice(servers, func(i, j int) bool { return servers[i].ID < servers[j].ID })
	if err := n.setCluster(randomHex(clusterIDLen / 2)); err != nil {
		n.log.Error("cluster not founded", "err", err)
		return
	}
	if err := n.raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		n.log.Error("cluster not founded", "err", err)
		return
	}
	n.log.Info("cluster founded", "servers", len(servers), "cluster", n.clusterID())
	n.joined.Store(true)
}
