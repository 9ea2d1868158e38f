package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litefence/litefence/policy"
)

// RoleSource says which role the local LiteFS has by a lease of its own.
type RoleSource interface {
	// Roles calls fn, from one goroutine, with LiteFS's role, at every change of
	// it and again and again while it stays: each call is a sign of life. The
	// hostname is the primary's, "" while LiteFS knows none. It returns, always
	// with an error, when LiteFS cannot be heard any more, so that no change is
	// missed between two calls of fn, or when ctx ends.
	Roles(ctx context.Context, fn func(primary bool, hostname string)) error
}

// The values of PeerState.Mode; a voter without LiteFS has "".
const (
	modeServe  = "serve"
	modeFollow = "follow"
)

const (
	// roleRetry is how long after it was lost LiteFS is listened to again.
	roleRetry = 100 * time.Millisecond
	// calmAfter is how long LiteFS must have kept a role for its loss to make
	// readers wait: a replica that tries a dead primary every second must not.
	calmAfter = 5 * time.Second
	// arriveWithin is how many heartbeat timeouts the leadership may take to
	// reach a LiteFS that has just become primary before that is a split brain.
	arriveWithin = 5
)

// ownRole is what the local LiteFS says of its role where it has a lease of its
// own. A claim is one stretch of it as primary without a break. Guarded by
// Node.mu.
type ownRole struct {
	claimed    int64 // boot time at which the claim was first heard; 0 = none
	seen       bool  // LiteFS was heard as a replica just before
	superseded bool  // another node's claim is newer
	hostname   string
	changed    int64  // boot time of the last change of role or hostname
	makeRoom   func() // ends the wait of new readers; nil = they do not wait
}

// follows reports whether LiteFS elects by itself and leadership follows it.
func (n *Node) follows() bool { return n.cfg.Roles != nil }

// mode is what peers must have in common; a voter without LiteFS has none.
func (n *Node) mode() string {
	switch {
	case n.cfg.LiteFS == nil:
		return ""
	case n.follows():
		return modeFollow
	}
	return modeServe
}

// watchRole keeps listening to LiteFS.
func (n *Node) watchRole() {
	for n.ctx.Err() == nil {
		err := n.cfg.Roles.Roles(n.ctx, n.heardRole)
		n.lostRole(err)
		select {
		case <-n.ctx.Done():
		case <-time.After(roleRetry):
		}
	}
}

func (n *Node) heardRole(primary bool, hostname string) {
	now := n.clock.Boot()
	role := policy.RoleReplica
	if primary {
		role = policy.RolePrimary
	}
	n.mu.Lock()
	was, o := n.role, &n.own
	if g := n.grant; primary && g != nil && g.isTaken {
		g.renewed = now
	}
	if role == was && hostname == o.hostname {
		n.mu.Unlock()
		return
	}
	calm := was != policy.RoleUnknown && o.changed != 0 && since(n.clock, o.changed) > calmAfter
	n.role, o.hostname, o.changed = role, hostname, now
	if !primary {
		n.unclaimLocked()
	} else if o.claimed == 0 {
		o.claimed, o.seen = now, was == policy.RoleReplica
		n.takeLocked()
	}
	n.roomLocked(calm && !primary && hostname == "")
	n.mu.Unlock()
	if role != was {
		n.log.Info("LiteFS says its role", "role", role, "primary", hostname)
	}
	n.poke()
	n.wake()
}

// lostRole is told that LiteFS is heard no more: whether it is still primary,
// and has been all the while when it is heard again, nobody knows.
func (n *Node) lostRole(err error) {
	n.mu.Lock()
	was := n.role
	n.role, n.own.hostname = policy.RoleUnknown, ""
	n.unclaimLocked()
	n.roomLocked(false)
	n.mu.Unlock()
	if was != policy.RoleUnknown && n.ctx.Err() == nil {
		n.log.Warn("LiteFS is not heard", "was", was, "err", err)
	}
	n.poke()
	n.wake()
}

// unclaimLocked ends the claim and the grant that rests on it.
func (n *Node) unclaimLocked() {
	n.own.claimed, n.own.seen, n.own.superseded = 0, false, false
	n.leaveLocked()
}

func (n *Node) leaveLocked() {
	if g := n.grant; g != nil && g.isTaken && !g.hasLeft {
		g.hasLeft = true
		close(g.left)
	}
}

