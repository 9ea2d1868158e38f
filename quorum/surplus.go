package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litefence/litefence/policy"
)

const (
	// surplusEvery is how often a follower that is out of step asks its primary
	// for its databases.
	surplusEvery = 500 * time.Millisecond
	// surplusFor is how long the primary must lack a database, on one stream,
	// before anything is done about it.
	surplusFor = 2 * time.Second
	// asideRetry is how long nothing is set aside after an attempt, whatever
	// became of it: each stops LiteFS. It doubles with every failure in a row.
	asideRetry    = time.Minute
	asideRetryMax = time.Hour
)

// surplus names the databases of own that the opener lacks, or has no
// transaction of: LiteFS neither drops nor replaces them on a replica
// (http/server.go, streamDB; store.go, monitorLeaseAsReplica), which never comes
// into step with them. A dropped database is none: LiteFS goes on listing it, and
// the drop is a transaction like any other (db.go, Drop).
func surplus(own, opener policy.Positions) (dbs []string) {
	for _, db := range sortedKeys(own) {
		if own[db].TXID != 0 && opener[db].TXID == 0 {
			dbs = append(dbs, db)
		}
	}
	return dbs
}

type databasesRequest struct {
	Open policy.OpenRef `json:"open"`
}

type databasesAnswer struct {
	Open      policy.OpenRef   `json:"open"`
	Positions policy.Positions `json:"positions"`
}

// serveDatabases tells a replica which databases this primary has, under the
// very Open that it names.
func (n *Node) serveDatabases(ctx context.Context, q databasesRequest) (databasesAnswer, error) {
	pos, err := n.positionsUnder(ctx, q.Open)
	return databasesAnswer{q.Open, pos}, err
}

// positionsUnder reads LiteFS's positions while this node serves under ref. They
// are an error where it did not before and after.
func (n *Node) positionsUnder(ctx context.Context, ref policy.OpenRef) (policy.Positions, error) {
	if err := n.servesUnder(ref); err != nil {
		return nil, err
	}
	pos, primary, err := n.cfg.LiteFS.Positions(ctx)
	if err != nil || !primary {
		return nil, errNoPrimary
	}
	return pos, n.servesUnder(ref)
}

// servesUnder returns nil while the newest Open is ref, this node's own, and its
// gate is open under it.
func (n *Node) servesUnder(ref policy.OpenRef) error {
	if _, err := n.Serving(); err != nil {
		return err
	}
	st := n.fsm.state()
	if ref.IsZero() || st.ref() != ref || st.Open.RaftID != string(n.raftID()) || n.cfg.LiteFS == nil {
		return errNoPrimary
	}
	return nil
}

// lacking asks the primary of f which of the databases that stand at pos here it
// lacks. pos was read before: what the primary made since is not in it.
func (n *Node) lacking(ctx context.Context, f following, pos policy.Positions) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	a, err := n.peers.databases(ctx, f.addr, databasesRequest{f.ref})
	if err == nil && (a.Open != f.ref || a.Positions == nil) {
		err = errNoPrimary
	}
	if err != nil {
		return nil, err
	}
	return surplus(pos, a.Positions), nil
}

// surplusWatch is what one stream has seen of surplus databases.
type surplusWatch struct {
	dbs   []string
	since time.Time // the same ones in every answer from here on
	asked time.Time
}

// heedSurplus looks for databases that keep this follower out of step. Once the
// primary is sure to lack some they are set aside, where LiteFS is ours to stop,
// and else reported.
func (n *Node) heedSurplus(ctx context.Context, f following, pos policy.Positions, w *surplusWatch) {
	if time.Since(w.asked) < surplusEvery {
		return
	}
	w.asked = time.Now()
	dbs, err := n.lacking(ctx, f, pos)
	if err != nil || !slices.Equal(dbs, w.dbs) {
		w.dbs, w.since = dbs, time.Now()
	}
	switch {
	case err != nil || ctx.Err() != nil || f.ctx.Err() != nil:
	case len(dbs) == 0:
		n.setOutOfStep("")
	case time.Since(w.since) < surplusFor:
	case n.cfg.SetAside == nil:
		n.setOutOfStep(fmt.Sprintf("%s: on this node and not on its primary %s, and LiteFS does not drop that; stop LiteFS here, move dbs/NAME out of litefs.data-dir, start LiteFS", strings.Join(dbs, ", "), nodeName(f.id)))
	default:
		n.setAside(f, pos, dbs)
	}
}

