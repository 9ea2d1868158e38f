package quorum

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Gate is what a lease opens: the fenced mount's. All calls but Fence return at
// once.
type Gate interface {
	// Open admits writes under grant epoch until the boot-time clock reads
	// until (nanoseconds). It fails while a write of an earlier epoch is still
	// in flight.
	Open(epoch uint64, until int64) error
	// Extend moves the deadline of epoch; ignored for any other.
	Extend(epoch uint64, until int64)
	// Revoke ends the lease for good: nothing is admitted, and no commit point
	// in flight succeeds.
	Revoke()
}

var errLeaseOver = errors.New("the lease is over")

// lease is the lease of the newest term in which this node leads or led. Its
// lock covers the gate's calls too, so that no extension overtakes a death.
type lease struct {
	clock    Clock
	duration time.Duration
	self     raft.ServerID
	voters   func() (ids []raft.ServerID, self bool) // of raft's latest configuration
	gate     Gate
	word     raftWord

	mu       sync.Mutex
	term     uint64 // 0: never led
	dead     bool   // for good, as far as term goes
	highest  uint64 // highest term seen in any message
	acks     map[raft.ServerID]int64
	ages     map[raft.ServerID]time.Duration // said with the voter's first answer in term
	majority int64                           // CLOCK_MONOTONIC of the first majority in term; 0 = none yet
	credit   time.Duration                   // of the older leases' wait, how much has passed by then
	epoch    uint64                          // of the open gate; 0 = shut
	opened   bool                            // the gate was open in term

	past past // what this node knows of older leaders; has a lock of its own

	numbers atomic.Int64            // of the AppendEntries sent; they order sends without a clock
	answers map[raft.ServerID]int64 // newest one that the voter answered with Success in term
	news    chan struct{}           // closed at the next answer or death; nil = nobody waits
}

// lead starts the lease of term. Later calls with the same or an older term
// change nothing.
func (l *lease) lead(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leadLocked(term)
}

func (l *lease) leadLocked(term uint64) {
	if term <= l.term {
		return
	}
	l.killLocked()
	l.term, l.dead = term, l.highest > term
	l.highest = max(l.highest, term)
	l.acks, l.answers = map[raft.ServerID]int64{}, map[raft.ServerID]int64{}
	l.ages = map[raft.ServerID]time.Duration{}
	l.majority, l.credit, l.opened = 0, 0, false
	l.noteMajority()
}

// acked records that a voter answered with Success, in term, a message that was
// sent at the boot-time stamp sent. age is how long before the answer it had
// last heard of an older leader; 0 = unknown.
func (l *lease) acked(term uint64, id raft.ServerID, sent int64, age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leadLocked(term)
	if term != l.term || l.dead || sent <= l.acks[id] {
		return
	}
	if _, ok := l.ages[id]; !ok {
		l.ages[id] = age
	}
	l.acks[id] = sent
	l.noteMajority()
	l.extendLocked()
}

// extend moves the open gate's deadline forward where no answer does: a cluster
// of one has nobody to answer it.
func (l *lease) extend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.extendLocked()
}

func (l *lease) extendLocked() {
	if l.epoch == 0 {
		return
	}
	if until, ok := l.untilLocked(); ok {
		l.gate.Extend(l.epoch, until)
	}
}

// noteMajority stamps the first majority of the term; the wait for an older
// lease is counted from here. One of these voters, this node counted, may have
// been the last to answer the older leader, so the smallest of their ages has
// been waited already.
func (l *lease) noteMajority() {
	if l.majority != 0 {
		return
	}
	if _, ok := l.vouchedLocked(); !ok {
		return
	}
	l.majority = l.clock.Mono()
	l.credit = math.MaxInt64
	ids, self := l.voters()
	if self {
		l.credit = l.past.age(l.term, l.majority)
	}
	for _, id := range ids {
		if age, ok := l.ages[id]; ok && id != l.self {
			l.credit = min(l.credit, age)
		}
	}
}

