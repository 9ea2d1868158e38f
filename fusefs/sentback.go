package fusefs

import "time"

// sentBack sees to it that a reader gets on while LiteFS applies transactions
// beneath it. The lock by which a reader begins carries LiteFS's index into
// ours; SQLite then finds another header than the one it has read, gives the
// lock up and tries again after a while (wal.c, walTryBeginRead). Were LiteFS
// let in meanwhile, there would be something to carry again, a hundred times
// over: SQLITE_PROTOCOL after ten seconds. So the lock stays below until that
// reader is back. Guarded by database.mu.
type sentBack struct {
	carried bool                 // the grant that was just made has carried
	owner   uint64               // whom the lock waits for
	until   time.Time            // and no longer than this
	failed  map[uint64]time.Time // by owner: the last try that led to nothing
}

const (
	// SQLite waits longer from try to try, by its own count of them: 323 ms
	// before the last (wal.c, walTryBeginRead, nDelay).
	backMost = 500 * time.Millisecond
	// Owners that never came back are forgotten together.
	backOwners = 64
)

// tried records a try for one of READ0-4.
func (b *sentBack) tried(owner uint64, err error, now time.Time) {
	carried := err == nil && b.carried
	b.carried = false
	if err == nil && !carried {
		delete(b.failed, owner)
		if owner == b.owner {
			b.until = time.Time{}
		}
		return
	}
	if carried {
		// The next pause is hardly longer than the one before.
		pause := time.Duration(0)
		if last, ok := b.failed[owner]; ok {
			pause = 2 * now.Sub(last)
		}
		b.owner, b.until = owner, now.Add(min(max(keepFor, pause), backMost))
	}
	if b.failed == nil || len(b.failed) >= backOwners {
		b.failed = map[uint64]time.Time{}
	}
	b.failed[owner] = now
}
