package quorum

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// followTick bounds how late a change of leadership is seen; raft's observer
// usually says it at once.
const followTick = 20 * time.Millisecond

// leadership is who leads, as this node last saw it. Its context ends the
// moment that changes.
type leadership struct {
	id     raft.ServerID // "" = unknown
	addr   string
	term   uint64
	ctx    context.Context
	cancel context.CancelFunc
}

// watchLeadership keeps followed up to date.
func (n *Node) watchLeadership() {
	seen := make(chan raft.Observation, 8)
	obs := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(obs)
	defer n.raft.DeregisterObserver(obs)
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	for {
		n.lookUpLeader()
		select {
		case <-n.ctx.Done():
			n.setLeader(leadership{})
			return
		case <-seen:
		case <-tick.C:
		}
	}
}

func (n *Node) lookUpLeader() {
	addr, id := n.raft.LeaderWithID()
	term := n.raft.CurrentTerm()
	n.mu.Lock()
	same := n.followed.id == id && n.followed.term == term
	n.mu.Unlock()
	if !same {
		n.setLeader(leadership{id: id, addr: n.addressOf(id, string(addr)), term: term})
	}
	if id != "" && id != n.raftID() {
		if st := n.fsm.state(); st.Open.Term == term && st.Newest.Kind == KindOpen {
			n.liftCommand(term)
		}
	}
	n.poke()
}

// addressOf returns the address of a node as the configuration has it. Raft says
// of a leader the number that it has resolved its own address to, by which nobody
// could tell whose certificate to expect where peers are configured by hostname.
func (n *Node) addressOf(id raft.ServerID, raftSays string) string {
	if addr, ok := n.addresses()[nodeName(id)]; ok {
		return addr
	}
	return raftSays
}

// setLeader ends the old leadership's context, which cuts every stream that
// hangs on it, and remembers at which turn of LiteFS's loop that was.
func (n *Node) setLeader(l leadership) {
	l.ctx, l.cancel = context.WithCancel(n.ctx)
	n.mu.Lock()
	old := n.followed
	n.followed = l
	if old.cancel != nil {
		old.cancel()
	}
	n.cutLoops = n.loops
	n.mu.Unlock()
	if !n.follows() {
		n.goes(n.makeRoom)
	}
}

// makeRoom holds new readers back while LiteFS changes its role: it waits for
// every lock holder without a bound, before it asks the lease endpoint again.
func (n *Node) makeRoom() {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.ReaderGrace+handOnGrace)
	defer cancel()
	release := n.cfg.Quiesce(ctx, n.cfg.ReaderGrace)
	defer release()
	_ = n.waitStreamEnd(ctx)
}

// waitStreamEnd returns when LiteFS has begun another turn of its lease loop
// since the last cut: until then it may still apply a frame.
func (n *Node) waitStreamEnd(ctx context.Context) error {
	for {
		n.mu.Lock()
		done, ch := n.loops > n.cutLoops, n.looped
		n.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return errors.New("LiteFS has not asked the lease endpoint again")
		}
	}
}

// primary returns the committed Open that this node follows, and the
// leadership that it belongs to.
func (n *Node) primary() (leadership, state, bool) {
	st := n.fsm.state()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.followed
	ok := l.id != "" && l.id != n.raftID() && st.Newest.Kind == KindOpen &&
		st.Open.Term == l.term && st.Open.RaftID == string(l.id)
	n.warm = n.warm || ok
	return l, st, ok
}

// Primary names the remote primary that the local LiteFS shall follow.
func (n *Node) Primary() (hostname string, ok bool) {
	_, st, ok := n.primary()
	return st.Open.Hostname, ok
}

var errNoPrimary = errors.New("no primary is known in the current term")

// upstream is what the streams from one primary under one Open have in common.
type upstream struct {
	leader context.Context // of the leadership
	ref    policy.OpenRef
	ctx    context.Context
	cancel context.CancelFunc
}

