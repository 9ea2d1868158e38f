package model

// serve carries node n's grant one step on: offered, waited out, Open appended,
// gate opened.
func (w *leaseWorld) serve(n int) {
	nd := &w.nodes[n]
	if nd.role != leader || nd.lease.dead || nd.lease.term != nd.term {
		return
	}
	if nd.grantTerm != nd.term && w.off.on(GrantOfTerm) {
		nd.gate.door, nd.stage = false, noGrant
	}
	switch nd.stage {
	case noGrant:
		w.offer(n)
	case waiting:
		w.appendOpen(n)
	case appended:
		w.openGate(n)
	case opened:
		w.reopen(n)
	}
}

func (w *leaseWorld) offer(n int) {
	nd := &w.nodes[n]
	upTo := nd.commit
	if w.off.on(Barrier) && nd.commit < nd.barrier {
		return
	}
	if until, ok := w.until(n); !ok || w.stamp(n) >= until {
		return // the key goes to nobody without a lease
	}
	nd.preNewest, _ = nd.newest(upTo)
	nd.stage, nd.grantTerm, nd.openAt = waiting, nd.term, 0
	if w.o.say != nil {
		w.o.tell("n%d: LiteFS has the key in term %d", n, nd.term)
	}
}

func (w *leaseWorld) waited(n int) bool {
	end, ok := w.waitEnd(n)
	return ok && w.waitClock(n) >= end
}

func (w *leaseWorld) waitClock(n int) int64 {
	if w.off.on(WaitMono) {
		return w.mono(n)
	}
	return w.boot(n)
}

func (w *leaseWorld) appendOpen(n int) {
	nd := &w.nodes[n]
	if w.off.on(WaitBeforeOpen) && !w.waited(n) {
		return
	}
	nd.append(entry{kind: kOpen, id: nd.id, term: nd.term, d: nd.d})
	nd.openAt, nd.stage = len(nd.log), appended
	if w.o.say != nil {
		w.o.tell("n%d appends its Open at %d (D %d)", n, nd.openAt, nd.d)
	}
	w.advanceCommit(n)
}

func (w *leaseWorld) openGate(n int) {
	nd := &w.nodes[n]
	if w.off.on(OpenCommitted) && nd.commit < nd.openAt || !w.off.on(WaitBeforeOpen) && !w.waited(n) {
		return
	}
	until, ok := w.until(n)
	if !ok || w.stamp(n) >= until {
		nd.stage = noGrant // this grant is over; another needs another Open
		return
	}
	if nd.op.on && nd.op.epoch != int32(nd.openAt) && w.off.on(SameLease) {
		return // a write of an earlier epoch is still in flight
	}
	nd.gate = gate{door: true, epoch: int32(nd.openAt), until: until}
	nd.stage, nd.lease.opened = opened, true
	if w.o.say != nil {
		w.o.tell("n%d opens the gate under %d", n, nd.openAt)
	}
}

// reopen is what a node must not do once it has appended a Close.
func (w *leaseWorld) reopen(n int) {
	nd := &w.nodes[n]
	if nd.gate.door || nd.gate.revoked || w.off.on(NoReopen) {
		return
	}
	if until, ok := w.until(n); ok && w.stamp(n) < until {
		nd.gate.door, nd.gate.until = true, until
		if w.o.say != nil {
			w.o.tell("n%d opens the gate again after its Close", n)
		}
	}
}

// end takes the role away: gate, drain, Close.
func (w *leaseWorld) end(n int, orderly bool) {
	nd := &w.nodes[n]
	if nd.stage == noGrant && w.off.on(CloseByOpener) {
		return
	}
	was := nd.stage
	nd.gate.door = false
	if was == opened && nd.op.on && w.off.on(CloseAfterDrain) {
		if !orderly {
			nd.stage = noGrant
		}
		return // not drained: no Close yet
	}
	nd.stage = noGrant
	until, ok := w.until(n)
	if !orderly || nd.role != leader || nd.term != nd.lease.term || !ok || w.stamp(n) >= until {
		return
	}
	newest, at := nd.newest(len(nd.log))
	own := was == opened && at == nd.openAt && newest.kind == kOpen
	if own || newest.kind == kOpen && !w.off.on(CloseByOpener) {
		nd.append(entry{kind: kClose, id: newest.id, term: nd.term, open: int32(at)})
		if w.o.say != nil {
			w.o.tell("n%d appends Close of %d", n, at)
		}
		w.advanceCommit(n)
		if own && !w.off.on(NoReopen) {
			nd.stage = opened
		}
	}
}

// notice is the node's own machinery seeing that its grant is over, as late as
// the schedule likes.
func (w *leaseWorld) notice(n int) {
	nd := &w.nodes[n]
	if nd.stage == noGrant {
		return
	}
	until, ok := w.until(n)
	if nd.role == leader && nd.term == nd.grantTerm && ok && w.stamp(n) < until {
		return
	}
	nd.gate.door, nd.stage = false, noGrant
	if w.o.say != nil {
		w.o.tell("n%d notices that its grant is over", n)
	}
}

// write carries node n's commit point one step on: first look, lower write,
// second look and answer.
func (w *leaseWorld) write(n int) {
	nd := &w.nodes[n]
	op := &nd.op
	switch {
	case !op.on:
		if w.admits(n) {
			*op = opAt(nd.gate.epoch, w.now)
		}
	case !op.lower:
		op.lower, op.sentAfter, op.confirmed = true, w.numbers, 0
		w.o.lowered(n, op.begun)
	default:
		ok := !w.off.on(SecondLook) || w.valid(n, op.epoch)
		if w.freeze && w.off.on(Confirm) {
			c := nd.conf()
			have := op.confirmed
			if c.has(nd.id) {
				have |= 1 << nd.id
			}
			if ok && 2*(have&c).n() <= c.n() {
				return // waits
			}
		}
		if ok {
			if w.o.say != nil {
				w.o.tell("n%d acknowledges the commit begun at %d, now %d", n, op.begun, w.now)
			}
			if w.freeze {
				w.o.confirmed(n)
			} else {
				w.o.acknowledged(n, op.begun)
			}
		}
		op.on, op.lower = false, false
	}
}

func opAt(epoch int32, now int64) op { return op{on: true, epoch: epoch, begun: now} }
