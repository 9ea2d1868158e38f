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

// With quorum.confirm: replicated a commit is acknowledged once every node of a
// small set, named in raft's log (KindCopies), has it on disk, and none but those
// and the opener may become primary while the Open lasts. It is a set with names,
// and not any n-k of the others: with several databases one replica may be ahead in
// one and another in another, and then no node need have all that was acknowledged.

// copies is what a primary knows of its set.
type copies struct {
	mu   sync.Mutex
	on   bool           // this node is primary, under ref
	ref  policy.OpenRef // the Open that all of this belongs to
	term uint64
	// set is what raft's log says last, where that is certain (settled). It is
	// frozen while another is about to be written there: nothing is acknowledged
	// then, for the new ones have to have all that was.
	set     []raft.ServerID
	settled bool
	frozen  bool
	maybe   []raft.ServerID // all whom raft's log may name by now
	at      map[raft.ServerID]*copyAt
	acked   policy.Positions // the newest of each database that was acknowledged
	news    chan struct{}    // closed at the next change
	waits   map[*copyWait]struct{}
}

// copyAt is where a replica has said that it stands, on the connection that is
// the newest of its.
type copyAt struct {
	pos policy.Positions
	end func() // ends the connection
}

// copyWait is a commit that waits.
type copyWait struct {
	policy.Commit
	since time.Time
}

// has reports whether a database that stands at pos contains c. Under one Open
// whoever is in step and farther has it.
func has(pos policy.Pos, c policy.Commit) bool {
	return pos.TXID > c.Pos.TXID || pos == c.Pos
}

func (c *copies) changedLocked() {
	if c.news != nil {
		close(c.news)
		c.news = nil
	}
}

func (c *copies) newsLocked() <-chan struct{} {
	if c.news == nil {
		c.news = make(chan struct{})
	}
	return c.news
}

// begin starts anew under an Open of this node's. Called again under the same it
// changes nothing.
func (c *copies) begin(ref policy.OpenRef, term uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on && c.ref == ref {
		return
	}
	c.changedLocked()
	c.on, c.ref, c.term = true, ref, term
	c.set, c.settled, c.frozen, c.maybe = nil, false, false, nil
	c.at, c.acked, c.waits = map[raft.ServerID]*copyAt{}, policy.Positions{}, map[*copyWait]struct{}{}
}

// end ends every wait: nothing is acknowledged any more.
func (c *copies) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	c.changedLocked()
}

// missingLocked are the nodes of the set that do not have commit k yet.
func (c *copies) missingLocked(k policy.Commit) (ids []raft.ServerID) {
	for _, id := range c.set {
		if at := c.at[id]; at == nil || !has(at.pos[k.DB], k) {
			ids = append(ids, id)
		}
	}
	return ids
}

// lookLocked acknowledges k if it may be.
func (c *copies) lookLocked(k policy.Commit) bool {
	if !c.settled || c.frozen || len(c.missingLocked(k)) > 0 {
		return false
	}
	if !has(c.acked[k.DB], k) {
		c.acked[k.DB] = k.Pos
	}
	return true
}

// Replicated returns nil once so many data nodes have the transaction on disk
// that every majority which could elect a new primary has one of them, and that
// one of them will be it: this node and the n-k of its set, with n voters and
// k = n/2+1. An error says that it may not be acknowledged: the role or the lease
// is over, or ctx is. It waits for as long as it takes. Safe for concurrent use.
func (n *Node) Replicated(ctx context.Context, k policy.Commit) error {
	c := &n.copies
	w := &copyWait{k, time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	ref, term := c.ref, c.term
	if c.waits != nil {
		c.waits[w] = struct{}{}
		defer func() { delete(c.waits, w) }()
	}
	for {
		if !c.on || c.ref != ref {
			return fmt.Errorf("the role ended before %s of %s was on enough nodes", k.Pos, k.DB)
		}
		if c.lookLocked(k) {
			return nil
		}
		news := c.newsLocked()
		c.mu.Unlock()
		err := n.awaitCopy(ctx, news, term)
		c.mu.Lock()
		if err != nil {
			return fmt.Errorf("%s of %s is not on enough nodes: %w", k.Pos, k.DB, err)
		}
	}
}

// awaitCopy returns at the next change, or with an error when there is no use in
// waiting on.
func (n *Node) awaitCopy(ctx context.Context, news <-chan struct{}, term uint64) error {
	until, ok := n.lease.until(term)
	left := time.Duration(until-n.clock.Boot()) + lapseGrace
	if !ok || left <= 0 {
		return fmt.Errorf("term %d: %w", term, errLeaseOver)
	}
	return n.awaitNews(ctx, news, left) // it may have been extended meanwhile
}

// vouches reports whether id, at pos, may be told that it is in step. A node asks
// that is not marked: what it had reported is gone with the mark. Such a one of the
// set has to get all that was acknowledged first, or it could become primary
// without, once this node is gone.
func (c *copies) vouches(ref policy.OpenRef, id raft.ServerID, pos policy.Positions) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ref != ref {
		return true
	}
	if at := c.at[id]; at != nil {
		// Where the question was late the node has been marked since: it comes again.
		delete(c.at, id)
		at.end()
		c.changedLocked()
	}
	return !slices.Contains(c.maybe, id) || !pos.Behind(c.acked)
}

// certain reports whether raft's log is known to name the set.
func (c *copies) certain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.on && c.settled
}
