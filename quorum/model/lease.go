package model

import (
	"math"
	"sort"
)

const forever = math.MaxInt64 / 4

// lease is what a node keeps of the lease of the newest term that it led, and
// what it can tell a later leader.
type lease struct {
	term     int32
	dead     bool
	acks     [maxIDs]int64
	ages     [maxIDs]int64
	acked    conf
	majority int64 // on the wait's clock, when the first majority had answered
	has      bool
	credit   int64
	opened   bool // the gate was open in term

	// When this node last took in a message of a leader, or led: of the newest
	// such term, and of all terms before it.
	takenTerm  int32
	taken, old int64
	oldKnown   bool
}

// Acked is the newest time that a majority has reached, by its definition: the
// newest t such that more than half of all n voters acknowledged a message sent
// at t or later. A voter counts itself as now.
func Acked(acks []int64, n int, self bool) (int64, bool) {
	if self {
		acks = append(append([]int64(nil), acks...), forever)
	}
	best, ok := int64(0), false
	for _, t := range acks {
		reached := 0
		for _, a := range acks {
			if a >= t {
				reached++
			}
		}
		if 2*reached > n && (!ok || t > best) {
			best, ok = t, true
		}
	}
	return best, ok
}

// WaitFor is how long a lease of d is waited out: drift in percent, either way
// and for both clocks.
func WaitFor(d int64, percent, margin int64) int64 { return d + 2*d*percent/100 + margin }

func (l *lease) take(term int32, now int64) {
	switch {
	case term > l.takenTerm:
		if l.takenTerm != 0 {
			l.old, l.oldKnown = max(l.old, l.taken), true
		}
		l.takenTerm, l.taken = term, now
	case term == l.takenTerm:
		l.taken = now
	default:
		l.old, l.oldKnown = now, true
	}
}

// age is how long ago this node last heard of a leader of a term before term,
// or led one itself.
func (w *leaseWorld) age(n int, term int32) int64 {
	nd := &w.nodes[n]
	l := &nd.lease
	last, known := l.old, l.oldKnown
	if l.takenTerm != 0 && l.takenTerm < term {
		last, known = max(last, l.taken), true
	}
	if !known {
		if w.off.on(CreditUnknownZero) {
			return 0
		}
		return forever
	}
	return w.mono(n) - last
}

func (w *leaseWorld) ackList(nd *node) (acks []int64, n int, self bool) {
	c := nd.conf()
	list := w.scratch[:0]
	for id := int8(0); id < w.ids; id++ {
		if c.has(id) && id != nd.id && nd.lease.acked.has(id) {
			list = append(list, nd.lease.acks[id])
		}
	}
	self = c.has(nd.id)
	n = c.n()
	if !w.off.on(MajorityOfAll) {
		n = len(list)
		if self {
			n++
		}
	}
	return list, n, self
}

func (w *leaseWorld) until(n int) (int64, bool) {
	nd := &w.nodes[n]
	if nd.lease.term == 0 || nd.lease.dead {
		return 0, false
	}
	acks, voters, self := w.ackList(nd)
	at, ok := kth(acks, voters, self)
	if at == forever {
		if !w.off.on(AloneBounded) {
			return at, ok
		}
		at = w.stamp(n) // a cluster of one is its own majority now, not for ever
	}
	return at + nd.d, ok
}

// extend moves the deadline of an open gate forward, never back.
func (w *leaseWorld) extend(n int) {
	nd := &w.nodes[n]
	if nd.stage == opened && nd.gate.door && !nd.gate.revoked {
		if until, ok := w.until(n); ok && until > nd.gate.until {
			nd.gate.until = until
		}
	}
}

// kth is Acked, quicker.
func kth(acks []int64, n int, self bool) (int64, bool) {
	k := n/2 + 1
	if self {
		k--
	}
	if n == 0 || len(acks) < k {
		return 0, false
	}
	if k == 0 {
		return forever, true
	}
	sort.Slice(acks, func(i, j int) bool { return acks[i] > acks[j] })
	return acks[k-1], true
}

