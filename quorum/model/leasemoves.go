package model

type leaseMove struct {
	name   string
	weight int
	group  uint8 // faults that a schedule may be without
	do     func(w *leaseWorld, st Step)
}

// ticks are the steps of true time, in units.
var ticks = [...]int64{1, 10, 50, 100, 200, 500, 1000, 1400, 1600, 2000, 2900, 3100, 3400, 6000, 300, 20}

func (w *leaseWorld) pick(b uint8) int { return int(b) % w.n }

// leader picks by b among the nodes that lead or led.
func (w *leaseWorld) leader(b uint8) int {
	for i := range w.n {
		n := (int(b) + i) % w.n
		if w.nodes[n].role == leader || w.nodes[n].stage != noGrant {
			return n
		}
	}
	return w.pick(b)
}

func (w *leaseWorld) connected(i, j int8) bool { return w.cut[i]&(1<<j) == 0 }

// take delivers message i. It is lost where the link is cut or the process is
// down, and waits where that is paused.
func (w *leaseWorld) take(i int, keep bool) {
	m := w.msgs[i]
	to := &w.nodes[m.to]
	if to.up && !w.runs(int(m.to)) {
		return
	}
	if !keep {
		w.msgs = append(w.msgs[:i], w.msgs[i+1:]...)
	}
	if !to.up || !w.connected(m.from, m.to) {
		return
	}
	w.deliver(m)
	w.look()
}

// exchange delivers at once what was posted since mark, and the answers.
func (w *leaseWorld) exchange(mark int, which uint8) {
	for i := mark; i < len(w.msgs) && w.o.broken == nil; {
		m := w.msgs[i]
		peer := m.to
		if m.kind >= mAppendAnswer {
			peer = m.from
		}
		if which>>peer&1 != 0 || w.nodes[m.to].up && !w.runs(int(m.to)) {
			i++ // on its way for now
			continue
		}
		w.take(i, false)
		if mark = min(mark, len(w.msgs)); i > len(w.msgs) {
			i = mark
		}
	}
}

func (w *leaseWorld) round(n int, which uint8, beat bool) {
	nd := &w.nodes[n]
	if !w.runs(n) || nd.role != leader && nd.linger == 0 {
		return
	}
	c := nd.conf()
	mark := len(w.msgs)
	for id := int8(0); id < w.ids; id++ {
		if c.has(id) && id != nd.id {
			if len(w.msgs) == maxMsgs {
				mark = max(0, mark-1)
			}
			w.sendAppend(n, id, beat || nd.role != leader)
		}
	}
	if nd.role == leader {
		w.extend(n)
	}
	w.exchange(mark, which)
}

// rarely makes which mostly zero: everybody answers at once.
func rarely(b uint8) uint8 {
	if b&3 != 0 {
		return 0
	}
	return b >> 2
}

