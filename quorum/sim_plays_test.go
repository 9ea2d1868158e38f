package quorum

import (
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"
)

// Plays are faults in an order in which they have hurt somebody (FACTS.md 6),
// with the times left to chance.

// closing has the leader shut, drain and append Close, and perhaps hand on.
func closing(s *sim, rng *rand.Rand) {
	p := s.leader()
	if p == nil {
		return
	}
	o := simOrder{close: true, idle: upTo(rng, 500*time.Millisecond)}
	if rng.IntN(2) == 0 {
		o.transfer = s.others(p.node, rng)[0].raftID()
	}
	s.note("%s closes, then transfers to %q", p.id, o.transfer)
	select {
	case p.orders <- o:
	default:
	}
	if rng.IntN(2) == 0 {
		time.Sleep(upTo(rng, 30*time.Millisecond))
		s.cutOff(p.node, true)
		time.Sleep(upTo(rng, time.Second))
		s.cutOff(p.node, false)
	}
}

// handTo begins a transfer of leadership.
func (p *simProc) handTo(n *simNode) {
	p.raft.LeadershipTransferToServer(n.raftID(), raft.ServerAddress(n.name))
}

// transferCut cuts a leader off while it hands leadership on.
func transferCut(s *sim, rng *rand.Rand) {
	p := s.awaitLeader()
	if p == nil {
		return
	}
	heir := s.others(p.node, rng)[0]
	s.note("%s transfers to %s and is cut off", p.id, heir.raftID())
	p.handTo(heir)
	time.Sleep(upTo(rng, 5*time.Millisecond))
	s.cutOff(p.node, true)
	time.Sleep(upTo(rng, time.Second))
	s.cutOff(p.node, false)
}

// lateTimeoutNow has the heir of a transfer paused until the transfer has timed
// out and the old leader has gone on.
func lateTimeoutNow(s *sim, rng *rand.Rand) {
	late(s, rng, rng.IntN(2) == 0, upTo(rng, 2*simH), rng.IntN(3))
}

// loneVote is the one in which the old leader alone elects the heir, which has
// not heard of anybody for long.
func loneVote(s *sim, rng *rand.Rand) { late(s, rng, true, upTo(rng, simH/4), 1) }

func late(s *sim, rng *rand.Rand, followed bool, deaf time.Duration, end int) {
	p := s.awaitLeader()
	if p == nil {
		return
	}
	if followed { // the leader has followed somebody before
		p.handTo(s.others(p.node, rng)[0])
		time.Sleep(simH + simH/2)
		if p = s.awaitLeader(); p == nil {
			return
		}
	}
	rest := s.others(p.node, rng)
	heir, third := rest[0], rest[1]
	q := s.running(heir)
	if q == nil {
		return
	}
	s.note("%s transfers to %s, which is late", p.id, heir.raftID())
	p.handTo(heir)
	if deaf < simH { // what it hears of the old leader ends before
		s.wg.Go(func() { time.Sleep(deaf); s.cutBoth(p.node, heir, true) })
	}
	q.front.lateTimeoutNow(simH/2 + upTo(rng, 2*simH))
	switch end {
	case 0:
		s.cutOff(p.node, true)
	case 1: // the old leader is the only one to vote
		s.cutBoth(p.node, heir, false)
		s.cutBoth(heir, third, true)
	case 2:
		time.Sleep(upTo(rng, 5*time.Millisecond))
		s.cutOff(p.node, true)
	}
	time.Sleep(upTo(rng, 800*time.Millisecond))
	s.cutOff(p.node, false)
	s.cutBoth(heir, third, false)
}

// restartRace: the leader hears only some, another times out, and those that it
// hears restart just before and vote at once.
func restartRace(s *sim, rng *rand.Rand) {
	p := s.awaitLeader()
	if p == nil {
		return
	}
	rest := s.others(p.node, rng)
	cand, voters := rest[0], rest[1:len(s.nodes)/2+1]
	s.note("restart race: %s leads, %s stands", p.id, cand.id)
	s.cutBoth(p.node, cand, true)
	// It stands after H to 2H. A connection that it had to a voter from before is
	// broken then, and its first request over it fails: hence the first time.
	time.Sleep(simH*9/10 + upTo(rng, simH*7/10))
	for _, v := range voters {
		if s.crashNode(v) {
			if rng.IntN(3) > 0 {
				s.cutBoth(p.node, v, true)
			}
			s.restart(v)
		}
	}
	time.Sleep(upTo(rng, 800*time.Millisecond))
	s.cutOff(p.node, false)
}

// change lets one change of the voters at a time through.
func (s *sim) change(do func()) {
	s.mu.Lock()
	busy := s.changing
	s.changing = true
	s.mu.Unlock()
	if busy {
		return
	}
	do()
	s.mu.Lock()
	s.changing = false
	s.mu.Unlock()
}