// setOutOfStep is what status says of a follower; each new word is logged once.
func (n *Node) setOutOfStep(why string) {
	n.mu.Lock()
	was := n.outOfStep
	n.outOfStep = why
	n.mu.Unlock()
	if why != was && why != "" {
		n.log.Warn("out of step", "because", why)
	}
}

// setAside sets databases aside that the primary of f lacks. The stream that
// found them ends with it.
func (n *Node) setAside(f following, pos policy.Positions, dbs []string) {
	if !n.beginAside(f) {
		return
	}
	e := Lost{
		Kind: kindSetAside, Node: n.cfg.Name, Primary: nodeName(f.id), Open: f.ref.Index,
		Why: "the primary does not have them, and LiteFS does not drop them on a replica, which cannot come into step with them",
	}
	e.stamp(f.ref.ID)
	for _, db := range dbs {
		e.Databases = append(e.Databases, LostDB{Name: db, From: n.cfg.Name, Had: pos[db]})
	}
	n.log.Warn("stopping LiteFS to set databases aside that its primary lacks", "databases", dbs, "open", f.ref.Index, "primary", e.Primary)
	err := n.cfg.SetAside(n.ctx, e, func(ctx context.Context) error { return n.mayAside(ctx, f, pos, dbs) })
	retry := n.endAside(err == nil)
	if err != nil {
		n.setOutOfStep(fmt.Sprintf("%s: on this node and not on its primary %s, and not set aside, the next try is in %v: %v", strings.Join(dbs, ", "), e.Primary, retry, err))
		return
	}
	n.setOutOfStep("")
	n.log.Warn("databases set aside; see `litefence lost`", "id", e.ID, "databases", dbs)
}

// beginAside keeps this node from any role until the databases are set aside. A
// node that leads, or has or is offered the key, sets nothing aside.
func (n *Node) beginAside(f following) bool {
	// Whoever writes a marker has written it before, or finds that this has begun.
	n.markMu.Lock()
	defer n.markMu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.asiding, n.reigning != 0, n.grant != nil, n.followed.ctx != f.ctx,
		n.follows(), n.closing.Load(), time.Now().Before(n.asideNext):
		return false
	}
	n.asiding = true
	n.asides++
	return true
}

// endAside says how long there is no other attempt.
func (n *Node) endAside(done bool) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asiding = false; done || n.asideRetry == 0 {
		n.asideRetry = asideRetry
	} else {
		n.asideRetry = min(2*n.asideRetry, asideRetryMax)
	}
	n.asideNext = time.Now().Add(n.asideRetry)
	return n.asideRetry
}

// movedSince reports whether databases are being set aside, or were since asides
// was read. What was seen of them before puts nobody in step.
func (n *Node) movedSince(asides uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asiding || n.asides != asides
}

// mayAside is the last look, with LiteFS stopped: pos is all that there will be,
// and f's primary is asked once more.
func (n *Node) mayAside(ctx context.Context, f following, pos policy.Positions, dbs []string) error {
	l, st, ok := n.primary()
	if !ok || l.term != f.term || l.id != f.id || st.ref() != f.ref {
		return errors.New("another primary is followed by now")
	}
	if st.Accept.Node == n.cfg.Name {
		return errors.New("an operator has accepted this node's data (accept-loss)")
	}
	m, err := n.cfg.LiteFS.Marker()
	if err != nil {
		return fmt.Errorf("in-step marker: %w", err)
	}
	if m == f.ref {
		return errors.New("this node is in step by now")
	}
	still, err := n.lacking(ctx, f, pos)
	if err == nil && !slices.Equal(still, dbs) {
		err = fmt.Errorf("the primary lacks %v by now", still)
	}
	return err
}
