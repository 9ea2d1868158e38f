package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

const (
	// handoffTick is how often a target is asked how far it is.
	handoffTick = 5 * time.Millisecond
	// handoffPause bounds how long writes are refused for a target that does not
	// get there.
	handoffPause = 3 * time.Second
	// inStepWithin is how long a target may take to come into step, writes going
	// on; one that followed a primary a moment ago needs less.
	inStepWithin = 2 * time.Second
	// takeOverWithin is how long a handoff waits for the end of what cannot be
	// called off any more.
	takeOverWithin = 5 * time.Second
)

var (
	// ErrUnsafe is wrapped by the error of a handoff that was refused because its
	// target may not, or not without a loss, become primary.
	ErrUnsafe = errors.New("refused")
	// ErrLate is wrapped by the error of a handoff that did not come about in time.
	ErrLate = errors.New("not in time")
)

var errUnderWay = errors.New("another handoff is under way")

// HandoffResult says how a handoff ended.
type HandoffResult struct {
	From     string `json:"from"`      // primary before
	Primary  string `json:"primary"`   // primary now
	PausedMS int64  `json:"paused_ms"` // from the shut gate here until the open one there was seen
}

// handover is a planned change of the primary under way. Guarded by Node.mu.
type handover struct {
	to    raft.Server
	g     *grant
	shut  time.Time        // since when the gate is shut for it; zero = it is not
	sure  bool             // the target has everything: the grant ends, nothing is called off any more
	final policy.Positions // what the target has then
	over  chan struct{}    // closed when leadership has been offered to the target, or that has failed
	err   error            // of the offer; valid once over is closed
}

// of reports whether h, which may be nil, gives g away: one of an older grant
// that has not ended yet does not count.
func (h *handover) of(g *grant) bool { return h != nil && h.g == g }

func (h *handover) name() string { return nodeName(h.to.ID) }

// Handoff makes the node named to primary, or the one best suited where to is
// "", without a loss: the gate here shuts and drains, to gets every transaction,
// and only then does the role go. A node that does not lead asks the leader. ctx
// bounds what can be called off; where it is, writes pass again as before.
func (n *Node) Handoff(ctx context.Context, to string) (HandoffResult, error) {
	n.mu.Lock()
	l, reigns := n.followed, n.reigning != 0
	n.mu.Unlock()
	switch {
	case n.follows():
		return HandoffResult{}, fmt.Errorf("%w: litefs.mode is follow: LiteFS's own lease says who is primary, move it there", ErrUnsafe)
	case reigns:
		return n.handoff(ctx, to)
	case l.id == "" || l.id == n.raftID():
		return HandoffResult{}, fmt.Errorf("%w: no leader is known here now", ErrLate)
	}
	return n.forwardHandoff(ctx, l, to)
}

// Promote makes this node primary: LiteFS's own request for it.
func (n *Node) Promote(ctx context.Context) error {
	_, err := n.Handoff(ctx, n.cfg.Name)
	return err
}

// handoff is the leader's part.
func (n *Node) handoff(ctx context.Context, to string) (res HandoffResult, err error) {
	res = HandoffResult{From: n.cfg.Name, Primary: n.cfg.Name}
	h, err := n.beginHandover(ctx, to)
	if h == nil {
		return res, err
	}
	defer n.callOff(h)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.g.ctx, cancel)() // the role is gone: no use in asking on
	n.log.Info("handoff", "to", h.name(), "term", h.g.term)
	n.eventNow(policy.EventHandoff, "handing the role to "+h.name())
	defer func() {
		if err != nil {
			n.eventNow(policy.EventHandoff, fmt.Sprintf("the role was not handed to %s: %v", h.name(), err))
		}
	}()
	if err := n.approach(ctx, h); err != nil {
		return res, err
	}
	if err := n.shutFor(ctx, h); err != nil {
		return res, err
	}
	late, cancelLate := context.WithTimeout(n.ctx, takeOverWithin)
	defer cancelLate()
	res.Primary, err = n.takenOver(late, h)
	n.mu.Lock()
	res.PausedMS = time.Since(h.shut).Milliseconds()
	n.mu.Unlock()
	if err == nil {
		n.log.Info("handed off", "to", res.Primary, "paused_ms", res.PausedMS)
		n.eventNow(policy.EventHandoff, fmt.Sprintf("%s is primary; no writes for %d ms", res.Primary, res.PausedMS))
	}
	return res, err
}

