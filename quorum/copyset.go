package quorum

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

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