// takeLocked takes the offered grant where LiteFS is primary by itself. One
// grant, and so one Open, for each claim and leadership.
func (n *Node) takeLocked() {
	g := n.grant
	if !n.follows() || g == nil || g.isTaken || n.own.claimed == 0 || n.own.superseded {
		return
	}
	g.isTaken, g.hostname, g.renewed = true, n.own.hostname, n.clock.Boot()
	close(g.taken)
}

// roomLocked holds new readers back while LiteFS changes its role, and ends
// that at its next word. LiteFS says that it has lost a role before it waits
// for the readers, and nothing when it has had them (store.go, monitorLease).
func (n *Node) roomLocked(want bool) {
	if n.own.makeRoom != nil {
		n.own.makeRoom()
		n.own.makeRoom = nil
	}
	if !want {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ReaderGrace+handOnGrace)
	n.own.makeRoom = cancel
	n.goes(func() {
		defer cancel()
		release := n.cfg.Quiesce(ctx, n.cfg.ReaderGrace)
		defer release()
		<-ctx.Done()
	})
}

// claimLocked is this node's claim as others may rely on it.
func (n *Node) claimLocked() (policy.Claim, bool) {
	o := n.own
	c := policy.Claim{Node: n.cfg.Name, Age: since(n.clock, o.claimed), Seen: o.seen}
	return c, o.claimed != 0 && !o.superseded && !n.closing.Load()
}

// stateClaim puts the claim into what others are told.
func (n *Node) stateClaim(s *PeerState) {
	s.Mode = n.mode()
	n.mu.Lock()
	defer n.mu.Unlock()
	if c, ok := n.claimLocked(); ok {
		s.Claim = &c
	}
}

// heedLocked gives the claim up where another node's is newer: the lease server
// has given the key away, and LiteFS does not know it yet. What is written here
// from now on would be replaced.
func (n *Node) heedLocked(other *policy.Claim) {
	if other == nil || n.cfg.SingleClaim || n.own.claimed == 0 || n.own.superseded {
		return
	}
	own := policy.Claim{Age: since(n.clock, n.own.claimed), Seen: n.own.seen}
	if !other.Newer(own, n.cfg.ClockDrift) {
		return
	}
	n.own.superseded = true
	n.leaveLocked()
	n.log.Warn("another LiteFS became primary after this node's, which still claims to be", "primary", other.Node)
}

// arrivingLocked reports that leadership is on its way to a LiteFS that has
// become primary of its own, or leaves it at a shutdown. Anything longer is a
// split brain.
func (n *Node) arrivingLocked() bool {
	if !n.follows() || n.own.claimed == 0 || n.reigning != 0 {
		return false
	}
	return n.closing.Load() || since(n.clock, n.own.claimed) < arriveWithin*n.cfg.HeartbeatTimeout
}

// byClaim reports whether leadership goes by claims: this node's LiteFS makes
// them, or, where it has none, those of its peers do.
func (n *Node) byClaim() bool {
	if n.follows() || n.cfg.LiteFS != nil {
		return n.follows()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, rec := range n.peerStates {
		if rec.state.Mode == modeFollow {
			return true
		}
	}
	return false
}

// errOtherMode is wrapped by the reason for which a peer of the other mode is
// refused.
var errOtherMode = errors.New("make them equal on all nodes")

func otherMode(here, name string, s PeerState) error {
	if s.Mode == here || s.Mode == "" || here == "" {
		return nil
	}
	return fmt.Errorf("litefs.mode: %s here, %s on %s; %w", here, s.Mode, name, errOtherMode)
}

// checkModes returns why this node must not run beside its peers, if so.
func (n *Node) checkModes() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, rec := range n.peerStates {
		if errors.Is(rec.err, errOtherMode) {
			return rec.err
		}
	}
	return nil
}

// outnumbered reports that half of the voters or more run in the other mode: a
// primary chosen here would be one that they do not follow.
func (n *Node) outnumbered() bool {
	ids, _ := n.voters()
	n.mu.Lock()
	defer n.mu.Unlock()
	others := 0
	for _, id := range ids {
		if errors.Is(n.peerStates[nodeName(id)].err, errOtherMode) {
			others++
		}
	}
	return others > 0 && 2*others >= len(ids)
}
