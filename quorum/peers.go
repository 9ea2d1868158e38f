package quorum

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

const (
	peersEvery  = 500 * time.Millisecond
	emptyEvery  = 100 * time.Millisecond // while this node is not in the cluster yet
	peerTimeout = time.Second
)

type peerRecord struct {
	state PeerState
	err   error
	at    time.Time     // of the last answer
	rtt   time.Duration // of the question that was answered last
}

// addresses returns name to address of all other nodes, configured or members.
func (n *Node) addresses() map[string]string {
	m := map[string]string{}
	for name, addr := range n.cfg.Peers {
		m[name] = addr
	}
	for _, s := range n.servers() {
		m[nodeName(s.ID)] = string(s.Address)
	}
	delete(m, n.cfg.Name)
	return m
}

// watchPeers keeps asking the other nodes how they are.
func (n *Node) watchPeers() {
	for n.ctx.Err() == nil {
		n.askPeers()
		if !n.joined.Load() {
			n.tryJoin()
		}
		n.noteMembership()
		every := peersEvery
		if !n.joined.Load() {
			every = emptyEvery
		}
		select {
		case <-n.ctx.Done():
		case <-time.After(every):
		}
	}
}

func (n *Node) askPeers() {
	var wg sync.WaitGroup
	for name, addr := range n.addresses() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ctx, cancel := context.WithTimeout(meaning(n.ctx, name), peerTimeout)
			defer cancel()
			asked := n.clock.Mono()
			s, err := n.peers.state(ctx, addr)
			if err == nil {
				n.noteLink(name, time.Duration(n.clock.Mono()-asked))
				err = n.vet(name, addr, s)
			}
			n.notePeer(name, s, err)
		}()
	}
	wg.Wait()
}

func (n *Node) notePeer(name string, s PeerState, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rec := n.peerStates[name]
	rec.err = err
	if err == nil {
		rec.state, rec.at = s, time.Now()
		n.heedLocked(s.Claim)
	}
	n.peerStates[name] = rec
}

// vet refuses a peer that this node cannot share a lease with. A node that has
// not joined yet does not start; a member goes on and shows it.
func (n *Node) vet(name, addr string, s PeerState) error {
	err := n.mismatch(name, addr, s)
	if err == nil {
		return nil
	}
	if !n.joined.Load() {
		select {
		case n.fatal <- err:
		default:
		}
	}
	return err
}

func (n *Node) mismatch(name, addr string, s PeerState) error {
	return mismatch(PeerState{
		Version: n.cfg.Version, Protocol: peerProtocol, Cluster: n.clusterID(), Mode: n.mode(),
		Heartbeat: n.cfg.HeartbeatTimeout, Lease: n.cfg.Lease,
	}, name, addr, s)
}

// mismatch says why self cannot run beside the node that is meant by name and
// addr, and says of itself what s has.
func mismatch(self PeerState, name, addr string, s PeerState) error {
	switch {
	case s.Name != name:
		return fmt.Errorf("quorum.peers: %s at %s says it is %q; correct the name or the address", name, addr, s.Name)
	case s.Protocol != self.Protocol:
		return fmt.Errorf("%s runs version %s (protocol %d), this node %s (protocol %d); run the same version on all nodes", name, s.Version, s.Protocol, self.Version, self.Protocol)
	case s.Cluster != "" && self.Cluster != "" && s.Cluster != self.Cluster:
		return fmt.Errorf("%s at %s belongs to another cluster (%s, this node to %s); correct the address, or move the data-dir of the node that is wrong away", name, addr, s.Cluster, self.Cluster)
	case s.Heartbeat != self.Heartbeat:
		return fmt.Errorf("quorum.heartbeat-timeout: %s here, %s on %s; make them equal on all nodes", self.Heartbeat, s.Heartbeat, name)
	case s.Lease != self.Lease:
		return fmt.Errorf("quorum.lease: %s here, %s on %s; make them equal on all nodes", self.Lease, s.Lease, name)
	}
	return otherMode(self.Mode, name, s)
}

// CheckPeers asks every peer once and returns the first reason, if any, for
// which this node cannot run with it. Peers that do not answer are no reason.
func (n *Node) CheckPeers() error {
	n.askPeers()
	select {
	case err := <-n.fatal:
		return err
	default:
	}
	if err := n.checkCopies(); err != nil {
		return err
	}
	return n.checkModes()
}

// checkCopies refuses quorum.confirm: replicated where witnesses leave too few
// nodes with data, as far as they have said that they are.
func (n *Node) checkCopies() error {
	if !n.cfg.Replicated {
		return nil
	}
	voters, _ := n.voters()
	all := len(voters)
	if all == 0 {
		all = len(n.cfg.Peers)
	}
	data := all
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, rec := range n.peerStates {
		if rec.state.Witness && (len(voters) == 0 || slices.Contains(voters, raft.ServerID(rec.state.RaftID))) {
			data--
		}
	}
	if need := all - all/2; data < need {
		return fmt.Errorf("quorum.confirm: replicated needs %d nodes with data of %d voters, and there are %d; add one (`litefence peers add`), or use quorum or lease", need, all, data)
	}
	return nil
}

// peerState is what this node tells the others.
func (n *Node) peerState(ctx context.Context) PeerState {
	s := PeerState{
		Name: n.cfg.Name, RaftID: string(n.raftID()), Version: n.cfg.Version, Time: time.Now(),
		Heartbeat: n.cfg.HeartbeatTimeout, Lease: n.cfg.Lease,
		Protocol: peerProtocol, Cluster: n.clusterID(), Addresses: n.cfg.Peers,
		Witness: n.cfg.LiteFS == nil, Voters: n.fsm.state().Voters, Applied: n.raft.AppliedIndex(),
		Health: n.health.get(), Hears: n.hears(),
	}
	for _, m := range n.servers() {
		s.Members = append(s.Members, string(m.ID))
	}
	s.Empty = len(s.Members) == 0
	n.stateClaim(&s)
	s.Term = n.raft.CurrentTerm()
	_, id := n.raft.LeaderWithID()
	s.Leader = nodeName(id)
	n.mu.Lock()
	s.Fenced, s.Reason = !n.verdict.Admit, n.verdict.Reason
	if n.reigning != 0 {
		s.Problem, s.Conflict = n.problemLocked(), n.conflict != ""
	}
	n.mu.Unlock()
	if n.cfg.LiteFS != nil {
		ctx, cancel := context.WithTimeout(ctx, peerTimeout/2)
		defer cancel()
		// The marker before the positions: what was marked then is at least as
		// far now.
		s.Marker, _ = n.cfg.LiteFS.Marker()
		s.Positions, _, _ = n.cfg.LiteFS.Positions(ctx)
	}
	return s
}

// markedPositions returns, by raft ID, the positions of the other voters that are
// marked as following ref.
func (n *Node) markedPositions(ref policy.OpenRef) map[string]policy.Positions {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.markedLocked(ref)
}

func (n *Node) markedLocked(ref policy.OpenRef) map[string]policy.Positions {
	voters, _ := n.voters()
	all := map[string]policy.Positions{}
	for _, rec := range n.peerStates {
		// A majority of the voters is what an election can ask; one that was
		// removed, or came back under another ID, holds nothing for it.
		if !slices.Contains(voters, raft.ServerID(rec.state.RaftID)) {
			continue
		}
		// Where LiteFS streams by itself no relay marks its replicas. They count as
		// holding what they say: record looks it up in this node's own history.
		if rec.err == nil && (rec.state.Marker == ref || n.follows()) {
			all[rec.state.RaftID] = rec.state.Positions
		}
	}
	return all
}
