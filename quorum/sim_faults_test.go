package quorum

import (
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"
)

// A fault happens to a running cluster and is over when it returns, or left to
// mend.
type fault func(s *sim, rng *rand.Rand)

// upTo draws a duration in [0, d).
func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }

// plan has some of faults begin within span, whether or not others are over.
func plan(span time.Duration, fewest, most int, faults ...fault) func(*sim, *rand.Rand) {
	return func(s *sim, rng *rand.Rand) {
		for range fewest + rng.IntN(most-fewest+1) {
			at, f, own := upTo(rng, span), faults[rng.IntN(len(faults))], rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
			s.wg.Go(func() {
				time.Sleep(2*simH + at)
				if !s.failed() {
					f(s, own)
				}
			})
		}
		s.wg.Wait()
	}
}

var anyFaults = plan(simSpan, 3, 9,
	oneWay, isolate, isolate, slow, slow, reset, pause, pause, crash, crash, slowDisk, sick, closing,
	transferCut, lateTimeoutNow, lateTimeoutNow, restartRace, restartRace, wipe, removeAndAdd, slowAnswers)

// until waits for a condition, for d at most.
func (s *sim) until(d time.Duration, ok func() bool) bool {
	for began := time.Now(); !ok(); {
		if time.Since(began) > d || s.failed() {
			return false
		}
		time.Sleep(2 * time.Millisecond)
	}
	return true
}

func (s *sim) running(n *simNode) *simProc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n.proc
}

// leader returns the process that admits writes, or else one that leads in
// raft's eyes.
func (s *sim) leader() (best *simProc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		switch p := n.proc; {
		case p == nil:
		case p.gate.admitsLocked():
			return p
		case p.raft.State() == raft.Leader:
			best = p
		}
	}
	return best
}

// awaitLeader returns one that admits writes, if it comes soon.
func (s *sim) awaitLeader() *simProc {
	var p *simProc
	s.until(2*simH, func() bool {
		if p = s.leader(); p == nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return p.gate.admitsLocked()
	})
	return p
}

// others returns all machines but one, in an order of rng's.
func (s *sim) others(n *simNode, rng *rand.Rand) (rest []*simNode) {
	for _, i := range rng.Perm(len(s.nodes)) {
		if s.nodes[i] != n {
			rest = append(rest, s.nodes[i])
		}
	}
	return rest
}

// victim is the leader's machine as often as not.
func (s *sim) victim(rng *rand.Rand) *simNode {
	if p := s.leader(); p != nil && rng.IntN(2) == 0 {
		return p.node
	}
	return s.nodes[rng.IntN(len(s.nodes))]
}

func (s *sim) cut(from, to *simNode, on bool) {
	s.net.set(way{from.name, to.name}, func(w *wayState) { w.cut = on })
}

func (s *sim) cutBoth(a, b *simNode, on bool) {
	s.cut(a, b, on)
	s.cut(b, a, on)
}

func (s *sim) cutOff(n *simNode, on bool) {
	for _, o := range s.nodes {
		if o != n {
			s.cutBoth(n, o, on)
		}
	}
}

// mend ends all faults and waits until they are over.
func (s *sim) mend() {
	s.note("all faults end")
	s.net.heal()
	for _, n := range s.nodes {
		s.net.freeze(n.name, false)
		n.clock.suspend(false)
		n.slow.Store(0)
		p := s.running(n)
		if p == nil {
			n.start()
			continue
		}
		p.sick.Store(false)
	}
}

// shown reports whether a peer shows p a configuration with its ID.
func (s *sim) shown(p *simProc) bool {
	for _, n := range s.nodes {
		q := s.running(n)
		if q == nil || q == p || !s.net.open(way{p.node.name, n.name}) || !s.net.open(way{n.name, p.node.name}) {
			continue
		}
		if q.holds(p.id) {
			return true
		}
	}
	return false
}

// holds reports whether id is in p's configuration.
func (p *simProc) holds(id raft.ServerID) bool {
	for _, m := range p.raft.GetConfiguration().Configuration().Servers {
		if m.ID == id {
			return true
		}
	}
	return false
}

