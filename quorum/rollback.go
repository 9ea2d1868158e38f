package quorum

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/litefence/litefence/policy"
)

// Keeper sets aside what LiteFS is about to discard (policy.strategy:
// rollback-to-checkpoint).
type Keeper interface {
	// Joints returns up to n positions at which db stood here, the newest first
	// and without the first skip.
	Joints(db string, skip, n int) []policy.Pos
	// Keep sets aside what leads each database of e from Have to Had, and returns
	// where it lies. All is on disk when it returns.
	Keep(e Lost) (path string, err error)
	// Hold keeps what leads beyond above from being discarded by its age, until
	// Release.
	Hold(above policy.Positions) error
	Release() error
}

const (
	// commonAsk bounds the search for the last position in common with a primary.
	commonAsk = 5 * time.Second
	// commonJoints is how many positions of a database are asked for at once.
	commonJoints = 5000
	// keepPatience is how long following waits for a primary that does not say
	// what it has in common with this node.
	keepPatience = 10 * time.Second
)

type commonRequest struct {
	Open       policy.OpenRef          `json:"open"`
	Candidates map[string][]policy.Pos `json:"candidates"` // newest first
}

type commonAnswer struct {
	Newest map[string]policy.Pos `json:"newest"` // of the candidates that lie in the history
	Lacks  []string              `json:"lacks"`  // databases that the primary does not have
}

// serveCommon tells a replica which of its positions is the newest that this
// primary's databases have stood at too, under the Open that it names.
func (n *Node) serveCommon(ctx context.Context, q commonRequest) (commonAnswer, error) {
	a := commonAnswer{Newest: map[string]policy.Pos{}}
	now, err := n.positionsUnder(ctx, q.Open)
	if err != nil {
		return a, err
	}
	opened := n.fsm.state().Open.Positions
	for _, db := range sortedKeys(q.Candidates) {
		of := q.Candidates[db]
		if now[db].TXID == 0 {
			a.Lacks = append(a.Lacks, db)
			continue
		}
		newest := n.cfg.LiteFS.NewestOf(db, of)
		for _, pos := range []policy.Pos{now[db], opened[db]} {
			if pos.TXID > newest.TXID && slices.Contains(of, pos) {
				newest = pos
			}
		}
		if newest.TXID != 0 {
			a.Newest[db] = newest
		}
	}
	return a, n.servesUnder(q.Open)
}

func (p *peerClient) common(ctx context.Context, addr string, q commonRequest) (a commonAnswer, err error) {
	return a, p.do(ctx, http.MethodPost, addr, "/peer/common", q, &a)
}

// common asks the primary of f for the last position that each database here,
// now at pos, has in common with it. A database that has none, as far as
// anybody's files tell, is there with the zero Pos; one that the primary lacks
// is not there: LiteFS does not discard it.
func (n *Node) common(ctx context.Context, f following, pos policy.Positions) (policy.Positions, error) {
	ctx, cancel := context.WithTimeout(ctx, commonAsk)
	defer cancel()
	found, rest := policy.Positions{}, map[string]bool{}
	for db, p := range pos {
		rest[db] = p.TXID != 0
	}
	for skip := 0; ; skip += commonJoints {
		q := commonRequest{f.ref, map[string][]policy.Pos{}}
		for _, db := range sortedKeys(rest) {
			if !rest[db] {
				continue
			}
			joints := n.cfg.Rollback.Joints(db, skip, commonJoints)
			if skip == 0 && (len(joints) == 0 || joints[0] != pos[db]) {
				joints = append([]policy.Pos{pos[db]}, joints...)
			}
			if len(joints) == 0 {
				found[db], rest[db] = policy.Pos{}, false
				continue
			}
			q.Candidates[db] = joints
		}
		if len(q.Candidates) == 0 {
			return found, nil
		}
		a, err := n.peers.common(ctx, f.addr, q)
		if err != nil {
			return nil, err
		}
		for _, db := range a.Lacks {
			rest[db] = false
		}
		for db, p := range a.Newest {
			if slices.Contains(q.Candidates[db], p) {
				found[db], rest[db] = p, false
			}
		}
	}
}

// keepRolledBack sets aside what LiteFS would discard when it follows the
// primary of f: the transactions between pos and the last position in common.
// An error says that LiteFS must not be sent anything yet.
//
// A primary that does not say what it has in common is asked again for
// keepPatience. After that, and where nothing is found because retention has
// taken the files, everything above the last position that a majority is known
// to hold is set aside: too much, rather than too little. That something cannot
// be set aside holds the following up for as long as it lasts: this is what the
// strategy is for.
func (n *Node) keepRolledBack(ctx context.Context, f following, st state, pos policy.Positions) error {
	if n.cfg.Rollback == nil {
		return nil
	}
	common, err := n.common(ctx, f, pos)
	if err != nil {
		if ctx.Err() != nil || !n.keptWaiting(f) {
			return fmt.Errorf("%s does not say which transactions are to be set aside: %w", nodeName(f.id), err)
		}
		common = policy.Positions{}
		for db := range pos {
			common[db] = policy.Pos{}
		}
	}
	var lost []LostDB
	for _, db := range sortedKeys(common) {
		had, have := pos[db], common[db]
		if held := st.Held[db]; have.TXID == 0 && held.TXID != 0 && n.cfg.LiteFS.NewestOf(db, []policy.Pos{held}) == held {
			have = held
		}
		if had.TXID != 0 && had != have {
			lost = append(lost, LostDB{Name: db, From: n.cfg.Name, Had: had, Have: have})
		}
	}
	if err := n.keepAll(f, lost); err != nil {
		n.setOutOfStep(fmt.Sprintf("policy.strategy: rollback-to-checkpoint: transactions that the majority never saw cannot be set aside, and this node does not follow until they are: %v", err))
		return err
	}
	n.releaseHeld()
	return nil
}

// releaseHeld ends what a split brain has begun: all is set aside, or nothing
// had to be.
func (n *Node) releaseHeld() {
	if n.cfg.Rollback == nil {
		return
	}
	if err := n.cfg.Rollback.Release(); err != nil {
		n.log.Warn("held LTX files not released", "err", err)
	}
}

// keptWaiting reports that the primary of f has been asked in vain for long
// enough.
func (n *Node) keptWaiting(f following) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.keepAsked != f.ref {
		n.keepAsked, n.keepSince = f.ref, time.Now()
	}
	return time.Since(n.keepSince) > keepPatience
}

func (n *Node) keepAll(f following, lost []LostDB) error {
	if len(lost) == 0 {
		return nil
	}
	all, _ := ListLost(n.cfg.DataDir) // a damaged one is no reason to keep nothing
	for _, e := range all {
		if e.Kind == KindRolledBack && slices.Equal(e.Databases, lost) {
			return nil // the stream was cut before LiteFS had replaced them
		}
	}
	e := Lost{
		Kind: KindRolledBack, Node: n.cfg.Name, Primary: nodeName(f.id), Open: f.ref.Index, Databases: lost,
		Why: "on this node alone when another became primary: the majority never saw them, and LiteFS replaces them",
	}
	e.stamp(f.ref.ID)
	var err error
	if e.Path, err = n.cfg.Rollback.Keep(e); err != nil {
		return err
	}
	if err := SaveLost(n.cfg.DataDir, e); err != nil {
		return err
	}
	n.log.Warn("transactions that the majority never saw are set aside; see `litefence lost`", "id", e.ID, "path", e.Path, "databases", lost)
	return nil
}
