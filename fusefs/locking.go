package fusefs

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// request asks for a lock of typ on slots of one file, for an owner above.
type request struct {
	owner, fh uint64
	pid       uint32
	typ       lockType
	slots     []slot
}

// beginsRead reports whether r is among the locks by which a transaction
// starts to read. SQLite takes PENDING on its way to SHARED (os_unix.c,
// unixLock), so it is there that a reader must wait: with PENDING in hand it
// would keep out the very writer it waits for.
func (r request) beginsRead() bool {
	for _, s := range r.slots {
		if s.walRead() || r.typ == shared && (s == slotPending || s == slotShared) {
			return true
		}
	}
	return false
}

// holdBack makes a transaction that starts to read wait while new ones are
// held back. One that is under way passes. One that already has PENDING is
// told BUSY, and drops it.
func (d *database) holdBack(ctx context.Context, cancel <-chan struct{}, r request) error {
	if !r.beginsRead() || !d.pause.on() {
		return nil
	}
	d.mu.Lock()
	reading, pending := false, d.table.get(slotPending, r.owner) != nil
	for s := slotShared; s <= slotRead4; s++ {
		if s.inSHM() == r.slots[0].inSHM() && d.table.get(s, r.owner) != nil {
			reading = true
		}
	}
	d.mu.Unlock()
	switch {
	case reading:
		return nil
	case pending && !r.slots[0].inSHM():
		return syscall.EAGAIN
	}
	return d.pause.wait(ctx, cancel)
}

// tryLock grants all of r or nothing. EAGAIN: somebody else holds one of them.
func (d *database) tryLock(r request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range r.slots {
		if _, h := d.table.conflict(s, r.owner, r.typ); h != nil {
			return syscall.EAGAIN
		}
		if h := d.table.get(s, r.owner); h != nil && h.dead && r.typ > h.typ {
			return errCut
		}
	}
	entering := !d.indexInUse()
	undo, err := d.lockBelow(r)
	if err == nil && entering && d.indexInUse() {
		err = d.checkIndex()
	}
	if err != nil {
		undo()
		return err
	}
	d.record(r)
	return nil
}

// lockBelow takes for every slot what must be held once r is granted. LiteFS
// keeps the part it got of a range of which a later part failed (db.go,
// TryLocks), so the slots are taken one by one and undo restores them all.
func (d *database) lockBelow(r request) (undo func(), err error) {
	type change struct {
		s   slot
		was lockType
	}
	var done []change
	undo = func() {
		for i := len(done) - 1; i >= 0; i-- {
			_ = d.setBelow(done[i].s, done[i].was)
		}
		d.sweep()
	}
	for _, s := range r.slots {
		with := r.typ
		if h := d.table.get(s, r.owner); h != nil && h.dead {
			with = unlocked
		}
		want := d.table.below(s, r.owner, with)
		if want == d.held[s] {
			continue
		}
		was := d.held[s]
		if err := d.setBelow(s, want); err != nil {
			return undo, err
		}
		done = append(done, change{s, was})
	}
	return undo, nil
}

// record writes a grant into the table.
func (d *database) record(r request) {
	for _, s := range r.slots {
		h := hold{typ: r.typ, fh: r.fh, pid: r.pid}
		if old := d.table.get(s, r.owner); old != nil {
			h.dead = old.dead
		}
		if r.typ == exclusive && (s == slotWrite || s == slotReserved) {
			d.txEpoch.Store(0)
			d.txOpen.Store(true)
			if s == slotWrite {
				d.writeSeq.Add(1)
			}
		}
		weaker := false
		if old := d.table.get(s, r.owner); old != nil {
			weaker = r.typ < old.typ
		}
		d.table.set(s, r.owner, h)
		if weaker {
			d.wake()
		}
	}
}

// setBelow makes our one owner hold typ of s in LiteFS.
func (d *database) setBelow(s slot, typ lockType) error {
	l := d.file
	if s.inSHM() {
		l = d.shmLocks
	}
	if l == nil {
		return syscall.EBADF
	}
	start, size := s.bytesOf()
	err := setLock(l.fd, fcntlType(typ), start, size)
	if err == nil || typ == unlocked {
		// An unlock that LiteFS cannot hear any more has happened: it is dead.
		d.held[s] = typ
	}
	return err
}

