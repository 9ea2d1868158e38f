package quorum

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	if c.on && c.lookLocked(k) {
		return nil
	}
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
		err := n.awaitNews(ctx, news, term)
		c.mu.Lock()
		if err != nil {
			return fmt.Errorf("%s of %s is not on enough nodes: %w", k.Pos, k.DB, err)
		}
	}
}

// awaitNews returns at the next change, or with an error when there is no use in
// waiting on.
func (n *Node) awaitNews(ctx context.Context, news <-chan struct{}, term uint64) error {
	until, ok := n.lease.until(term)
	left := time.Duration(until-n.clock.Boot()) + lapseGrace
	if !ok || left <= 0 {
		return fmt.Errorf("term %d: %w", term, errLeaseOver)
	}
	late := time.NewTimer(left)
	defer late.Stop()
	select {
	case <-news:
	case <-late.C: // or it was extended meanwhile
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return errClosing
	}
	return nil
}

const (
	copiesTick = 100 * time.Millisecond
	// copyLate is for how long a node of the set may hold commits up while another
	// has them that could take its place.
	copyLate = 300 * time.Millisecond
	// copyCatchUp bounds how long commits are held up for a node that is to come
	// into the set: where it does not get there, the old set stays.
	copyCatchUp = 500 * time.Millisecond
	// copyTold is after how long a commit that waits is worth a line.
	copyTold = time.Second
)

// keepCopies sees to the set while the grant lasts.
func (n *Node) keepCopies(ctx context.Context, g *grant) {
	var told time.Time
	for ctx.Err() == nil {
		n.chooseCopies(ctx, g)
		told = n.tellWaits(told)
		c := &n.copies
		c.mu.Lock()
		news := c.newsLocked()
		settled := c.settled
		c.mu.Unlock()
		if settled {
			news = nil // each position of each replica is news; a lost one has time
		}
		select {
		case <-ctx.Done():
		case <-news:
		case <-time.After(copiesTick):
		}
	}
}

// copiesWanted is how many nodes beside the primary have to have a transaction.
func (n *Node) copiesWanted() int {
	ids, _ := n.voters()
	return len(ids) - (len(ids)/2 + 1)
}

// chooseCopies replaces nodes of the set that are gone, or that hold commits up.
// Its size is not for it to choose.
func (n *Node) chooseCopies(ctx context.Context, g *grant) {
	voters, _ := n.voters()
	held := n.fsm.state().Held
	c := &n.copies
	c.mu.Lock()
	if !c.on {
		c.mu.Unlock()
		return
	}
	var next []raft.ServerID
	fits := func(id raft.ServerID) bool { return slices.Contains(voters, id) && c.at[id] != nil }
	slow := map[raft.ServerID]bool{}
	if c.settled {
		for _, id := range c.set {
			if slow[id] = fits(id) && c.holdsUpLocked(id); fits(id) && !slow[id] {
				next = append(next, id)
			}
		}
	}
	want := n.copiesWanted()
	next = next[:min(len(next), want)]
	var rest []raft.ServerID
	for id, at := range c.at {
		if fits(id) && !slices.Contains(next, id) && !at.pos.Behind(held) {
			rest = append(rest, id)
		}
	}
	slices.SortFunc(rest, func(a, b raft.ServerID) int {
		if x, y := slow[a], slow[b]; x != y {
			return map[bool]int{false: -1, true: 1}[x]
		}
		if x, y := c.at[a].pos.Sum(), c.at[b].pos.Sum(); x != y {
			return int(int64(y) - int64(x))
		}
		return strings.Compare(string(a), string(b))
	})
	next = append(next, rest[:min(len(rest), want-len(next))]...)
	slices.Sort(next)
	same := c.settled && slices.Equal(next, c.set)
	c.mu.Unlock()
	if !same && len(next) == want {
		n.changeCopies(ctx, g, next)
	}
}

// holdsUpLocked reports whether id lacks a commit that has waited for long and
// that somebody else has.
func (c *copies) holdsUpLocked(id raft.ServerID) bool {
	for w := range c.waits {
		if time.Since(w.since) < copyLate || has(c.at[id].pos[w.DB], w.Commit) {
			continue
		}
		for other, at := range c.at {
			if !slices.Contains(c.set, other) && has(at.pos[w.DB], w.Commit) {
				return true
			}
		}
	}
	return false
}

// changeCopies writes another set to raft's log, once its nodes have everything
// that was acknowledged under this one. Until raft has it nothing else is.
func (n *Node) changeCopies(ctx context.Context, g *grant, next []raft.ServerID) {
	// What is recorded as held, a node of the set has to have.
	n.recording.Lock()
	defer n.recording.Unlock()
	st := n.fsm.state()
	c := &n.copies
	c.mu.Lock()
	if !c.on || c.ref != st.ref() {
		c.mu.Unlock()
		return
	}
	c.frozen = true
	c.maybe = append(c.maybe, next...)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.frozen = false
		if c.settled {
			c.maybe = slices.Clone(c.set)
		}
		c.changedLocked()
		c.mu.Unlock()
	}()
	if !n.awaitCopies(ctx, next, st.Held) {
		return
	}
	names := make([]string, len(next))
	for i, id := range next {
		names[i] = string(id)
	}
	// Raft may commit it whatever it says: until a later one is there for certain,
	// which set counts is unknown.
	c.mu.Lock()
	c.settled = false
	c.mu.Unlock()
	if _, err := n.apply(Record{Kind: KindCopies, Term: g.term, ID: st.Open.ID, Copies: names}, n.cfg.HeartbeatTimeout); err != nil {
		n.log.Warn("the nodes that have every acknowledged transaction were not recorded; commits wait", "copies", nodeNames(next), "err", err)
		n.pause(ctx, reignTick)
		return
	}
	c.mu.Lock()
	if c.on && c.ref == st.ref() {
		c.set, c.settled = next, true
	}
	c.mu.Unlock()
	n.log.Info("commits wait for copies", "on", nodeNames(next), "term", g.term)
	n.poke()
}

// awaitCopies returns whether all of next got what was acknowledged, and held, in
// time.
func (n *Node) awaitCopies(ctx context.Context, next []raft.ServerID, held policy.Positions) bool {
	ctx, cancel := context.WithTimeout(ctx, copyCatchUp)
	defer cancel()
	c := &n.copies
	for {
		c.mu.Lock()
		all := c.on
		for _, id := range next {
			at := c.at[id]
			all = all && at != nil && !at.pos.Behind(c.acked) && !at.pos.Behind(held)
		}
		news := c.newsLocked()
		c.mu.Unlock()
		if all {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
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
	delete(c.at, id)
	c.changedLocked()
	return !slices.Contains(c.maybe, id) || !pos.Behind(c.acked)
}

// certain reports whether raft's log is known to name the set.
func (c *copies) certain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.on && c.settled
}

func nodeNames(ids []raft.ServerID) []string {
	names := []string{}
	for _, id := range ids {
		names = append(names, nodeName(id))
	}
	return names
}

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
