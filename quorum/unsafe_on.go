//go:build litefence_unsafe

package quorum

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// Unsafe says which rules are off. It exists only in builds with the tag
// litefence_unsafe: whoever looks for broken promises takes a rule away and has
// to see what it was for. The zero value takes none away.
type Unsafe struct {
	// NoWait: a new leader does not wait the old lease out.
	NoWait bool
	// RaftLease: the lease holds while hashicorp/raft says that this node leads in
	// its term, whatever was answered and whatever terms were seen.
	RaftLease bool
	// BlindElection: raft's leader takes the role itself if its LiteFS answers,
	// wherever that stands.
	BlindElection bool
}

func (u Unsafe) noWait() bool { return u.NoWait }

// raftWord is raft's word on who leads, where that is taken for a lease.
type raftWord struct {
	leads func(term uint64) bool // nil = it counts for nothing
}

func (w raftWord) counts() bool { return w.leads != nil }

func (n *Node) raftWord() raftWord {
	if !n.cfg.Unsafe.RaftLease {
		return raftWord{}
	}
	return raftWord{func(term uint64) bool {
		r := n.live.Load()
		return r != nil && r.State() == raft.Leader && r.CurrentTerm() == term
	}}
}

// wordGood is how far in the future the deadline of such a lease lies: it ends
// when raft says so, not by the clock.
const wordGood = time.Hour

// raftSaysLocked is untilLocked by raft's word.
func (l *lease) raftSaysLocked() (until int64, leads bool) {
	return l.clock.Boot() + int64(wordGood), l.term != 0 && !l.dead && l.word.leads(l.term)
}

// resigned ends the lease where raft has said that this node leads no more.
func (l *lease) resigned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.word.counts() && !l.word.leads(l.term) {
		l.killLocked()
	}
}

// electBlind chooses this node, as if raft's choice were enough. It is not ok
// where LiteFS does not answer, or the node may take no role: then somebody else
// is chosen as ever.
func (n *Node) electBlind(ctx context.Context, term uint64) (res policy.ElectionResult, ok bool) {
	if !n.cfg.Unsafe.BlindElection || n.isSkipped(n.cfg.Name) {
		return res, false
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ReaderGrace+handOnGrace)
	defer cancel()
	r, err := n.ownReport(ctx)
	if err != nil || !r.HasLiteFS || !r.Eligible {
		return res, false
	}
	res.Winner = n.cfg.Name
	n.noteResult(res, term, []policy.Report{r}) // what the Open is compared with (recheck)
	return res, true
}