// Upstream returns how the remote primary is reached, and a context that ends
// the moment leadership changes or is unknown, or another Open is committed. A
// stream belongs to the Open that was known when it began: under that one it is
// asked whether this node is in step (Connected), and a follower may hear of a
// new one of the same term only after its LiteFS has connected again.
func (n *Node) Upstream() (context.Context, func(context.Context) (net.Conn, error), error) {
	l, st, ok := n.primary()
	if !ok || l.ctx.Err() != nil {
		return nil, nil, errNoPrimary
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if u := &n.upstream; u.leader != l.ctx || u.ref != st.ref() {
		if u.cancel != nil {
			u.cancel()
		}
		u.leader, u.ref = l.ctx, st.ref()
		u.ctx, u.cancel = context.WithCancel(l.ctx)
	}
	// A report waits for the end of this stream too (waitStreamEnd): under one
	// leadership there may be several.
	n.cutLoops = n.loops
	dial := func(ctx context.Context) (net.Conn, error) { return n.mux.dial(ctx, l.addr, protoHTTP) }
	return n.upstream.ctx, dial, nil
}

// endUpstream ends the streams of an Open that is no longer the newest.
func (n *Node) endUpstream() {
	ref := n.fsm.state().ref()
	n.mu.Lock()
	defer n.mu.Unlock()
	if u := &n.upstream; u.cancel != nil && u.ref != ref {
		u.cancel()
	}
}

// markTick is how often a connected replica asks whether it has caught up with
// the opener's history.
const markTick = 200 * time.Millisecond

// following is one stream from a primary.
type following struct {
	leadership
	ref    policy.OpenRef
	asides uint64 // Node.asides when it began
}

// Connected is told the positions with which the local LiteFS connects to the
// primary, before the first frame passes. Where they lie in the opener's
// history this node is in step from here on; otherwise it is asked again while
// the stream lasts. An error says that nothing must pass: what LiteFS would
// discard is not set aside yet.
func (n *Node) Connected(ctx context.Context, pos policy.Positions) error {
	l, st, ok := n.primary()
	if !ok || n.cfg.LiteFS == nil {
		return nil
	}
	n.mu.Lock()
	f := following{l, st.ref(), n.asides}
	n.mu.Unlock()
	first, cancel := context.WithTimeout(ctx, n.cfg.Lease)
	defer cancel()
	if n.mark(first, f, pos) {
		n.releaseHeld()
		n.goes(func() { n.reportApplied(ctx, f) })
		return nil
	}
	if err := n.keepRolledBack(ctx, f, st, pos); err != nil {
		return err
	}
	n.goes(func() { n.markLater(ctx, f) })
	return nil
}

func (n *Node) markLater(ctx context.Context, f following) {
	tick := time.NewTicker(markTick)
	defer tick.Stop()
	var extra surplusWatch
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.ctx.Done():
			return
		case <-tick.C:
		}
		pos, primary, err := n.cfg.LiteFS.Positions(ctx)
		if err != nil || primary {
			continue
		}
		if n.mark(ctx, f, pos) {
			n.reportApplied(ctx, f)
			return
		}
		n.heedSurplus(ctx, f, pos, &extra)
	}
}

// mark writes the marker if the opener says that pos lies in its history, and
// the stream still hangs on the same leadership afterwards.
func (n *Node) mark(ctx context.Context, f following, pos policy.Positions) bool {
	if cur, err := n.cfg.LiteFS.Marker(); err == nil && cur == f.ref {
		n.setOutOfStep("")
		return true
	}
	if n.movedSince(f.asides) {
		return false // the next stream may
	}
	ok, err := n.peers.inHistory(ctx, f.addr, historyRequest{From: string(n.raftID()), Open: f.ref, Positions: pos})
	if err != nil || !ok || ctx.Err() != nil || f.ctx.Err() != nil {
		return false
	}
	if err := n.setMarker(f.ref, f.asides); err != nil {
		n.log.Error("in-step marker not written", "err", err)
		return false
	}
	n.setOutOfStep("")
	n.log.Info("in step with the primary", "open", f.ref.Index, "primary", nodeName(f.id), "term", f.term)
	return true
}

// setMarker marks the local data as following the newest Open. A late call for
// an older one must not replace a newer marker, nor may one that rests on what
// was there before databases were set aside.
func (n *Node) setMarker(ref policy.OpenRef, asides uint64) error {
	n.markMu.Lock()
	defer n.markMu.Unlock()
	switch {
	case n.fsm.state().ref() != ref:
		return errors.New("a newer open is committed")
	case n.movedSince(asides):
		return errors.New("databases were set aside meanwhile")
	}
	return n.cfg.LiteFS.SetMarker(ref)
}