func oneWay(s *sim, rng *rand.Rand) {
	a := s.victim(rng)
	b := s.others(a, rng)[0]
	if rng.IntN(2) == 0 {
		a, b = b, a
	}
	s.note("cut %s -> %s", a.name, b.name)
	s.cut(a, b, true)
	time.Sleep(upTo(rng, 2*time.Second))
	s.cut(a, b, false)
}

func isolate(s *sim, rng *rand.Rand) {
	n := s.victim(rng)
	how := rng.IntN(4)
	s.note("isolate %s (%d)", n.name, how)
	for _, o := range s.nodes {
		if o == n {
			continue
		}
		if how != 0 {
			s.cut(n, o, true)
		}
		if how != 1 {
			s.cut(o, n, true)
		}
	}
	time.Sleep(upTo(rng, 2500*time.Millisecond))
	s.note("%s is back", n.name)
	s.cutOff(n, false)
}

func slow(s *sim, rng *rand.Rand) {
	a := s.victim(rng)
	b := s.others(a, rng)[0]
	w := way{a.name, b.name}
	if rng.IntN(2) == 0 {
		w = way{b.name, a.name}
	}
	delay, jitter, loss := upTo(rng, 200*time.Millisecond), upTo(rng, 300*time.Millisecond), rng.Float64()*0.5
	s.note("slow %v: %v, %v, loss %.2f", w, delay, jitter, loss)
	s.net.set(w, func(st *wayState) { st.delay, st.jitter, st.loss = delay, jitter, loss })
	time.Sleep(upTo(rng, 2*time.Second))
	s.net.set(w, func(st *wayState) { st.delay, st.jitter, st.loss = 0, 0, 0 })
}

func reset(s *sim, rng *rand.Rand) {
	a := s.victim(rng)
	b := s.others(a, rng)[0]
	s.note("reset %s and %s", a.name, b.name)
	for range 1 + rng.IntN(8) {
		s.net.reset(a.name, b.name)
		time.Sleep(upTo(rng, 100*time.Millisecond))
	}
}

// pause stops a process, or its machine.
func pause(s *sim, rng *rand.Rand) {
	n := s.victim(rng)
	suspend := rng.IntN(2) == 0
	s.note("pause %s, suspend %v", n.name, suspend)
	s.net.freeze(n.name, true)
	if suspend {
		n.clock.suspend(true)
	}
	time.Sleep(upTo(rng, 1500*time.Millisecond))
	s.note("%s goes on", n.name)
	n.clock.suspend(false)
	s.net.freeze(n.name, false)
}

// crashNode ends the process on n, unless it is down or in somebody's hands.
func (s *sim) crashNode(n *simNode) bool {
	if !n.busy.CompareAndSwap(false, true) {
		return false
	}
	p := s.running(n)
	if p == nil {
		n.busy.Store(false)
		return false
	}
	s.note("crash %s", n.name)
	p.crash()
	return true
}

// restart starts what crashNode ended.
func (s *sim) restart(n *simNode) {
	s.note("start %s as %s, D=%v", n.name, n.raftID(), n.lease)
	n.start()
	n.busy.Store(false)
}

func crash(s *sim, rng *rand.Rand) {
	n := s.victim(rng)
	if !s.crashNode(n) {
		return
	}
	if rng.IntN(2) == 0 {
		time.Sleep(upTo(rng, 2*time.Second))
	}
	if rng.IntN(3) == 0 {
		n.lease = []time.Duration{simD / 2, simD, simD + simD/3}[rng.IntN(3)]
	}
	s.restart(n)
}

func slowDisk(s *sim, rng *rand.Rand) {
	n := s.nodes[rng.IntN(len(s.nodes))]
	d := upTo(rng, 200*time.Millisecond)
	s.note("disk of %s takes up to %v", n.name, d)
	n.slow.Store(int64(d))
	time.Sleep(upTo(rng, 2*time.Second))
	n.slow.Store(0)
}

func sick(s *sim, rng *rand.Rand) {
	if p := s.running(s.nodes[rng.IntN(len(s.nodes))]); p != nil {
		s.note("%s is unhealthy", p.id)
		p.sick.Store(true)
		time.Sleep(upTo(rng, time.Second))
		p.sick.Store(false)
	}
}
