package model

import "github.com/litefence/litefence/policy"

// open carries the leader's grant one step on: Open committed, marker, gate.
func (w *dataWorld) open() {
	if w.leader < 0 {
		return
	}
	n := int(w.leader)
	b := &w.nodes[n]
	if !b.up || b.term != w.term || b.grant == 0 || b.ending {
		return
	}
	switch {
	case b.open == 0 && !b.primary:
		if b.lite && b.looped {
			b.primary = true
			if w.o.say != nil {
				w.o.tell("n%d's LiteFS has the key, at %s", n, w.at(b.db))
			}
		}
	case b.open == 0:
		w.commitOpen(n)
	case !b.marked && (w.off.on(MarkerBeforeGate) || b.gate):
		if b.lite {
			b.marker, b.outside, b.marked = b.open, b.open, true
		}
	case !b.gate && b.primary && !w.used(len(w.log)) && b.db == [dbs]int32{}:
		// An Open without data is said to be used before its gate opens.
		w.append(record{kind: rHeld, node: int8(n), term: w.term, open: b.open, pos: b.db})
	case !b.gate && b.primary:
		// Gate.Open fails while a write of an earlier grant is in flight.
		if b.op.on && b.op.grant != b.grant && w.off.on(OperationOfGrant) {
			return
		}
		b.gate = true
		if w.o.say != nil {
			w.o.tell("n%d opens the gate", n)
		}
	}
}

func (w *dataWorld) commitOpen(n int) {
	b := &w.nodes[n]
	if !b.lite || !b.primary {
		return
	}
	if w.off.on(RecheckAtOpen) && (b.files.db != b.reports[n].db || b.files.marker != b.reports[n].marker) {
		w.endRole(b)
		return
	}
	w.opens++
	if w.o.say != nil {
		w.o.tell("n%d commits Open %d at %s", n, w.opens, w.at(b.db))
	}
	w.opens--
	w.o.openedBy(w, n, b.db)
	w.opens++
	b.open = w.opens
	w.append(record{node: int8(n), id: b.id, term: w.term, open: w.opens, pos: b.db})
	b.copies = copies{}
	b.applied = len(w.log)
	for y := range w.n {
		if y != n {
			w.nodes[y].gate = false // what the lease has shown
		}
	}
}

// record commits what a majority holds.
func (w *dataWorld) record() {
	if w.leader < 0 {
		return
	}
	n := int(w.leader)
	b := &w.nodes[n]
	if !b.up || b.term != w.term || !b.gate || !b.primary {
		return
	}
	_, held, _ := w.newest(len(w.log))
	var others []policy.Positions
	for y := range w.n {
		if y != n && b.peers[y].has && b.peers[y].marker == b.open {
			others = append(others, w.positions(b.peers[y].db))
		}
	}
	k := w.n/2 + 1
	if w.copied && w.off.on(CopiesHeld) {
		if others, k = w.copiesHold(b); k == 0 {
			return
		}
	}
	p := policy.MajorityHolds(w.positions(b.db), others, k)
	was := w.positions(held)
	if pos := w.fromPositions(p); len(p) != 0 && !p.Equal(was) && !p.Behind(was) && w.inHistory(&b.files, pos) {
		w.append(record{kind: rHeld, node: int8(n), term: w.term, open: b.open, pos: pos})
		if w.o.say != nil {
			w.o.tell("n%d records that a majority holds %s", n, w.at(pos))
		}
		w.o.heldBy(w, pos)
	}
}

// poll: the leader reads y's marker and positions, marker first.
func (w *dataWorld) poll(n, y int) {
	nd := &w.nodes[y]
	if n != y && nd.up && nd.lite && w.nodes[n].up {
		w.nodes[n].peers[y] = report{true, w.marked(y, nd.files)}
	}
}

