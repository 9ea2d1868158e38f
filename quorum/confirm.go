package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// errClosing ends a Confirm that nobody will answer any more.
var errClosing = errors.New("this node is closing")

// Confirm asks a majority whether this node still leads: it returns nil only
// once a majority of the voters, this node counted if it is one, has answered
// with Success, in this node's present term, an AppendEntries that was sent
// after the call began. No clock takes part: messages are numbered before they
// leave, so a machine whose clocks stood still meanwhile is told the truth all
// the same. raft.VerifyLeader will not do, because it counts the answers to
// heartbeats that were sent before the call.
//
// It returns an error that wraps errLeaseOver when the term's lease is dead,
// or lapsed for so long that the role is about to be taken away, and ctx's
// error when ctx ends. Concurrent calls share rounds. Safe for concurrent use.
func (n *Node) Confirm(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // nobody waits: no round for it
	}
	q, err := n.lease.ask()
	if err != nil {
		return err
	}
	select {
	case n.wantRound <- struct{}{}:
	default: // a round that has yet to begin serves this call too
	}
	for {
		news, left, err := n.lease.answer(q)
		if err != nil || news == nil {
			return err
		}
		if err := n.awaitNews(ctx, news, left); errors.Is(err, errClosing) {
			return err
		} else if err != nil {
			return fmt.Errorf("no majority has confirmed the leadership: %w", err)
		}
	}
}

// awaitNews returns when news is closed or left has passed, or with the error of
// what ends the waiting.
func (n *Node) awaitNews(ctx context.Context, news <-chan struct{}, left time.Duration) error {
	late := time.NewTimer(left)
	defer late.Stop()
	select {
	case <-news:
	case <-late.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return errClosing
	}
	return nil
}

// rounds has raft send heartbeats at once when somebody waits for their
// answers. Of VerifyLeader only that is used (raft.go, verifyLeader): it leaves
// one notice for each peer, upon which the next heartbeat goes out without
// waiting for its time, and notices that were not taken yet fall together. It
// may wait for raft's main loop, hence the goroutine.
func (n *Node) rounds() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.wantRound:
			n.raft.VerifyLeader()
		}
	}
}

// question is what a Confirm waits to have answered.
type question struct {
	term  uint64
	after int64 // number of the last message before it
}

// number numbers a message that is about to leave.
func (l *lease) number() int64 { return l.numbers.Add(1) }

// ask begins a question in the present term.
func (l *lease) ask() (question, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 || l.dead {
		return question{}, fmt.Errorf("term %d: %w", l.term, errLeaseOver)
	}
	return question{term: l.term, after: l.numbers.Load()}, nil
}

// answered records that a voter answered message number with Success in term.
func (l *lease) answered(term uint64, id raft.ServerID, number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term != l.term || l.dead || number <= l.answers[id] {
		return
	}
	l.answers[id] = number
	l.tellLocked()
}

// tellLocked wakes those who wait for an answer.
func (l *lease) tellLocked() {
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
}

// answer looks whether q is answered: news is nil then. Otherwise there is
// nothing new before news is closed, or left has passed.
func (l *lease) answer(q question) (news <-chan struct{}, left time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.term != l.term || l.dead {
		return nil, 0, fmt.Errorf("term %d: %w", q.term, errLeaseOver)
	}
	if newest, ok := l.reachedLocked(l.answers); ok && newest > q.after {
		return nil, 0, nil
	}
	until, ok := l.untilLocked()
	left = time.Duration(until-l.clock.Boot()) + lapseGrace
	if !ok || left <= 0 {
		// Whatever comes now, the second look of the write would not pass.
		return nil, 0, fmt.Errorf("term %d: no majority within %s: %w", q.term, l.duration, errLeaseOver)
	}
	if l.news == nil {
		l.news = make(chan struct{})
	}
	return l.news, left, nil
}
