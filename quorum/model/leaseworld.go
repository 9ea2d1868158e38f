package model

// leaseWorld is raft, the clocks and the gates of one cluster.
type leaseWorld struct {
	off    Rules
	o      *oracle
	freeze bool // clocks may stop; commits are confirmed by a quorum

	groups  uint8
	now     int64
	nodes   [maxNodes]node
	n       int
	owner   [maxIDs]int8
	ids     int8
	cut     [maxNodes]uint8 // bit j of cut[i]: nothing gets from i to j
	msgs    []msg
	numbers int32
	began   [maxNodes]int64 // CLOCK_MONOTONIC of the newest candidacy
	late    [maxNodes]lateStamp
	scratch [maxIDs]int64
}

// lateStamp is a message that was answered before it was stamped.
type lateStamp struct {
	on   bool
	term int32
}

func newLeaseWorld(off Rules, st Step, o *oracle, freeze bool) *leaseWorld {
	w := &leaseWorld{off: off, o: o, freeze: freeze, groups: st[0], now: 1_000_000, msgs: make([]msg, 0, maxMsgs)}
	voters := []int{3, 3, 3, 2, 4, 5, 1, 3}[st[1]%8]
	w.n = min(voters+1+int(st[2]>>7), maxNodes)
	var c conf
	for i := range voters {
		c |= 1 << i
	}
	rates := []int64{unit - driftPct, unit, unit + driftPct}
	pick := int(st[2])
	for i := range w.n {
		nd := &w.nodes[i]
		nd.id, nd.voted, nd.up = w.ids, -1, true
		w.owner[w.ids] = int8(i)
		w.ids++
		nd.rate = rates[pick%3]
		pick /= 3
		nd.offset = int64(i) * 12345
		nd.d = longLease
		if st[3]>>(i%8)&1 != 0 {
			nd.d = shortLease
		}
		if i < voters {
			nd.log = []entry{{kind: kConf, term: 1, conf: c}}
			nd.term, nd.admitted = 1, true
		}
		if o.say != nil {
			o.tell("n%d: raft ID %d, clock rate %d/100, D %d", i, nd.id, nd.rate, nd.d)
		}
	}
	return w
}

// boot is CLOCK_BOOTTIME: it counts suspend.
func (w *leaseWorld) boot(n int) int64 {
	nd := &w.nodes[n]
	t := w.now
	if nd.freeze {
		t = nd.since
	}
	return nd.offset + (t-nd.frozen)*nd.rate/unit
}

// mono is CLOCK_MONOTONIC: it does not.
func (w *leaseWorld) mono(n int) int64 {
	nd := &w.nodes[n]
	t := w.now
	if nd.freeze || nd.suspend {
		t = nd.since
	}
	return nd.offset + (t-nd.frozen-nd.slept)*nd.rate/unit
}

// stamp is the clock of the lease.
func (w *leaseWorld) stamp(n int) int64 {
	if w.off.on(BootClock) {
		return w.boot(n)
	}
	return w.mono(n)
}

// admits is the gate's look: the word, and the clock.
func (w *leaseWorld) admits(n int) bool {
	g := &w.nodes[n].gate
	return w.nodes[n].up && g.door && w.valid(n, g.epoch)
}

// valid is the second look: the same grant, not revoked, not over.
func (w *leaseWorld) valid(n int, epoch int32) bool {
	g := &w.nodes[n].gate
	if g.revoked || g.epoch != epoch && w.off.on(SameLease) {
		return false
	}
	return w.stamp(n) < g.until || !w.off.on(ClockAtWrite)
}

// look shows the oracle who admits writes.
func (w *leaseWorld) look() {
	if w.freeze {
		// A frozen machine cannot know; its gate is the business of confirm.
		for n := range w.n {
			if w.nodes[n].frozen == 0 && !w.nodes[n].freeze && w.admits(n) {
				w.o.gates(w.now, 1<<n)
			}
		}
		return
	}
	var set uint8
	for n := range w.n {
		if w.admits(n) {
			set |= 1 << n
		}
	}
	w.o.gates(w.now, set)
}

func (w *leaseWorld) runs(n int) bool {
	nd := &w.nodes[n]
	return nd.up && !nd.paused && !nd.suspend && !nd.freeze
}

// restart forgets what is not on disk. The term and the vote stay, ages and
// leases go.
func (w *leaseWorld) restart(n int, d int64) {
	old := w.nodes[n]
	w.nodes[n] = node{
		id: old.id, term: old.term, voted: old.voted, log: old.log,
		rate: old.rate, offset: old.offset, frozen: old.frozen, slept: old.slept,
		up: true, run: old.run + 1, d: d, admitted: len(old.log) > 0,
	}
	w.late[n] = lateStamp{}
}

// wipe takes the disk from a node. What comes back has another raft ID.
func (w *leaseWorld) wipe(n int) {
	nd := &w.nodes[n]
	if w.off.on(NewID) {
		if w.ids == maxIDs {
			return
		}
		nd.id = w.ids
		w.owner[w.ids] = int8(n)
		w.ids++
	}
	nd.term, nd.voted, nd.log = 0, -1, nil
	w.restart(n, nd.d)
	if w.o.say != nil {
		w.o.tell("n%d is wiped; its raft ID is %d", n, nd.id)
	}
}

// show lets node n hear of the configuration of node by.
func (w *leaseWorld) show(n, by int) {
	if w.nodes[by].conf().has(w.nodes[n].id) && !w.nodes[n].admitted {
		w.nodes[n].admitted = true
		if w.o.say != nil {
			w.o.tell("n%d is shown a configuration with its ID by n%d", n, by)
		}
	}
}

// member changes the voters by one committed step, as raft does: the latest
// configuration is committed, and so is an entry of the leader's own term.
func (w *leaseWorld) member(n, other int, victim int8) {
	nd := &w.nodes[n]
	if nd.role != leader || nd.commit < nd.barrier {
		return
	}
	for i := len(nd.log); i > nd.commit; i-- {
		if nd.log[i-1].kind == kConf {
			return
		}
	}
	c := nd.conf()
	was := c
	id := w.nodes[other].id
	// A machine that was wiped: its old ID goes first, then its new one comes.
	stale := int8(-1)
	for old := int8(0); old < w.ids; old++ {
		if w.owner[old] == int8(other) && old != id && c.has(old) {
			stale = old
		}
	}
	switch {
	case !c.has(id) && !w.off.on(OneStep):
		if stale < 0 {
			stale = victim % w.ids
		}
		if stale != nd.id && c.has(stale) {
			c = c&^(1<<stale) | 1<<id
		}
	case stale >= 0:
		c &^= 1 << stale
	case c.has(id) && c.n() > 1:
		c &^= 1 << id
	case !c.has(id) && c.n() < 5:
		c |= 1 << id
	}
	if c == was || c == 0 {
		return
	}
	nd.append(entry{kind: kConf, term: nd.term, conf: c})
	if w.o.say != nil {
		w.o.tell("n%d appends voters %b", n, c)
	}
	w.advanceCommit(n)
}
