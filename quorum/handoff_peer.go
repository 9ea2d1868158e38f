package quorum

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

type handoffRequest struct {
	To     string        `json:"to"`
	Within time.Duration `json:"within"`
}

// handoffAnswer carries an error's kind across the wire.
type handoffAnswer struct {
	HandoffResult
	Error  string `json:"error,omitempty"`
	Unsafe bool   `json:"unsafe,omitempty"`
	Late   bool   `json:"late,omitempty"`
}

func answerOf(res HandoffResult, err error) handoffAnswer {
	a := handoffAnswer{HandoffResult: res, Unsafe: errors.Is(err, ErrUnsafe), Late: errors.Is(err, ErrLate)}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// remoteError is an error as another node put it, of one of our kinds.
type remoteError struct {
	text string
	kind error
}

func (e remoteError) Error() string { return e.text }
func (e remoteError) Unwrap() error { return e.kind }

func (a handoffAnswer) err() error {
	switch {
	case a.Error == "":
		return nil
	case a.Unsafe:
		return remoteError{a.Error, ErrUnsafe}
	case a.Late:
		return remoteError{a.Error, ErrLate}
	}
	return errors.New(a.Error)
}

// forwardHandoff asks the leader.
func (n *Node) forwardHandoff(ctx context.Context, l leadership, to string) (HandoffResult, error) {
	q := handoffRequest{To: to, Within: handoffPause}
	if end, ok := ctx.Deadline(); ok {
		q.Within = time.Until(end)
	}
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.Within+takeOverWithin+peerTimeout)
	defer cancel()
	// The asker may give up, not only run out of time: that calls off.
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})
	defer stop()
	var a handoffAnswer
	if err := n.peers.do(ask, http.MethodPost, l.addr, "/peer/handoff", q, &a); err != nil {
		kind := errors.New("failed")
		if ask.Err() != nil {
			kind = ErrLate
		}
		return HandoffResult{}, fmt.Errorf("%w: the leader %s does not answer: %w", kind, nodeName(l.id), err)
	}
	return a.HandoffResult, a.err()
}

// serveHandoff is asked by a node that does not lead.
func (n *Node) serveHandoff(ctx context.Context, q handoffRequest) (handoffAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, q.Within)
	defer cancel()
	n.mu.Lock()
	reigns := n.reigning != 0
	n.mu.Unlock()
	if !reigns {
		return answerOf(HandoffResult{}, fmt.Errorf("%w: %s does not lead any more", ErrLate, n.cfg.Name)), nil
	}
	return answerOf(n.handoff(ctx, q.To)), nil
}

// handoffTarget finds the member named, or the one best suited.
func (n *Node) handoffTarget(ctx context.Context, to string) (raft.Server, error) {
	if to == "" {
		return n.anyTarget(ctx)
	}
	s, ok := n.server(to)
	switch {
	case !ok:
		return s, fmt.Errorf("%w: no node %q in this cluster (%s)", ErrUnsafe, to, strings.Join(n.memberNames(), ", "))
	case s.Suffrage != raft.Voter:
		return s, fmt.Errorf("%w: %s has no vote", ErrUnsafe, to)
	}
	return s, nil
}

func (n *Node) memberNames() (names []string) {
	for _, s := range n.servers() {
		names = append(names, nodeName(s.ID))
	}
	return names
}

// anyTarget waits a little for one: after a change of the primary the others
// come into step within some tenths of a second.
func (n *Node) anyTarget(ctx context.Context) (raft.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, inStepWithin)
	defer cancel()
	for {
		s, ok := n.bestTarget(func(raft.Server, PeerState) bool { return true })
		if ok {
			return s, nil
		}
		if ctx.Err() != nil || len(n.servers()) < 2 {
			return s, fmt.Errorf("%w: no other node is in step with this primary and fit to take over", ErrUnsafe)
		}
		n.askPeers()
		rest(ctx, handoffTick)
	}
}

// bestTarget is the most advanced of the other nodes that are in step and fit,
// for the caller too, then the first by name, as they were heard of last. fits is
// called with mu held.
func (n *Node) bestTarget(fits func(raft.Server, PeerState) bool) (best raft.Server, ok bool) {
	ref := n.fsm.state().ref()
	n.mu.Lock()
	defer n.mu.Unlock()
	var most PeerState
	for _, s := range n.servers() {
		rec := n.peerStates[nodeName(s.ID)]
		if s.ID == n.raftID() || s.Suffrage != raft.Voter || rec.err != nil || time.Since(rec.at) > 2*peerTimeout {
			continue
		}
		if rec.state.Marker != ref || n.unfit(s, rec.state) != nil || !fits(s, rec.state) {
			continue
		}
		ahead := int64(rec.state.Positions.Sum()) - int64(most.Positions.Sum())
		if !ok || ahead > 0 || ahead == 0 && rec.state.Name < most.Name {
			best, most, ok = s, rec.state, true
		}
	}
	return best, ok
}

// askTarget asks a handover's target how it is; an error that is ErrUnsafe says
// that it must not become primary.
func (n *Node) askTarget(ctx context.Context, s raft.Server) (PeerState, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	st, err := n.peers.state(ctx, string(s.Address))
	if err != nil {
		return st, err
	}
	return st, n.unfit(s, st)
}

// unfit says why a node must not become primary by a handoff, apart from its
// position.
func (n *Node) unfit(s raft.Server, st PeerState) error {
	err := n.mismatch(nodeName(s.ID), string(s.Address), st)
	switch {
	case err != nil:
	case st.RaftID != string(s.ID):
		err = fmt.Errorf("%s answers as %s: its data directory was replaced", s.ID, st.RaftID)
	case st.Witness:
		err = fmt.Errorf("%s is a witness: it has no LiteFS", st.Name)
	case st.Reason == policy.ReasonManual || st.Reason == policy.ReasonCommand:
		err = fmt.Errorf("%s is fenced (%s); lift it with `litefence unfence` there", st.Name, st.Reason)
	case st.Reason == policy.ReasonFailed:
		err = fmt.Errorf("%s has not resolved its last split brain; see `litefence status` there", st.Name)
	case st.Health.Health == policy.Unhealthy:
		err = fmt.Errorf("%s is unhealthy (%s)", st.Name, st.Health.Reason)
	case st.Reason == policy.ReasonShutdown:
		err = fmt.Errorf("%s is stopping", st.Name)
	default:
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnsafe, err)
}