// ask has whoever leads do something to the configuration, until it is done.
func (s *sim) ask(what func(*raft.Raft) raft.IndexFuture) bool {
	return s.until(20*time.Second, func() bool {
		p := s.leader()
		return p != nil && what(p.raft).Error() == nil
	})
}

func (s *sim) remove(id raft.ServerID) bool {
	return s.ask(func(r *raft.Raft) raft.IndexFuture { return r.RemoveServer(id, 0, time.Second) })
}

func (s *sim) add(n *simNode) bool {
	id := n.raftID()
	return s.ask(func(r *raft.Raft) raft.IndexFuture {
		return r.AddVoter(id, raft.ServerAddress(n.name), 0, time.Second)
	})
}

// settled reports whether every node runs and knows every other. A disk lost
// before the last change of the voters has reached all others is one too many:
// raft refuses its vote to a candidate that the voter's own configuration does
// not name (raft.go, requestVote), so that the rest may never elect anybody.
func (s *sim) settled() bool {
	for _, n := range s.nodes {
		p := s.running(n)
		if p == nil {
			return false
		}
		for _, o := range s.nodes {
			if !p.holds(o.raftID()) {
				return false
			}
		}
	}
	return true
}

// wipe empties a data directory, and replaces the node in two steps.
func wipe(s *sim, rng *rand.Rand) {
	s.change(func() {
		n := s.victim(rng)
		if !s.settled() || !s.crashNode(n) {
			return
		}
		old := n.raftID()
		n.wipe()
		if rng.IntN(2) == 0 {
			time.Sleep(upTo(rng, time.Second))
		}
		s.note("%s is empty", n.name)
		s.restart(n)
		if s.rules.amnesia {
			return
		}
		time.Sleep(upTo(rng, time.Second))
		_ = s.remove(old) && s.add(n)
		s.note("%s is replaced by %s", old, n.raftID())
	})
}

// removeAndAdd removes a voter that goes on running, and takes it back.
func removeAndAdd(s *sim, rng *rand.Rand) {
	s.change(func() {
		n := s.victim(rng)
		s.note("%s is removed", n.raftID())
		if !s.remove(n.raftID()) {
			return
		}
		time.Sleep(upTo(rng, 2*time.Second))
		// A leader that removes itself ends its raft (raft's ShutdownOnRemove);
		// it is started again.
		if p := s.running(n); p != nil && p.raft.State() == raft.Shutdown && s.crashNode(n) {
			s.restart(n)
		}
		s.add(n)
		s.note("%s is a voter again", n.raftID())
	})
}

// slowAnswers keeps a voter's answers to the leader long on the way, and has
// another node take over meanwhile.
func slowAnswers(s *sim, rng *rand.Rand) {
	p := s.awaitLeader()
	if p == nil {
		return
	}
	rest := s.others(p.node, rng)
	heir, voter := rest[0], rest[1]
	s.note("answers of %s to %s are slow, %s takes over", voter.name, p.id, heir.name)
	w := way{voter.name, p.node.name}
	s.net.set(w, func(st *wayState) { st.delay = 100*time.Millisecond + upTo(rng, 45*time.Millisecond) })
	time.Sleep(upTo(rng, 300*time.Millisecond))
	p.handTo(heir)
	time.Sleep(upTo(rng, 5*time.Millisecond))
	for _, o := range s.nodes {
		if o != p.node {
			s.cut(p.node, o, true)
			if o != voter {
				s.cut(o, p.node, true)
			}
		}
	}
	time.Sleep(upTo(rng, time.Second))
	s.net.set(w, func(st *wayState) { st.delay = 0 })
	s.cutOff(p.node, false)
}

// forgottenOpen: the newest opener's Open reaches one voter besides it, whose
// disk is then lost; the opener before it is told nothing and takes itself for
// the newest.
func forgottenOpen(s *sim, rng *rand.Rand) {
	was := s.awaitLeader()
	if was == nil {
		return
	}
	rest := s.others(was.node, rng)
	next, voter := rest[0], rest[1]
	for _, o := range rest[2:] { // a majority is these two and the new leader
		if s.crashNode(o) {
			defer s.restart(o)
		}
	}
	if len(rest) == 4 {
		return
	}
	was.handTo(next)
	s.until(simH, func() bool { return was.raft.State() != raft.Leader })
	s.cutOff(was.node, true)
	opened := s.until(3*simH, func() bool { p := s.leader(); return p != nil && p.node == next })
	time.Sleep(upTo(rng, simH))
	if opened && s.crashNode(voter) {
		s.note("%s forgets", voter.name)
		voter.wipe()
		s.cutBoth(next, voter, true)
		s.cutBoth(was.node, voter, false)
		s.restart(voter)
	}
	time.Sleep(upTo(rng, 2*simH))
	s.cutOff(next, false)
	s.cutOff(was.node, false)
}