var leaseMoves = []leaseMove{
	{"tick", 22, 0, func(w *leaseWorld, st Step) { w.now += ticks[st[1]%16] }},
	{"to the end of a wait or a lease", 18, 0, func(w *leaseWorld, st Step) { w.jump(w.leader(st[1]), st[2]) }},
	{"deliver", 20, gLate, func(w *leaseWorld, st Step) {
		if len(w.msgs) > 0 {
			w.take(int(st[1])%len(w.msgs), st[2]&7 == 0)
		}
	}},
	{"lose", 3, gNet, func(w *leaseWorld, st Step) {
		if i := int(st[1]); len(w.msgs) > 0 {
			i %= len(w.msgs)
			w.msgs = append(w.msgs[:i], w.msgs[i+1:]...)
		}
	}},
	{"round", 40, 0, func(w *leaseWorld, st Step) { w.round(w.leader(st[1]), rarely(st[2]), st[3]&3 == 0) }},
	{"campaign", 16, 0, func(w *leaseWorld, st Step) {
		if n := w.pick(st[1]); w.runs(n) {
			mark := len(w.msgs)
			w.campaign(n)
			w.look()
			w.exchange(min(mark, len(w.msgs)), rarely(st[2]))
		}
	}},
	{"reign", 24, 0, func(w *leaseWorld, st Step) {
		n := w.pick(st[1])
		late := rarely(st[2])
		if w.runs(n) && w.nodes[n].role != leader {
			mark := len(w.msgs)
			w.campaign(n)
			w.exchange(min(mark, len(w.msgs)), late)
		}
		for range 5 {
			if w.o.broken == nil && w.runs(n) {
				w.round(n, late, false)
			}
			if w.o.broken == nil && w.runs(n) && w.nodes[n].role == leader && w.nodes[n].stage != opened {
				if st[3]&1 != 0 {
					w.jump(n, 0)
				}
				w.look()
				w.serve(n)
				w.look()
			}
		}
	}},
	{"serve", 30, 0, func(w *leaseWorld, st Step) {
		n := w.leader(st[1])
		for range 1 + st[2]&3 {
			if w.runs(n) && w.o.broken == nil {
				w.serve(n)
				w.look()
			}
			if st[3]&1 != 0 && w.o.broken == nil {
				w.round(n, rarely(st[3]), false)
			}
		}
	}},
	{"transfer", 3, gRare, func(w *leaseWorld, st Step) {
		n, to := w.leader(st[1]), w.pick(st[2])
		if w.runs(n) && w.nodes[n].role == leader && n != to {
			w.end(n, true)
			w.post(msg{kind: mTimeoutNow, from: int8(n), to: int8(to)})
			if w.o.say != nil {
				w.o.tell("n%d tells n%d to stand (timeout-now)", n, to)
			}
		}
	}},
	{"end a grant", 8, gEnd, func(w *leaseWorld, st Step) {
		if n := w.leader(st[1]); w.runs(n) {
			w.end(n, st[2]&3 != 0)
		}
	}},
	{"notice", 6, gEnd, func(w *leaseWorld, st Step) {
		if n := w.pick(st[1]); w.runs(n) {
			w.notice(n)
		}
	}},
	{"write", 16, gWrite, func(w *leaseWorld, st Step) {
		// What the kernel has begun below goes on while the process is stopped.
		if n := w.leader(st[1]); w.runs(n) || w.nodes[n].up && w.nodes[n].op.on && !w.nodes[n].op.lower {
			for range 1 + st[2]&3 {
				if w.o.broken == nil && (w.runs(n) || !w.nodes[n].op.lower) {
					w.write(n)
				}
			}
		}
	}},
	{"cut", 14, gNet, func(w *leaseWorld, st Step) { w.cutMove(w.pick(st[1]), w.pick(st[2]), st[3]) }},
	{"heal", 5, gNet, func(w *leaseWorld, st Step) { w.heal(w.pick(st[1]), st[2]) }},
	{"pause", 5, gPause, func(w *leaseWorld, st Step) { w.pause(w.leader(st[1]), st[2], st[3]) }},
	{"resume", 8, gPause, func(w *leaseWorld, st Step) { w.resume(w.pick(st[1])) }},
	{"restart", 6, gCrash, func(w *leaseWorld, st Step) { w.crash(w.pick(st[1]), st[2]) }},
	{"wipe", 3, gMember, func(w *leaseWorld, st Step) { w.wipe(w.pick(st[1])) }},
	{"show", 4, gMember, func(w *leaseWorld, st Step) { w.show(w.pick(st[1]), w.pick(st[2])) }},
	{"membership", 5, gMember, func(w *leaseWorld, st Step) {
		if n := w.leader(st[1]); w.runs(n) {
			other := w.pick(st[2])
			w.member(n, other, int8(st[3]>>3))
			if st[3]&4 == 0 {
				w.show(other, n)
			}
			if w.o.broken == nil && st[3]&2 == 0 {
				w.round(n, rarely(st[3]), false)
			}
		}
	}},
	{"stamp late", 6, gRare, func(w *leaseWorld, st Step) {
		n := w.pick(st[1])
		if l := &w.late[n]; l.on && w.runs(n) {
			w.nodes[n].lease.take(l.term, w.mono(n))
			l.on = false
		}
	}},
	{"goroutines end", 2, gRare, func(w *leaseWorld, st Step) { w.nodes[w.pick(st[1])].linger = 0 }},
	{"raft gives up", 2, gRare, func(w *leaseWorld, st Step) {
		if n := w.leader(st[1]); w.runs(n) && w.nodes[n].role == leader {
			w.stepDown(n)
			if w.o.say != nil {
				w.o.tell("n%d: raft steps down by itself", n)
			}
		}
	}},
	{"reconfigure", 3, gRare, func(w *leaseWorld, st Step) {
		if n := w.leader(st[1]); !w.off.on(FixedD) {
			w.nodes[n].d = longLease + shortLease - w.nodes[n].d
			if w.o.say != nil {
				w.o.tell("n%d: D is %d from now on", n, w.nodes[n].d)
			}
		}
	}},
}

// Each schedule leaves some kinds of faults out, so that what needs many moves
// of few kinds is found too.
const (
	gNet uint8 = 1 << iota
	gPause
	gCrash
	gMember
	gRare
	gEnd
	gWrite
	gLate
)