// saw records a term seen in a message. A higher one than the lease's ends the
// lease: some voter may have answered another leader already.
func (l *lease) saw(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.word.counts() {
		return // it alone ends the lease
	}
	l.highest = max(l.highest, term)
	if term > l.term {
		l.killLocked()
	}
}

// killLocked ends the lease of the current term.
func (l *lease) killLocked() {
	if l.opened && !l.dead {
		// As a voter this node has vouched for itself until now.
		l.past.took(l.term, l.clock.Mono())
	}
	l.dead, l.epoch = true, 0
	l.gate.Revoke()
	l.tellLocked()
}

func (l *lease) untilLocked() (int64, bool) {
	if l.word.counts() {
		return l.raftSaysLocked()
	}
	return l.vouchedLocked()
}

// vouchedLocked is until when a majority vouches for this node.
func (l *lease) vouchedLocked() (int64, bool) {
	if l.term == 0 || l.dead {
		return 0, false
	}
	at, ok := l.reachedLocked(l.acks)
	if at == forever {
		// A cluster of one is its own majority now. Others may be added, and the
		// gate's deadline never moves back.
		at = l.clock.Boot()
	}
	return at + int64(l.duration), ok
}

// reachedLocked returns what a majority of the voters has reached in newest.
func (l *lease) reachedLocked(newest map[raft.ServerID]int64) (int64, bool) {
	ids, self := l.voters()
	n := len(ids)
	acks := make([]int64, 0, n)
	for _, id := range ids {
		if at, ok := newest[id]; ok && id != l.self {
			acks = append(acks, at)
		}
	}
	return ackedAt(acks, n, self)
}

// until returns the deadline of term's lease (boot time, nanoseconds), also
// when it has passed; ok is false where there is none.
func (l *lease) until(term uint64) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term != l.term {
		return 0, false
	}
	return l.untilLocked()
}

// valid reports whether term's lease holds now.
func (l *lease) valid(term uint64) bool {
	until, ok := l.until(term)
	return ok && l.clock.Boot() < until
}

// over reports that term's lease can never be valid again.
func (l *lease) over(term uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return term != l.term || l.dead
}

// firstMajority returns the CLOCK_MONOTONIC stamp of term's first majority, and
// how much of the wait for an older lease had passed by then.
func (l *lease) firstMajority(term uint64) (at int64, credit time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term != l.term || l.dead {
		return 0, 0, false
	}
	l.noteMajority() // the voters may have changed since the last answer
	return l.majority, l.credit, l.majority != 0
}

// leftToWait returns what is left of the wait d for an older lease; ok is false
// before term's first majority. credited says whether what the voters say of
// older leaders counts.
func (l *lease) leftToWait(term uint64, d time.Duration, credited bool) (left time.Duration, ok bool) {
	first, credit, ok := l.firstMajority(term)
	if !ok {
		return d, false
	}
	if !credited {
		credit = 0
	}
	return d - min(credit, d) - time.Duration(l.clock.Mono()-first), true
}

// lastAck returns the newest acknowledged send time of a voter in term.
func (l *lease) lastAck(term uint64, id raft.ServerID) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.acks[id]
	return at, ok && term == l.term
}

// open opens the gate under epoch, if term's lease holds.
func (l *lease) open(term, epoch uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term != l.term || l.dead {
		return fmt.Errorf("term %d: %w", term, errLeaseOver)
	}
	until, ok := l.untilLocked()
	if !ok || l.clock.Boot() >= until {
		return fmt.Errorf("term %d: no majority within %s: %w", term, l.duration, errLeaseOver)
	}
	if err := l.gate.Open(epoch, until); err != nil {
		return err
	}
	l.epoch, l.opened = epoch, true
	return nil
}

// isOpen reports whether an epoch is being extended.
func (l *lease) isOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch != 0
}

// shut stops extensions of the open epoch; the gate itself is fenced by the
// caller. Commit points in flight go on under the deadline that they have.
func (l *lease) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = 0
}
