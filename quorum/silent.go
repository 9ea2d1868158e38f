package quorum

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// silence is which voters the leader does not hear, for the log: one line when
// one falls silent, one when it is heard again.
type silence struct {
	term   uint64 // in which this node leads; 0 = it does not
	since  time.Time
	silent map[raft.ServerID]bool
}

// noteSilence logs what has changed. A voter is silent that has not answered for
// two heartbeat timeouts, counted from the begin of this node's leadership at the
// earliest.
func (n *Node) noteSilence(o policy.Observation) {
	s := &n.silence
	if !o.RaftLeader {
		s.term, s.silent = 0, nil
		return
	}
	if s.term != o.Term {
		*s = silence{term: o.Term, since: time.Now(), silent: map[raft.ServerID]bool{}}
	}
	limit := 2 * n.cfg.HeartbeatTimeout
	if time.Since(s.since) < limit {
		return
	}
	ids, _ := n.voters()
	var fell, back []raft.ServerID
	for _, id := range ids {
		if id == n.raftID() {
			continue
		}
		age, ok := n.LastHeartbeatFrom(nodeName(id))
		switch silent := !ok || age > limit; {
		case silent && !s.silent[id]:
			fell = append(fell, id)
			s.silent[id] = true
		case !silent && s.silent[id]:
			back = append(back, id)
			delete(s.silent, id)
		}
	}
	for id := range s.silent {
		if !slices.Contains(ids, id) {
			delete(s.silent, id) // removed from the cluster
		}
	}
	answering := len(ids) - len(s.silent)
	for _, id := range fell {
		n.log.Warn("quorum degraded: a peer is silent", "peer", nodeName(id), "answering", answering, "voters", len(ids), "term", o.Term)
	}
	for _, id := range back {
		n.log.Info("a peer is heard again", "peer", nodeName(id), "answering", answering, "voters", len(ids), "term", o.Term)
	}
}
