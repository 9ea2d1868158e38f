package fusefs

import (
	"syscall"
	"time"
)

// policy.strategy suspend: while fenced, writers are held for a bounded time
// instead of being refused, in case the gate opens again soon. Only lock
// requests and writes are held: a CREATE or UNLINK that waits would keep the
// directory's lock, and with it every reader; and a write of the database file
// comes out of the page cache, where others may wait for it. Whoever is held has
// no ticket and holds neither mu nor walMu, so fencing waits for nobody;
// afterwards it goes the way of every other request, which admits or refuses it.

// suspendWrite holds a write while fenced. It returns an error only where the
// application was interrupted. One to -wal is held no longer than until the
// fence has cut transactions off: the kernel holds the inode's lock meanwhile,
// and SQLite run by root waits for that when it opens a -wal (os_unix.c,
// robustFchown).
func (f *FS) suspendWrite(cancel <-chan struct{}, h *handle, owner uint64) error {
	k, d := h.node.kind, h.node.db
	if f.cfg.Suspend == 0 || d == nil || k != KindJournal && k != KindWAL {
		return nil
	}
	return d.suspend(cancel, k, func() bool {
		return d.cut(owner, 0).writes || d.cutWriter() || d.rollsBack(owner, k) || k == KindWAL && f.gate.settled()
	})
}

// suspendLock holds a lock request by which a write transaction begins.
func (d *database) suspendLock(cancel <-chan struct{}, r request) error {
	if d.fs.cfg.Suspend == 0 || r.typ != exclusive || r.slots == noSlots {
		return nil
	}
	k := KindDatabase
	if r.shm {
		k = KindSHM
	}
	return d.suspend(cancel, k, func() bool { return d.cut(r.owner, 0).any() || !d.beginsWrite(r) })
}

// suspend waits while the mount is fenced, until the gate admits again, the
// fence is older than Config.Suspend, the mount ends, or pass says that waiting
// is in vain. Pass is asked again whenever locks have changed: a fence that
// cuts transactions off wakes who waits that way.
func (d *database) suspend(cancel <-chan struct{}, k Kind, pass func() bool) error {
	f := d.fs
	for held := false; ; held = true {
		news := f.gate.news()
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		left := f.cfg.Suspend - f.gate.shutFor()
		if left <= 0 || !f.fencing() || pass() {
			return nil
		}
		if !held {
			f.count.suspended[k].Add(1)
		}
		over := time.NewTimer(left)
		select {
		case <-news:
		case <-changed:
		case <-over.C:
		case <-cancel:
			over.Stop()
			return syscall.EINTR
		case <-f.workers.ctx.Done():
			over.Stop()
			return nil
		}
		over.Stop()
	}
}

// beginsWrite reports whether r is the lock by which a write transaction
// begins. A reader asks for WRITE too, to recover a wal-index whose header is
// not valid (wal.c, walIndexReadHdr); it has no READ lock yet, which a writer
// always has (sqlite3WalBeginWriteTransaction).
func (d *database) beginsWrite(r request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range slots {
		if !r.slots.has(s) {
			continue
		}
		if d.table.holds(s, r.owner) {
			continue
		}
		if s == slotReserved || s == slotWrite && d.readsWAL(r.owner) {
			return true
		}
	}
	return false
}

// readsWAL reports whether owner has a READ lock, and an index that it can go
// by: one process is one owner, and another connection of its may be the reader
// that recovers. Called with mu held.
func (d *database) readsWAL(owner uint64) bool {
	for s := slotRead0; s <= slotRead4; s++ {
		if d.table.get(s, owner) != nil {
			if d.shm == nil {
				return false
			}
			x, ok := d.shm.read()
			return ok && x.valid()
		}
	}
	return false
}

// rollsBack reports a reader that writes, because it found a hot journal. It
// goes for EXCLUSIVE without RESERVED (pager.c, sqlite3PagerSharedLock), and
// would keep the other readers out while it is held.
func (d *database) rollsBack(owner uint64, k Kind) bool {
	if k == KindWAL {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table.holds(slotShared, owner) && d.table.get(slotReserved, owner) == nil
}

func (x deadness) any() bool { return x.reads || x.writes }

// news returns a channel that is closed when the gate may admit again, or a
// Fence has come to its end. To be taken before the state is asked for.
func (g *Gate) news() <-chan struct{} {
	for {
		if ch := g.held.Load(); ch != nil {
			return *ch
		}
		ch := make(chan struct{})
		if g.held.CompareAndSwap(nil, &ch) {
			return ch
		}
	}
}

func (g *Gate) tellHeld() {
	if g.held.Load() == nil {
		return
	}
	if ch := g.held.Swap(nil); ch != nil {
		close(*ch)
	}
}

// settled reports whether a Fence has come to its end since the gate was open.
func (g *Gate) settled() bool { return g.cur.Load().settled.Load() }

// shutFor returns for how long the gate has admitted nothing: since it was
// fenced or revoked, or since its lease ran out, whichever came first.
func (g *Gate) shutFor() time.Duration {
	c, now := g.cur.Load(), g.now()
	at := c.shutAt.Load()
	if at == 0 {
		at = now
	}
	if until := c.until.Load(); until != 0 {
		at = min(at, until)
	}
	return time.Duration(now - at)
}