// write carries n's transaction one step on: admitted, at LiteFS, answered.
func (w *dataWorld) write(n int, db int8) {
	nd := &w.nodes[n]
	op := &nd.op
	defer func() {
		if nd.ending && !op.on {
			w.endRole(nd)
		}
	}()
	switch {
	case !op.on:
		if nd.up && nd.lite && nd.gate && nd.primary && nd.copies.waits[db] == 0 {
			*op = dataOp{on: true, grant: nd.grant, db: db, base: nd.db[db]}
		}
	case !op.landed:
		if !nd.lite || !nd.primary || nd.grant != op.grant && w.off.on(OperationOfGrant) {
			op.on = false // LiteFS refuses it
			return
		}
		op.made, op.landed = w.child(op.base), true
		nd.db[op.db] = op.made
		if nd.oldest[op.db] == 0 || w.contents[op.made].txid == 1 {
			nd.oldest[op.db] = op.made
		}
		if w.o.say != nil {
			w.o.tell("n%d writes: %s", n, w.at(nd.db))
		}
		w.o.wrote(w, n, op.db, op.base, op.made)
		if w.copied {
			if nd.grant == op.grant {
				nd.copies.waits[op.db] = op.made
			}
			op.on = false
		}
	default:
		if nd.up && nd.gate && nd.grant == op.grant {
			w.o.answered(w, n, op.made)
		}
		op.on = false
	}
}

// setAside takes away what the opener lacks and LiteFS would keep.
func (w *dataWorld) setAside(n int) {
	nd := &w.nodes[n]
	if !nd.up || nd.leader < 0 || nd.leader == int8(n) || nd.primary || nd.witness {
		return
	}
	open, _, ok := w.newest(nd.applied)
	p := &w.nodes[nd.leader]
	if !p.up || !p.lite {
		return
	}
	theirs := p.files
	if w.off.on(SetAsideUnderOpen) {
		if !ok || open.term != nd.term || open.node != nd.leader || p.open != open.open || !p.primary {
			return
		}
	}
	if !w.off.on(SetAsideFreshReport) {
		if !nd.peers[nd.leader].has {
			return
		}
		theirs = nd.peers[nd.leader].files
	}
	for i := range nd.db {
		if nd.db[i] != 0 && theirs.db[i] == 0 {
			if w.o.say != nil {
				w.o.tell("n%d sets database %s aside, on the word of n%d", n, dbNames[i], nd.leader)
			}
			nd.db[i], nd.oldest[i] = 0, 0
		}
	}
	w.stopLite(n)
	w.startLite(n)
	w.o.stillHeld(w)
}

func (w *dataWorld) stopLite(n int) {
	nd := &w.nodes[n]
	held := nd.primary // the endpoint sees that who held the key asks again
	nd.lite, nd.primary, nd.late, nd.op.on = false, false, false, nd.op.on && !w.off.on(OperationOfGrant)
	w.cutStream(nd)
	if held && w.off.on(OpenPerGrant) {
		w.endRole(nd)
	}
}

func (w *dataWorld) startLite(n int) {
	nd := &w.nodes[n]
	nd.lite, nd.looped = !nd.witness, false
}

// crash kills litefence; LiteFS goes on, as primary only until it asks.
func (w *dataWorld) crash(n int) {
	nd := &w.nodes[n]
	nd.up, nd.gate, nd.leader, nd.op.on = false, false, -1, false
	nd.peers = [maxNodes]report{}
	w.cutStream(nd)
	nd.answered = 0
	w.endRole(nd)
	nd.looped = false
	if w.o.say != nil {
		w.o.tell("n%d: litefence is killed", n)
	}
}

// tamper wipes the data, or puts a backup in its place, with LiteFS stopped.
func (w *dataWorld) tamper(n int, f files, what string) {
	nd := &w.nodes[n]
	if nd.witness {
		return
	}
	w.stopLite(n)
	nd.files, nd.touched, w.tampered = f, true, true
	w.said[n], w.older[n] = copyAt{}, copyAt{} // the connection ends with LiteFS
	w.startLite(n)
	if w.o.say != nil {
		w.o.tell("n%d: data %s: %s, marker %d", n, what, w.at(nd.db), nd.marker)
	}
}
