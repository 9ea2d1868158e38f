package quorum

import (
	"time"

	"github.com/hashicorp/raft"
)

// simGate is a gate as the fenced mount has it, with the checks of the
// simulation: whenever it begins to admit, no other may.
type simGate struct {
	p *simProc
	// The simulation's lock guards the rest.
	epoch  uint64
	until  int64
	over   bool // revoked
	shut   bool
	inside int
	dead   bool // the process is gone
}

func (g *simGate) admitsLocked() bool {
	if g.epoch == 0 || g.dead || g.shut || g.over {
		return false
	}
	if g.p.rules.raftState {
		r := g.p.live.Load()
		return r != nil && r.State() == raft.Leader
	}
	return g.p.node.clock.Boot() < g.until
}

func (g *simGate) Open(epoch uint64, until int64) error {
	s := g.p.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.dead {
		return errLeaseOver
	}
	if epoch < g.epoch || epoch == g.epoch && g.over || epoch > g.epoch && g.inside > 0 {
		return errLeaseOver
	}
	if epoch > g.epoch {
		g.epoch, g.until, g.over = epoch, until, false
	}
	g.until, g.shut = max(g.until, until), false
	s.openedLocked(g)
	return nil
}

func (g *simGate) Extend(epoch uint64, until int64) {
	s := g.p.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch == g.epoch && !g.over {
		g.until = max(g.until, until)
		s.checkLocked(g, "extended")
	}
}

func (g *simGate) Revoke() {
	if g.p.rules.deathless {
		return
	}
	s := g.p.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	g.over = true
}

// fence shuts the door and returns when the last one has left.
func (g *simGate) fence() {
	s := g.p.sim
	s.mu.Lock()
	g.shut = true
	s.mu.Unlock()
	for {
		s.mu.Lock()
		out := g.inside == 0 || g.dead
		s.mu.Unlock()
		if out {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
