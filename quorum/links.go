package quorum

import (
	"time"

	"github.com/hashicorp/raft"
)

// Who hears whom: every node asks every other one for its state, and tells in
// its own state who answered. So each node can show all links, those between two
// others included.

// noteLink remembers how long name took to answer.
func (n *Node) noteLink(name string, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rec := n.peerStates[name]
	rec.rtt = took
	n.peerStates[name] = rec
}

// hears is PeerState.Hears of this node.
func (n *Node) hears() map[string]*float64 {
	m := map[string]*float64{}
	names := n.addresses()
	n.mu.Lock()
	defer n.mu.Unlock()
	for name := range names {
		m[name] = nil
		if rec := n.peerStates[name]; rec.err == nil && !rec.at.IsZero() {
			took := milliseconds(rec.rtt)
			m[name] = &took
		}
	}
	return m
}

// linkLocked fills in how this node hears a peer, and whom the peer hears. A
// heartbeat is the shorter way there and back: a question is answered only after
// the peer has looked at its LiteFS. But only a leader's are new.
func (n *Node) linkLocked(p *PeerStatus, rec peerRecord) {
	p.RTTMS, p.Hears = milliseconds(rec.rtt), rec.state.Hears
	if rtt, ok := n.rtts[raft.ServerID(rec.state.RaftID)]; ok && n.reigning != 0 {
		p.RTTMS = milliseconds(rtt)
	}
	if !rec.at.IsZero() {
		ago := time.Since(rec.at).Seconds()
		p.LastAnswerS = &ago
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// LeaseLeft is what is left of this node's lease: 0 where it leads no term, and
// on a witness, which has no use for one.
func (n *Node) LeaseLeft() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leaseLeftLocked()
}

func (n *Node) leaseLeftLocked() time.Duration {
	until, ok := n.lease.until(n.reigning)
	if !ok || n.cfg.LiteFS == nil {
		return 0
	}
	return min(n.cfg.Lease, max(0, time.Duration(until-n.clock.Boot()))) // a cluster of one has no end
}