// beginHandover registers a handover; nil without an error where to is primary
// already.
func (n *Node) beginHandover(ctx context.Context, to string) (*handover, error) {
	var s raft.Server
	var err error
	if to != n.cfg.Name {
		if s, err = n.handoffTarget(ctx, to); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.grant
	switch {
	case n.handing != nil:
		return nil, fmt.Errorf("%w, to %s", errUnderWay, n.handing.name())
	case n.closing.Load():
		return nil, errors.New("this node is stopping")
	case g == nil || !g.opened || g.ending || g.hasLeft:
		return nil, fmt.Errorf("%w: %s leads, but is not primary at present", ErrLate, n.cfg.Name)
	case to == n.cfg.Name && n.fence.On:
		return nil, fmt.Errorf("%w: %s is fenced (%s); lift it with `litefence unfence` there", ErrUnsafe, to, n.fence.Reason)
	case to == n.cfg.Name:
		return nil, nil
	}
	n.handing = &handover{to: s, g: g, over: make(chan struct{})}
	return n.handing, nil
}

// callOff takes a handover back that has not come to the point of no return.
// keep opens the gate again, under the same Open.
func (n *Node) callOff(h *handover) {
	n.mu.Lock()
	if n.handing == h && !h.sure {
		n.handing = nil
	}
	n.mu.Unlock()
	n.poke()
	n.wake()
}

// approach waits, while writes go on, until the target is in step and has what
// was there when it was asked for: that keeps the pause short, and a target that
// will not get there costs none.
func (n *Node) approach(ctx context.Context, h *handover) error {
	own, _, err := n.cfg.LiteFS.Positions(ctx)
	if err != nil {
		return fmt.Errorf("LiteFS does not say where it stands: %w", err)
	}
	ref := n.fsm.state().ref()
	soon, cancel := context.WithTimeout(ctx, inStepWithin)
	defer cancel()
	err = n.awaitTarget(soon, h, func(s PeerState) string {
		if s.Marker != ref {
			return "is not in step with this primary"
		}
		return ""
	})
	if errors.Is(err, ErrLate) && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	if err != nil {
		return err
	}
	return n.awaitTarget(ctx, h, func(s PeerState) string {
		if s.Marker != ref || s.Positions.Behind(own) {
			return lag(own, s.Positions)
		}
		return ""
	})
}

// shutFor shuts the gate and returns once the target has everything. Streams
// live on meanwhile: they carry it.
func (n *Node) shutFor(ctx context.Context, h *handover) error {
	ctx, cancel := context.WithTimeout(ctx, handoffPause)
	defer cancel()
	n.mu.Lock()
	h.shut = time.Now()
	n.mu.Unlock()
	n.poke()
	n.lease.shut()
	if err := n.cfg.Fence(ctx); err != nil {
		return fmt.Errorf("%w: the gate here did not drain: %w", ErrLate, err)
	}
	own, primary, err := n.cfg.LiteFS.Positions(ctx)
	if err != nil || !primary {
		return fmt.Errorf("LiteFS here is not primary any more, or does not answer: %w", errors.Join(err, ctx.Err()))
	}
	ref := n.fsm.state().ref()
	err = n.awaitTarget(ctx, h, func(s PeerState) string {
		if s.Marker != ref || !s.Positions.Equal(own) {
			return lag(own, s.Positions)
		}
		return ""
	})
	if err != nil {
		return err
	}
	if now, primary, err := n.cfg.LiteFS.Positions(ctx); err != nil || !primary || !now.Equal(own) {
		return errors.New("LiteFS here has moved although the gate is shut: somebody writes past litefence")
	}
	return n.makeSure(h, own)
}

// makeSure is the point of no return: from here on the grant ends.
func (n *Node) makeSure(h *handover, final policy.Positions) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.stillHeldLocked(h.g); err != nil {
		return err
	}
	h.sure, h.final = true, final
	n.wake()
	return nil
}

func (n *Node) stillHeldLocked(g *grant) error {
	if n.grant != g || g.ending || g.hasLeft || n.closing.Load() || !n.lease.valid(g.term) {
		return fmt.Errorf("%s has lost the role meanwhile", n.cfg.Name)
	}
	return nil
}

// awaitTarget asks the target until missing says nothing.
func (n *Node) awaitTarget(ctx context.Context, h *handover, missing func(PeerState) string) error {
	why := "does not answer"
	for {
		s, err := n.askTarget(ctx, h.to)
		switch {
		case errors.Is(err, ErrUnsafe):
			return err
		case err == nil:
			if why = missing(s); why == "" {
				return nil
			}
		case ctx.Err() == nil:
			why = "does not answer: " + err.Error() // not what the end of ctx makes of it
		}
		n.mu.Lock()
		err = n.stillHeldLocked(h.g)
		n.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s %s", ErrLate, h.name(), why)
		case <-time.After(handoffTick):
		}
	}
}

// lag says how far a target is from own.
func lag(own, target policy.Positions) string {
	if target.Behind(own) {
		return fmt.Sprintf("is %d transactions behind", int64(own.Sum())-int64(target.Sum()))
	}
	return "has a database that this primary lacks, or another content"
}
