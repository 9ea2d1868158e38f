package quorum

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// CopiesStatus is what commits wait for, with quorum.confirm: replicated.
type CopiesStatus struct {
	// Wanted is how many nodes beside the primary have to have a transaction
	// before it is acknowledged; On are those that raft's log names.
	Wanted int      `json:"wanted"`
	On     []string `json:"on"`
	// Waiting commits, here, for how long the oldest has, and for whom.
	Waiting   int      `json:"waiting"`
	OldestMS  int64    `json:"oldest_ms"`
	HeldUpBy  []string `json:"held_up_by,omitempty"`
	Connected []string `json:"connected,omitempty"` // replicas that report here
}

// copiesStatus is nil without quorum.confirm: replicated.
func (n *Node) copiesStatus() *CopiesStatus {
	if !n.cfg.Replicated {
		return nil
	}
	s := CopiesStatus{Wanted: n.copiesWanted(), On: []string{}}
	if st := n.fsm.state(); st.Copied {
		for _, id := range st.Copies {
			s.On = append(s.On, nodeName(raft.ServerID(id)))
		}
	}
	c := &n.copies
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return &s
	}
	for id := range c.at {
		s.Connected = append(s.Connected, nodeName(id))
	}
	slices.Sort(s.Connected)
	var oldest *copyWait
	for w := range c.waits {
		s.Waiting++
		if oldest == nil || w.since.Before(oldest.since) {
			oldest = w
		}
	}
	if oldest != nil {
		s.OldestMS = time.Since(oldest.since).Milliseconds()
		s.HeldUpBy = nodeNames(c.missingLocked(oldest.Commit))
	}
	return &s
}

// tellWaits logs what commits wait for, while they do, every ten seconds.
func (n *Node) tellWaits(told time.Time) time.Time {
	s := n.copiesStatus()
	if s == nil || s.OldestMS < copyTold.Milliseconds() || time.Since(told) < 10*time.Second {
		return told
	}
	n.log.Warn("commits wait for copies on other nodes", "waiting", s.Waiting, "oldest_ms", s.OldestMS, "held_up_by", s.HeldUpBy, "wanted", s.Wanted, "on", s.On, "connected", s.Connected)
	return time.Now()
}

func nodeNames(ids []raft.ServerID) []string {
	names := []string{}
	for _, id := range ids {
		names = append(names, nodeName(id))
	}
	return names
}