func fcntlType(t lockType) int16 {
	switch t {
	case shared:
		return unix.F_RDLCK
	case exclusive:
		return unix.F_WRLCK
	}
	return unix.F_UNLCK
}

// unlock drops what owner holds of slots.
func (d *database) unlock(owner uint64, which []slot) error {
	var err error
	for _, s := range which {
		if s == slotWrite {
			err = d.endWrite(owner)
		}
	}
	d.mu.Lock()
	reserved := false
	for _, s := range which {
		if h := d.table.get(s, owner); h != nil && s == slotReserved && h.typ == exclusive {
			reserved = true
		}
	}
	var free func()
	if reserved && d.fs.fencing() {
		// A journal that it could not take away is hot from now on.
		free = d.pause.start()
	}
	for _, s := range which {
		d.table.set(s, owner, hold{})
		if want := d.table.strongest(s); want != d.held[s] {
			err = errors.Join(err, d.setBelow(s, want))
		}
	}
	if reserved {
		d.txOpen.Store(false)
	}
	d.countDead()
	d.sweep()
	d.wake()
	d.mu.Unlock()
	if free != nil {
		d.repairLater(free)
	}
	return err
}

// releaseOwner drops every lock that owner has on one of the two files, as
// POSIX does when it closes any descriptor of it.
func (d *database) releaseOwner(owner uint64, shm bool) {
	d.mu.Lock()
	var which []slot
	for s := range slots {
		if s.inSHM() == shm && d.table.get(s, owner) != nil {
			which = append(which, s)
		}
	}
	d.mu.Unlock()
	if len(which) > 0 {
		if err := d.unlock(owner, which); err != nil {
			d.fs.log.Debug("unlock below failed", "db", d.name, "err", err)
		}
	}
}

// releaseHandle drops what FLUSH left, by file handle: it can be skipped, and
// locks of an open file description get none.
func (d *database) releaseHandle(fh uint64, shm bool) {
	d.mu.Lock()
	left := map[uint64][]slot{}
	for s := range slots {
		for owner, h := range d.table[s] {
			if s.inSHM() == shm && h.fh == fh {
				left[owner] = append(left[owner], s)
			}
		}
	}
	d.mu.Unlock()
	for owner, which := range left {
		if err := d.unlock(owner, which); err != nil {
			d.fs.log.Debug("unlock below failed", "db", d.name, "err", err)
		}
	}
}

// query answers F_GETLK: a hold that stands in the way, above or below.
func (d *database) query(r request) (s slot, typ lockType, pid uint32, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range r.slots {
		if at, h := d.table.conflict(s, r.owner, r.typ); h != nil {
			return at, h.typ, h.pid, nil
		}
	}
	for _, s := range r.slots {
		l := d.file
		if s.inSHM() {
			l = d.shmLocks
		}
		if l == nil {
			return 0, unlocked, 0, syscall.EBADF
		}
		start, size := s.bytesOf()
		lk := unix.Flock_t{Type: fcntlType(r.typ), Whence: unix.SEEK_SET, Start: start, Len: size}
		if _, err := retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(l.fd), unix.F_GETLK, &lk) }); err != nil {
			return 0, unlocked, 0, err
		}
		switch lk.Type {
		case unix.F_RDLCK:
			return s, shared, 0, nil
		case unix.F_WRLCK:
			return s, exclusive, 0, nil
		}
	}
	return 0, unlocked, 0, nil
}

// countDead publishes which owners were cut off. Called with mu held.
func (d *database) countDead() {
	var m map[uint64]deadness
	for s := range slots {
		for owner, h := range d.table[s] {
			if h.dead {
				if m == nil {
					m = map[uint64]deadness{}
				}
				was := m[owner]
				m[owner] = deadness{writes: true, reads: was.reads || s == slotShared || s.walRead()}
			}
		}
	}
	if m == nil {
		d.deadOwners.Store(nil)
		return
	}
	d.deadOwners.Store(&m)
}

// cut reports what owner may no longer do.
func (d *database) cut(owner uint64) deadness {
	if m := d.deadOwners.Load(); m != nil {
		return (*m)[owner]
	}
	return deadness{}
}
