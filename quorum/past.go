package quorum

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// past is what a voter can say of the leaders that it followed before the
// present one: how long ago it last took in a message of theirs. A new leader
// need not wait that time again (credit).
//
// Messages are stamped before raft sees them, so that whatever raft accepted
// before it answered the new leader is counted. The clock is CLOCK_MONOTONIC:
// it does not count suspend, so an age is never longer than it was. The zero
// value knows nothing, as after a restart, and nothing is age 0: the process
// before this one may have answered an older leader a moment ago.
type past struct {
	mu    sync.Mutex
	term  uint64 // newest term of which a leader was heard
	at    int64  // of the newest message of that term; 0 = none
	older int64  // of the newest message of any term before it; 0 = none
}

// took records a message of the leader of term, or an end of this node's own
// leadership in it.
func (p *past) took(term uint64, now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case term > p.term:
		p.older, p.term, p.at = max(p.older, p.at), term, now
	case term == p.term:
		p.at = now
	default:
		p.older = now
	}
}

// age returns how long ago the newest message of a leader older than term's was
// taken in; 0 = unknown.
func (p *past) age(term uint64, now int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	newest := p.older
	if term > p.term {
		newest = max(p.older, p.at)
	}
	if newest == 0 || term < p.term {
		return 0
	}
	return time.Duration(max(0, now-newest))
}

// note is what a voter adds to its answer to an AppendEntries.
type note struct {
	age       time.Duration // past.age for the message's term
	unhealthy bool          // the answer does not count towards a lease
}

// noteVersion begins an encoded note. Raft's own bytes in that place are an
// address, which never begins like this.
const noteVersion = 0x01

var errNoNote = errors.New("the answer carries no note: a node of another version?")

func (n note) encode() []byte {
	b := make([]byte, 10)
	b[0] = noteVersion
	if n.unhealthy {
		b[1] = 1
	}
	binary.BigEndian.PutUint64(b[2:], uint64(n.age))
	return b
}

func parseNote(b []byte) (n note, err error) {
	if len(b) != 10 || b[0] != noteVersion || b[1] > 1 {
		return n, errNoNote
	}
	n.age, n.unhealthy = time.Duration(binary.BigEndian.Uint64(b[2:])), b[1] == 1
	if n.age < 0 {
		return note{}, errNoNote
	}
	return n, nil
}
