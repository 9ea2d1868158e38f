package quorum

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

const noClusterYet = "empty, no cluster yet: "

// unreachedAfter is how long a node may wait for the leader that has admitted it
// before it says so.
const unreachedAfter = 10 * time.Second

// suffrage says what id is in raft's latest configuration.
func (n *Node) suffrage(id raft.ServerID) string {
	for _, s := range n.servers() {
		if s.ID == id && s.Suffrage == raft.Voter {
			return "voter"
		} else if s.ID == id {
			return "nonvoter"
		}
	}
	return "none"
}

func addCommand(name, addr string) string {
	return fmt.Sprintf("run `litefence peers add %s %s` on a member", name, addr)
}

// noteMembership keeps the word on this node's own part in the cluster up to
// date, and logs every change of it.
func (n *Node) noteMembership() {
	word := n.ownMembership()
	n.mu.Lock()
	was := n.membership
	n.membership = word
	n.mu.Unlock()
	switch {
	case word == was:
	case word == "":
		n.log.Info("membership in order", "was", was)
	case strings.HasPrefix(word, noClusterYet):
		n.log.Info("membership", "node", n.cfg.Name, "state", word) // as at every first start
	default:
		n.log.Warn("membership", "node", n.cfg.Name, "state", word)
	}
}

func (n *Node) ownMembership() string {
	states := n.freshStates()
	if n.removed() {
		return "removed from the cluster; to take it in again " + addCommand(n.cfg.Name, n.cfg.Advertise)
	}
	if len(n.servers()) > 0 {
		return n.unlisted()
	}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		if !states[name].Empty && !n.joined.Load() && n.clusterID() == "" {
			return "empty, not a member of the cluster that " + name + " belongs to; " + addCommand(n.cfg.Name, n.cfg.Advertise)
		}
	}
	if n.joined.Load() {
		if time.Since(n.born) < unreachedAfter {
			return "" // the leader's first message is on its way
		}
		return "admitted to cluster " + n.clusterID() + ", but no leader of it has reached this node yet; if its founder was wiped, start this node again"
	}
	if why := n.whyNotFound(states); why != "" {
		return noClusterYet + why
	}
	return ""
}

// removed reports that this node was a member and is none any more, by its own
// log or by that of a peer who is further. Raft alone does not tell it: nobody
// sends to it any longer.
func (n *Node) removed() bool {
	if len(n.servers()) == 0 {
		return false
	}
	own, in := n.fsm.state().Voters, n.suffrage(n.raftID()) != "none"
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, rec := range n.peerStates {
		// Also what was heard before the peer refused a node that is no member.
		s := rec.state
		if s.Cluster == n.clusterID() && s.Voters > own {
			own, in = s.Voters, slices.Contains(s.Members, string(n.raftID()))
		}
	}
	return !in
}

// unlisted names members that quorum.peers lacks. Wiped, this node would know
// nothing of them, and found a cluster without them.
func (n *Node) unlisted() string {
	var missing []string
	for _, s := range n.servers() {
		if name := nodeName(s.ID); name != n.cfg.Name && n.cfg.Peers[name] == "" {
			missing = append(missing, fmt.Sprintf("%s: %q", name, s.Address))
		}
	}
	if len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	return "quorum.peers here lacks members; add " + strings.Join(missing, ", ")
}

// peerMembership says what a peer is in the cluster, and what is wrong with that.
// The caller holds n.mu.
func (n *Node) peerMembership(name, addr string, rec peerRecord) (member, word string) {
	s := rec.state
	if s.RaftID == "" || rec.err != nil {
		if m, ok := n.server(name); ok {
			return n.suffrage(m.ID), ""
		}
		return "none", ""
	}
	member = n.suffrage(raft.ServerID(s.RaftID))
	switch {
	case member != "none" || len(n.servers()) == 0:
	case s.Cluster == "":
		word = "empty, not a member: " + addCommand(name, addr)
	default:
		word = "not a member any more; to take it in again " + addCommand(name, addr)
	}
	return member, word
}

// alive asks which voters answer this leader, itself included. Only answers to
// what was sent after the call count: a voter that died a moment ago must not
// hold up a majority. Who has not answered within a heartbeat timeout is silent.
func (n *Node) alive(ctx context.Context, term uint64) map[raft.ServerID]bool {
	asked := n.clock.Boot()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.HeartbeatTimeout)
	defer cancel()
	for {
		ids, _ := n.voters()
		live, all := map[raft.ServerID]bool{}, true
		for _, id := range ids {
			at, ok := n.lease.lastAck(term, id)
			live[id] = id == n.raftID() || ok && at > asked
			all = all && live[id]
		}
		if all || ctx.Err() != nil {
			return live
		}
		sleepFor(ctx, 5*time.Millisecond)
	}
}

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
