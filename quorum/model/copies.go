package model

import "github.com/litefence/litefence/policy"

// idSet is a set of raft IDs.
type idSet uint64

func (s idSet) has(id int32) bool { return s&(1<<id) != 0 }

func (s idSet) n() (n int) {
	for ; s != 0; s &= s - 1 {
		n++
	}
	return n
}

// copies is what a primary knows of the nodes that commits wait for.
type copies struct {
	set     idSet
	settled bool // raft's log says so for certain
	stage   copyStage
	next    idSet
	maybe   idSet            // all that raft's log may name by now
	at      [maxNodes]copyAt // what each has reported
	waits   [dbs]int32       // carried out and not acknowledged
	acked   [dbs]int32
}

// copyStage is how far a change of the set has come. From the first on nothing is
// acknowledged.
type copyStage uint8

const (
	copyIdle copyStage = iota
	copyChosen
	copyLooked
)

// copyAt is a report of what a node has; has is whether there is one.
type copyAt struct {
	has  bool
	id   int32
	open int32 // that it follows
	db   [dbs]int32
}

func newCopiedWorld(off Rules, st Step, o *oracle) *dataWorld {
	w := newDataWorld(off, st, o)
	w.copied = true
	return w
}

// wanted is how many beside the primary have to have a transaction.
func (w *dataWorld) wanted() int { return w.n - (w.n/2 + 1) }

// settle commits what is pending.
func (w *dataWorld) settle() {
	for _, r := range w.pending {
		w.commitCopies(r)
	}
	w.pending, w.kept = nil, 0
}

// commitCopies counts only under the Open that it names.
func (w *dataWorld) commitCopies(r record) {
	open, _, _ := w.newest(len(w.log))
	if open.open != r.open || w.log[len(w.log)-1].kind == rClose {
		return
	}
	w.log = append(w.log, r)
	if w.o.say != nil {
		w.o.tell("raft's log says: copies under Open %d are on %s", r.open, w.names(r.set))
	}
	w.o.someoneMay(w)
}

// copiesAt is what the first n records say of copies.
func (w *dataWorld) copiesAt(n int, open record, l *policy.Lineage) {
	if !w.copied || !w.off.on(CopiesOnly) {
		return
	}
	l.Opener = itoa(int(open.id))
	for i := n - 1; i >= 0 && w.log[i].kind != rOpen; i-- {
		switch {
		case w.log[i].kind == rClose && w.off.on(CopiesClosed):
			return
		case w.log[i].kind == rCopies:
			l.Copied = true
			for id := range w.ids {
				if w.log[i].set.has(id) {
					l.Copies = append(l.Copies, itoa(int(id)))
				}
			}
			return
		}
	}
}

func (w *dataWorld) names(s idSet) (list string) {
	for id := range w.ids {
		if s.has(id) {
			list += " ID " + itoa(int(id))
		}
	}
	if list == "" {
		return "nobody else"
	}
	return list[1:]
}

// copiesHold is whom Held goes by, and how many of them with the primary.
func (w *dataWorld) copiesHold(b *dataNode) (others []policy.Positions, k int) {
	if c := &b.copies; (!c.settled || c.stage != copyIdle) && w.off.on(CopiesHeld) {
		return nil, 0
	}
	for i := len(w.log) - 1; i >= 0 && w.log[i].kind != rOpen; i-- {
		if r := w.log[i]; r.kind == rCopies {
			for y := range w.n {
				if b.peers[y].has && b.peers[y].marker == b.open && r.set.has(w.nodes[y].id) {
					others = append(others, w.positions(b.peers[y].db))
				}
			}
			return others, r.set.n() + 1
		}
	}
	return nil, 0
}

// sayCopies is y's report of what it has, on its way to the primary it follows.
func (w *dataWorld) sayCopies(y int) {
	nd := &w.nodes[y]
	if !nd.up || !nd.lite || !nd.stream || nd.marker != nd.under && w.off.on(CopiesInStep) {
		return
	}
	if s := w.said[y]; s.open != nd.under {
		w.older[y] = s
	}
	w.said[y] = copyAt{true, nd.id, nd.under, nd.db}
}

// hearCopies is the arrival of a report of y's, whatever has become of it meanwhile.
func (w *dataWorld) hearCopies(y int, s copyAt) {
	for n := range w.n {
		p := &w.nodes[n]
		if !s.has || n == y || !p.up || !p.primary || p.open == 0 || !p.marked ||
			s.open != p.open && w.off.on(CopiesInStep) {
			continue
		}
		at := &p.copies.at[y]
		if at.id != s.id || !at.has {
			*at = s
		}
		for i := range at.db {
			if w.contents[s.db[i]].txid >= w.contents[at.db[i]].txid {
				at.db[i] = s.db[i]
			}
		}
	}
}

// vouches reports whether n, the opener, may say that y is in step. Who asks is
// not: whatever it had is gone.
func (w *dataWorld) vouches(n, y int) bool {
	c, nd := &w.nodes[n].copies, &w.nodes[y]
	if !w.copied || !w.off.on(CopiesMarked) {
		return true
	}
	c.at[y] = copyAt{}
	return !c.maybe.has(nd.id) || !w.behind(nd.db, c.acked)
}