// leaseTables says, for each set of groups, which move a byte means.
var leaseTables = func() (t [256][256]uint8) {
	weights, groups := make([]int, len(leaseMoves)), make([]uint8, len(leaseMoves))
	for i, m := range leaseMoves {
		weights[i], groups[i] = m.weight, m.group
	}
	for set := range t {
		t[set] = table(uint8(set), weights, groups)
	}
	return t
}()

// table deals the values of a byte out to the moves of the groups in set.
func table(set uint8, weights []int, groups []uint8) (t [256]uint8) {
	sum := 0
	for i := range weights {
		if groups[i]&^set == 0 {
			sum += weights[i]
		}
	}
	at, acc := 0, 0
	for i := range weights {
		if groups[i]&^set != 0 {
			continue
		}
		acc += weights[i]
		for ; at < 256 && at*sum < acc*256; at++ {
			t[at] = uint8(i)
		}
	}
	return t
}

func (w *leaseWorld) move(st Step) {
	w.now++ // no two moves at one instant
	was := w.now
	leaseMoves[leaseTables[w.groups][st[0]]].do(w, st)
	if w.o.broken != nil {
		return
	}
	if w.o.say != nil && w.now != was {
		w.o.tell("%d units pass: %d", w.now-was, w.now)
	}
	w.look()
}

// jump moves true time to just before or after what matters: the end of n's
// wait, or of its lease.
func (w *leaseWorld) jump(n int, b uint8) {
	nd := &w.nodes[n]
	if nd.suspend || nd.freeze {
		return
	}
	left := int64(0)
	if end, ok := w.waitEnd(n); ok && b&1 == 0 && nd.stage != noGrant && nd.stage != opened {
		left = (end-w.waitClock(n))*unit/nd.rate + 1
	} else if nd.gate.door {
		left = (nd.gate.until-w.stamp(n))*unit/nd.rate - 1 - int64(b>>6)
	}
	if left > 0 && left < 10*longLease {
		w.now += left
	}
}

func (w *leaseWorld) cutMove(i, j int, b uint8) {
	switch {
	case b&3 == 0 && i != j:
		w.cut[i] |= 1 << j
	case b&3 == 1 && i != j:
		w.cut[i] |= 1 << j
		w.cut[j] |= 1 << i
	default: // all links of i but, perhaps, those with j; one way or both
		for k := range w.n {
			if k == i || b&4 == 0 && k == j {
				continue
			}
			if b&24 != 8 {
				w.cut[i] |= 1 << k
			}
			if b&24 != 16 {
				w.cut[k] |= 1 << i
			}
		}
	}
	if w.o.say != nil {
		w.o.tell("links cut: %s", w.cuts())
	}
}

func (w *leaseWorld) cuts() (s string) {
	for i := range w.n {
		for j := range w.n {
			if w.cut[i]&(1<<j) != 0 {
				s += " n" + string(rune('0'+i)) + ">n" + string(rune('0'+j))
			}
		}
	}
	return s
}

func (w *leaseWorld) heal(i int, b uint8) {
	for k := range w.n {
		if b&1 == 0 || k == i {
			w.cut[k] = 0
		} else {
			w.cut[k] &^= 1 << i
		}
	}
	if w.o.say != nil {
		w.o.tell("links cut:%s", w.cuts())
	}
}

func (w *leaseWorld) pause(n int, b, c uint8) {
	nd := &w.nodes[n]
	if !w.runs(n) {
		return
	}
	if c&1 == 0 {
		n = w.pick(c >> 1)
		nd = &w.nodes[n]
		if !w.runs(n) {
			return
		}
	}
	what := "paused"
	switch {
	case w.freeze && b&1 == 0:
		nd.freeze, nd.since, what = true, w.now, "frozen, clocks and all"
	case b&2 == 0:
		nd.suspend, nd.since, what = true, w.now, "suspended"
	default:
		nd.paused = true
	}
	if w.o.say != nil {
		w.o.tell("n%d is %s", n, what)
	}
}

func (w *leaseWorld) resume(n int) {
	nd := &w.nodes[n]
	switch {
	case nd.freeze:
		nd.frozen += w.now - nd.since
	case nd.suspend:
		nd.slept += w.now - nd.since
	case !nd.paused:
		return
	}
	nd.freeze, nd.suspend, nd.paused = false, false, false
	if w.o.say != nil {
		w.o.tell("n%d goes on", n)
	}
}

// crash kills a process or starts it again, with another D now and then.
func (w *leaseWorld) crash(n int, b uint8) {
	nd := &w.nodes[n]
	w.resume(n)
	d := nd.d
	if b&6 == 0 {
		d = longLease + shortLease - d
	}
	w.restart(n, d)
	nd.up = b&1 == 0 || !nd.up
	if w.o.say != nil {
		w.o.tell("n%d restarts (up: %v, D %d)", n, nd.up, nd.d)
	}
}
