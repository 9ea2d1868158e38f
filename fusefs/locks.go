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

// slotSet is a set of slots, one bit each.
type slotSet uint16

const (
	noSlots   slotSet = 0
	readSlots slotSet = 1<<slotRead0 | 1<<slotRead1 | 1<<slotRead2 | 1<<slotRead3 | 1<<slotRead4
	// restartSlots is what SQLite locks as one range before it begins the WAL
	// anew (wal.c, walRestartLog, walCheckpoint).
	restartSlots slotSet = readSlots &^ (1 << slotRead0)
	allSlots     slotSet = 1<<slots - 1
)

func setOf(list ...slot) (set slotSet) {
	for _, s := range list {
		set |= 1 << s
	}
	return set
}

func (set slotSet) has(s slot) bool { return set>>s&1 != 0 }

// slotsIn returns the slots whose first byte lies in [start, end], as LiteFS
// tells them (litefs.go, ParseDatabaseLockRange, ParseSHMLockRange).
func slotsIn(shm bool, start, end uint64) (in slotSet) {
	for s := range slots {
		first, _ := s.bytesOf()
		if s.inSHM() == shm && start <= uint64(first) && uint64(first) <= end {
			in |= 1 << s
		}
	}
	return in
}

// hold is what one owner has of one slot. A dead hold exists above only: the
// fence or a change of role took away what was below.
type hold struct {
	owner uint64
	fh    uint64 // the handle through which it was taken last
	pid   uint32
	typ   lockType
	dead  bool
	mark  bool // exclusive, and LiteFS need not know: to change one read mark of our own index, or after a commit (lend)
}

// lockTable says who holds what. Pointers into it live until the next set.
type lockTable [slots][]hold

// blocks reports whether a hold of s keeps others out. A dead one does so only
// where SQLite's own files, and not the lock, would be the only arbiter left:
// two writers of a WAL share its index, and the unlink of a journal has no
// owner.
func (h *hold) blocks(s slot) bool { return !h.dead || s == slotWrite || s == slotReserved }

// conflict returns a hold that forbids owner to have typ on s.
func (t *lockTable) conflict(s slot, owner uint64, typ lockType) (slot, *hold) {
	for i := range t[s] {
		h := &t[s][i]
		if h.owner != owner && h.blocks(s) && (typ == exclusive || h.typ == exclusive) {
			return s, h
		}
	}
	// LiteFS refuses CKPT to all but the writer while WRITE is held (db.go,
	// TryLocks). Below we are one owner, so the rule is ours to keep.
	if s == slotCkpt && typ == exclusive {
		if h := t.holder(slotWrite); h != nil && h.owner != owner {
			return slotWrite, h
		}
	}
	return s, nil
}

// strongest returns the strongest lock that must be held of s below.
func (t *lockTable) strongest(s slot) lockType {
	most := unlocked
	for i := range t[s] {
		h := &t[s][i]
		switch {
		case h.dead:
		case h.mark:
			most = max(most, shared)
		default:
			most = max(most, h.typ)
		}
	}
	return most
}

// set replaces what h.owner holds of s.
func (t *lockTable) set(s slot, h hold) {
	for i := range t[s] {
		if t[s][i].owner != h.owner {
			continue
		}
		if h.typ != unlocked {
			t[s][i] = h
			return
		}
		last := len(t[s]) - 1
		t[s][i] = t[s][last]
		t[s] = t[s][:last]
		return
	}
	if h.typ != unlocked {
		t[s] = append(t[s], h)
	}
}

func (t *lockTable) drop(s slot, owner uint64) { t.set(s, hold{owner: owner}) }

func (t *lockTable) get(s slot, owner uint64) *hold {
	for i := range t[s] {
		if t[s][i].owner == owner {
			return &t[s][i]
		}
	}
	return nil
}

// holds reports whether owner has s exclusively.
func (t *lockTable) holds(s slot, owner uint64) bool {
	h := t.get(s, owner)
	return h != nil && h.typ == exclusive
}

// holder returns the hold of the one owner that has s exclusively.
func (t *lockTable) holder(s slot) *hold {
	for i := range t[s] {
		if t[s][i].typ == exclusive {
			return &t[s][i]
		}
	}
	return nil
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
		for _, h := range t[s] {
			fmt.Fprintf(&b, "%s=%s owner=%x pid=%d dead=%v; ", s, h.typ, h.owner, h.pid, h.dead)
		}
	}
	return b.String()
}

var slotNames = [slots]string{"PENDING", "RESERVED", "SHARED", "WRITE", "CKPT", "RECOVER", "READ0", "READ1", "READ2", "READ3", "READ4", "DMS"}

func (s slot) String() string { return slotNames[s] }

func (t lockType) String() string { return [...]string{"unlocked", "shared", "exclusive"}[t] }