// behind reports whether db lacks a transaction that want has, by number.
func (w *dataWorld) behind(db, want [dbs]int32) bool {
	for i := range db {
		if w.contents[db[i]].txid < w.contents[want[i]].txid {
			return true
		}
	}
	return false
}

// keepsCopies reports whether n is primary under an Open, as far as it knows.
func (w *dataWorld) keepsCopies(n int) bool {
	b := &w.nodes[n]
	return b.up && b.primary && b.open != 0 && b.marked && b.gate
}

// chooseCopies begins a change of the set, whatever it may be for.
func (w *dataWorld) chooseCopies(n, from int) {
	c := &w.nodes[n].copies
	if !w.keepsCopies(n) || c.stage != copyIdle {
		return
	}
	c.next = 0
	for i := range w.n {
		if y := (from + i) % w.n; y != n && c.at[y].has && c.next.n() < w.wanted() {
			c.next |= 1 << c.at[y].id
		}
	}
	if c.next.n() == w.wanted() {
		c.stage = copyChosen
		c.maybe |= c.next
	}
}

// lookCopies looks whether the new ones have everything.
func (w *dataWorld) lookCopies(n int) {
	c := &w.nodes[n].copies
	if !w.keepsCopies(n) || c.stage != copyChosen {
		return
	}
	_, held, _ := w.newest(len(w.log))
	for y := range w.n {
		if at := c.at[y]; at.has && c.next.has(at.id) && w.off.on(CopiesCaughtUp) && (w.behind(at.db, c.acked) || w.behind(at.db, held)) {
			c.stage = copyIdle
			return
		}
	}
	c.stage = copyLooked
}

// writeCopies appends the new set. Where known is not set nobody hears what
// became of it.
func (w *dataWorld) writeCopies(n int, known bool, kept int) {
	b := &w.nodes[n]
	c := &b.copies
	if !w.keepsCopies(n) || c.stage != copyLooked {
		return
	}
	c.stage = copyIdle
	leads := int(w.leader) == n && b.term == w.term
	r := record{kind: rCopies, node: int8(n), term: w.term, open: b.open, set: c.next}
	if known && leads {
		w.settle()
		w.commitCopies(r)
		c.set, c.settled, c.maybe = c.next, true, c.next
		return
	}
	if leads {
		w.pending = append(w.pending, r)
		w.kept = kept % (len(w.pending) + 1)
		if w.o.say != nil {
			w.o.tell("n%d writes that copies are on %s, and does not hear what became of it", n, w.names(r.set))
		}
	}
	if w.off.on(CopiesUnknown) {
		c.settled = false
	}
}

// copied reports whether content c of database i is where it has to be.
func (w *dataWorld) hasCopies(n int, i int, k int32) bool {
	c, have, all := &w.nodes[n].copies, 0, idSet(0)
	for _, at := range c.at {
		if at.has && (at.db[i] == k || w.contents[at.db[i]].txid > w.contents[k].txid) {
			have++
			all |= 1 << at.id
		}
	}
	if !w.off.on(CopiesNamed) {
		return have >= w.wanted()
	}
	return c.settled && c.set&^all == 0 && (c.stage == copyIdle || !w.off.on(CopiesFrozen))
}

// acknowledge answers whom of n's may be answered.
func (w *dataWorld) acknowledge(n int) {
	nd := &w.nodes[n]
	c := &nd.copies
	for i, k := range c.waits {
		if k == 0 {
			continue
		}
		if !nd.up || !nd.gate {
			c.waits[i] = 0 // in doubt
			continue
		}
		if w.hasCopies(n, i, k) {
			c.waits[i], c.acked[i] = 0, k
			if w.o.say != nil {
				w.o.tell("n%d acknowledges %s#%d", n, dbNames[i], k)
			}
			w.o.answered(w, n, k)
			w.o.acked(i, k)
		}
	}
}

// handOff closes n's Open in favour of y, which has everything.
func (w *dataWorld) handOff(n, y int) {
	b, h := &w.nodes[n], &w.nodes[y]
	if !w.keepsCopies(n) || int(w.leader) != n || b.term != w.term || b.op.on || n == y ||
		!h.up || !h.stream || int(h.from) != n || h.marker != b.open || h.db != b.db {
		return
	}
	w.append(record{kind: rClose, node: int8(n), term: w.term, open: b.open, pos: b.db})
	w.endRole(b)
	if w.o.say != nil {
		w.o.tell("n%d closes its Open: n%d has everything", n, y)
	}
	w.o.handedTo(w, y)
}

// replace puts an empty machine in n's place: its data, its votes and its raft ID
// are gone.
func (w *dataWorld) replace(n int) {
	nd := &w.nodes[n]
	if w.ids == 60 {
		return
	}
	w.crash(n)
	w.stopLite(n)
	witness, id := nd.witness, w.ids
	*nd = dataNode{id: id, witness: witness, leader: -1, up: true}
	w.ids++
	w.tampered = true
	w.startLite(n)
	for y := range w.n {
		w.nodes[y].peers[n] = report{}
		w.nodes[y].reports[n] = report{}
	}
	if w.o.say != nil {
		w.o.tell("n%d is replaced by an empty machine, ID %d", n, id)
	}
}