// lead starts the lease of a term.
func (w *leaseWorld) lead(n int, term int32) {
	l := &w.nodes[n].lease
	w.kill(n)
	l.term, l.dead, l.acked, l.has, l.credit, l.opened = term, false, 0, false, 0, false
	w.noteMajority(n)
}

// kill ends the lease for good, and with it the grant.
func (w *leaseWorld) kill(n int) {
	nd := &w.nodes[n]
	if nd.lease.opened && !nd.lease.dead {
		nd.lease.take(nd.lease.term, w.mono(n)) // as a voter it has vouched for itself until now
	}
	nd.lease.dead = true
	nd.gate.revoked = true
}

// saw is the transport's look at a term before raft sees the message.
func (w *leaseWorld) saw(n int, term int32) {
	nd := &w.nodes[n]
	if term > nd.lease.term && nd.lease.term != 0 && !nd.lease.dead && w.off.on(DeadAtVote) {
		w.kill(n)
	}
}

func (w *leaseWorld) ack(n int, id int8, sent, age int64) {
	nd := &w.nodes[n]
	l := &nd.lease
	if l.dead || l.acked.has(id) && sent <= l.acks[id] {
		return
	}
	if !l.acked.has(id) {
		l.ages[id] = age
	}
	l.acked |= 1 << id
	l.acks[id] = sent
	w.noteMajority(n)
	w.extend(n)
}

// noteMajority stamps the first majority and settles the credit by the ages in
// the very answers that form it.
func (w *leaseWorld) noteMajority(n int) {
	nd := &w.nodes[n]
	l := &nd.lease
	if l.has {
		return
	}
	if _, ok := w.until(n); !ok {
		return
	}
	l.has, l.majority = true, w.waitClock(n)
	c, credit, first := nd.conf(), int64(0), true
	note := func(age int64) {
		if first || (age < credit) == w.off.on(CreditSmallest) {
			credit, first = age, false
		}
	}
	for id := int8(0); id < w.ids; id++ {
		if c.has(id) && id != nd.id && l.acked.has(id) {
			note(l.ages[id])
		}
	}
	if c.has(nd.id) && (w.off.on(CreditOwnAge) || first) {
		note(w.age(n, l.term))
	}
	l.credit = credit
}

// creditFor is the credit, unless the voters have changed since the newest Open.
func (w *leaseWorld) creditFor(nd *node) int64 {
	if !w.off.on(NoCredit) {
		return 0
	}
	if w.off.on(CreditVoters) {
		for i := len(nd.log) - 1; i > 0 && nd.log[i].kind != kOpen; i-- {
			if nd.log[i].kind == kConf {
				return 0
			}
		}
	}
	return nd.lease.credit
}

// waitOf is the wait for the record that is the newest.
func (w *leaseWorld) waitOf(nd *node, newest entry, skipOwn bool) int64 {
	switch {
	case !w.off.on(Wait), newest.kind != kOpen, skipOwn && newest.id == nd.id:
		return 0
	case !w.off.on(Drift):
		return newest.d + margin
	case !w.off.on(DriftTwice):
		return newest.d + newest.d*driftPct/100 + margin
	}
	return WaitFor(newest.d, driftPct, margin)
}

// waitEnd is the time on the wait's clock at which the wait of node n is over.
func (w *leaseWorld) waitEnd(n int) (int64, bool) {
	nd := &w.nodes[n]
	newest, skipOwn := nd.preNewest, true
	if !w.off.on(WaitBeforeOpen) && !w.off.on(WaitsPreviousD) {
		newest, _ = nd.newest(len(nd.log))
		skipOwn = false
	}
	wait := w.waitOf(nd, newest, skipOwn)
	if wait == 0 {
		return w.waitClock(n), nd.lease.has
	}
	start, ok := nd.lease.majority, nd.lease.has
	if !w.off.on(WaitFromMajority) {
		start = w.began[n]
	}
	return start + wait - min(wait, w.creditFor(nd)), ok
}
