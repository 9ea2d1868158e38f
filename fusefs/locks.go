package fusefs

import (
	"fmt"
	"strings"
)

// The lock table: pure bookkeeping over the twelve slots that LiteFS knows of
// a database. It decides what an owner above may hold and what must be held
// below for it; it takes no lock itself.

// lockType orders the strength of a lock.
type lockType uint8

const (
	unlocked lockType = iota
	shared
	exclusive
)

// slot is one lock of LiteFS (litefs.go, LockType).
type slot uint8

const (
	slotPending slot = iota
	slotReserved
	slotShared
	slotWrite
	slotCkpt
	slotRecover
	slotRead0
	slotRead1
	slotRead2
	slotRead3
	slotRead4
	slotDMS
	slots
)

const (
	pendingByte = 0x40000000 // SQLite os.h, PENDING_BYTE
	sharedSize  = 510
	walByte     = 120 // SQLite wal.c, WALINDEX_LOCK_OFFSET
)

// bytesOf returns the byte range of s in its file below.
func (s slot) bytesOf() (start, size int64) {
	switch {
	case s == slotShared:
		return pendingByte + 2, sharedSize
	case s < slotWrite:
		return pendingByte + int64(s), 1
	}
	return walByte + int64(s-slotWrite), 1
}

func (s slot) inSHM() bool { return s >= slotWrite }

// walRead reports the slots by which a WAL transaction reads.
func (s slot) walRead() bool { return s >= slotRead0 && s <= slotRead4 }

// slotsIn returns the slots whose first byte lies in [start, end], as LiteFS
// tells them (litefs.go, ParseDatabaseLockRange, ParseSHMLockRange).
func slotsIn(shm bool, start, end uint64) []slot {
	var in []slot
	for s := range slots {
		first, _ := s.bytesOf()
		if s.inSHM() == shm && start <= uint64(first) && uint64(first) <= end {
			in = append(in, s)
		}
	}
	return in
}

// hold is what one owner has of one slot. A dead hold exists above only: the
// fence or a change of role took away what was below.
type hold struct {
	typ  lockType
	fh   uint64 // the handle through which it was taken last
	pid  uint32
	dead bool
}

// lockTable says who holds what.
type lockTable [slots]map[uint64]*hold

// blocks reports whether a hold of s keeps others out. A dead one does so only
// where SQLite's own files, and not the lock, would be the only arbiter left:
// two writers of a WAL share its index, and the unlink of a journal has no
// owner.
func (h *hold) blocks(s slot) bool { return !h.dead || s == slotWrite || s == slotReserved }

// conflict returns a hold that forbids owner to have typ on s.
func (t *lockTable) conflict(s slot, owner uint64, typ lockType) (slot, *hold) {
	for other, h := range t[s] {
		if other != owner && h.blocks(s) && (typ == exclusive || h.typ == exclusive) {
			return s, h
		}
	}
	// LiteFS refuses CKPT to all but the writer while WRITE is held (db.go,
	// TryLocks). Below we are one owner, so the rule is ours to keep.
	if s == slotCkpt && typ == exclusive {
		for other, h := range t[slotWrite] {
			if other != owner && h.typ == exclusive {
				return slotWrite, h
			}
		}
	}
	return s, nil
}

// below returns what must be held of s for all owners; except is left out, to
// ask what its change would make of it.
func (t *lockTable) below(s slot, except uint64, with lockType) lockType {
	most := with
	for owner, h := range t[s] {
		if owner != except && !h.dead {
			most = max(most, h.typ)
		}
	}
	return most
}

// strongest returns what must be held of s below.
func (t *lockTable) strongest(s slot) lockType {
	most := unlocked
	for _, h := range t[s] {
		if !h.dead {
			most = max(most, h.typ)
		}
	}
	return most
}

func (t *lockTable) set(s slot, owner uint64, h hold) {
	if h.typ == unlocked {
		delete(t[s], owner)
		return
	}
	if t[s] == nil {
		t[s] = map[uint64]*hold{}
	}
	t[s][owner] = &h
}

func (t *lockTable) get(s slot, owner uint64) *hold { return t[s][owner] }

// holder returns the one owner that has s exclusively.
func (t *lockTable) holder(s slot) (uint64, *hold) {
	for owner, h := range t[s] {
		if h.typ == exclusive {
			return owner, h
		}
	}
	return 0, nil
}

func (t *lockTable) count() (n int) {
	for s := range slots {
		n += len(t[s])
	}
	return n
}

// String lists who holds what, for a log line about one who stands in the way.
func (t *lockTable) String() string {
	var b strings.Builder
	for s := range slots {
		for owner, h := range t[s] {
			fmt.Fprintf(&b, "%s=%s owner=%x pid=%d dead=%v; ", s, h.typ, owner, h.pid, h.dead)
		}
	}
	return b.String()
}

var slotNames = [slots]string{"PENDING", "RESERVED", "SHARED", "WRITE", "CKPT", "RECOVER", "READ0", "READ1", "READ2", "READ3", "READ4", "DMS"}

func (s slot) String() string { return slotNames[s] }

func (t lockType) String() string { return [...]string{"unlocked", "shared", "exclusive"}[t] }
