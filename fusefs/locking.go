package fusefs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// request asks for a lock of typ on slots of one file, for an owner above.
type request struct {
	owner, fh uint64
	pid       uint32
	typ       lockType
	slots     slotSet
	shm       bool
}

// beginsRead reports whether r is among the locks by which a transaction
// starts to read. SQLite takes PENDING on its way to SHARED (os_unix.c,
// unixLock), so it is there that a reader must wait: with PENDING in hand it
// would keep out the very writer it waits for.
func (r request) beginsRead() bool {
	return r.slots&readSlots != 0 || r.typ == shared && (r.slots.has(slotPending) || r.slots.has(slotShared))
}

// hold returns what r's owner has of s once r is granted.
func (r request) hold(s slot) hold {
	return hold{
		owner: r.owner, fh: r.fh, pid: r.pid, typ: r.typ,
		mark: r.typ == exclusive && restartSlots.has(s) && r.slots&restartSlots != restartSlots,
	}
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
		if s.inSHM() == r.shm && d.table.get(s, r.owner) != nil {
			reading = true
		}
	}
	d.mu.Unlock()
	switch {
	case reading:
		return nil
	case pending && !r.shm:
		return syscall.EAGAIN
	}
	return d.pause.wait(ctx, cancel)
}

// holdReaders holds new read grants back until free is called, and gives up
// what is only kept below.
func (d *database) holdReaders() (free func()) {
	free = d.pause.start()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropKept()
	return free
}

// tryLock grants all of r or nothing. EAGAIN: somebody else holds one of them.
func (d *database) tryLock(r request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.tryLocked(r)
	if r.typ == shared && r.slots&readSlots != noSlots {
		d.keep.back.tried(r.owner, err, time.Now())
	}
	return err
}

func (d *database) tryLocked(r request) error {
	if d.orphaned.Load() {
		return syscall.EBADF
	}
	for s := range slots {
		if !r.slots.has(s) {
			continue
		}
		if _, h := d.table.conflict(s, r.owner, r.typ); h != nil {
			return syscall.EAGAIN
		}
		if h := d.table.get(s, r.owner); h != nil && h.dead && r.typ > h.typ {
			return errCut
		}
	}
	was := d.pins()
	undo, err := d.lockBelow(r)
	if err == nil {
		err = d.entered(was)
	}
	if err != nil {
		undo.run(d)
		return err
	}
	if r.beginsRead() && d.suspect.Swap(false) {
		d.dropPages()
	}
	d.record(r)
	return nil
}

// changes is what was held below before a grant, to restore it.
type changes struct {
	n    int
	list [slots]struct {
		s   slot
		was lockType
	}
}

func (c *changes) run(d *database) {
	for i := c.n - 1; i >= 0; i-- {
		_ = d.setBelow(c.list[i].s, c.list[i].was)
	}
	d.sweep()
}

// lockBelow takes for every slot what must be held once r is granted. LiteFS
// keeps the part it got of a range of which a later part failed (db.go,
// TryLocks), so the slots are taken one by one and undo restores them all.
func (d *database) lockBelow(r request) (undo changes, err error) {
	for s := range slots {
		if !r.slots.has(s) {
			continue
		}
		want := d.wantedWith(s, r)
		if want <= d.held[s] {
			continue // what is more than wanted is given back at an unlock
		}
		undo.list[undo.n].s, undo.list[undo.n].was = s, d.held[s]
		if err := d.setBelow(s, want); err != nil {
			return undo, err
		}
		undo.n++
	}
	return undo, nil
}

// wantedWith is wanted as if r were granted.
func (d *database) wantedWith(s slot, r request) lockType {
	was := hold{owner: r.owner}
	if old := d.table.get(s, r.owner); old != nil {
		was = *old
	}
	if was.dead {
		return d.wanted(s)
	}
	d.table.set(s, r.hold(s))
	want := d.wanted(s)
	d.table.set(s, was)
	return want
}

// wanted returns what our one owner must hold of s in LiteFS for those above.
//
// PENDING, RESERVED and DMS stay above. LiteFS's own writers are kept out by
// SHARED, which SQLite holds with PENDING and RESERVED (os_unix.c, unixLock);
// DMS guards the birth of -shm, and that is our own. Of READ0-4 any one keeps
// LiteFS's writers out (db.go, TryAcquireWriteLock), so one is enough for all
// who read; exclusive ones go below, because a snapshot of LiteFS's holds all
// five against checkpoints and restarts of the WAL (WriteSnapshotTo). With one
// of them held WRITE is free below but for the moment in which a snapshot
// begins, so it is taken with the first frame (ensureWrite).
func (d *database) wanted(s slot) lockType {
	most := d.table.strongest(s)
	switch {
	case s == slotPending, s == slotReserved, s == slotDMS:
		return unlocked
	case s == slotWrite && most == exclusive && d.held[slotWrite] == unlocked && d.reads() != noSlots:
		return unlocked
	case readSlots.has(s) && most == shared && d.held[s] == unlocked && d.reads() != noSlots:
		return unlocked
	}
	return most
}

// reads returns which of READ0-4 are held below.
func (d *database) reads() (set slotSet) {
	for s := slotRead0; s <= slotRead4; s++ {
		if d.held[s] != unlocked {
			set |= 1 << s
		}
	}
	return set
}

// record writes a grant into the table.
func (d *database) record(r request) {
	weaker := false
	for s := range slots {
		if !r.slots.has(s) {
			continue
		}
		h := r.hold(s)
		if old := d.table.get(s, r.owner); old != nil {
			h.dead = old.dead
			weaker = weaker || r.typ < old.typ
		}
		if r.typ == exclusive && (s == slotWrite || s == slotReserved) {
			d.txEpoch.Store(0)
			d.txOwner.Store(r.owner)
			d.txOpen.Store(true)
			if s == slotWrite {
				d.writeSeq.Add(1)
			}
		}
		d.table.set(s, h)
	}
	if weaker {
		if r.slots.has(slotShared) {
			d.endExclusive()
		}
		if err := d.settleBelow(r.slots); err != nil {
			d.unlockFailed(err)
		}
		d.wake()
	}
}

// setBelow makes our one owner hold typ of s in LiteFS.
func (d *database) setBelow(s slot, typ lockType) error {
	if d.held[s] == typ {
		return nil
	}
	l := d.lockFile(s)
	if l == nil {
		return syscall.EBADF
	}
	if typ == unlocked && s == slotShared {
		d.beforeRelease()
	}
	err := s.lock(l, typ)
	if err == nil || typ == unlocked {
		// An unlock that LiteFS cannot hear any more has happened: it is dead.
		d.held[s] = typ
	}
	if typ == unlocked {
		d.released()
	}
	return err
}

// lockFile is the lower file through which s is locked; nil = none is open.
func (d *database) lockFile(s slot) *lowerFile {
	if s.inSHM() {
		return d.shmLocks
	}
	return d.file
}

// lock makes this process hold typ of s through l.
func (s slot) lock(l *lowerFile, typ lockType) error {
	start, size := s.bytesOf()
	return setLock(l.fd, fcntlType(typ), start, size)
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

// settleBelow gives back what nobody above needs of which, but for shared locks
// that are worth keeping.
func (d *database) settleBelow(which slotSet) error {
	if which&readSlots != 0 {
		which |= readSlots // the one that stands for all may be another
	}
	var errs error
	for s := range slots {
		if !which.has(s) || s == slotWrite {
			continue // WRITE is given back by dropWrite, which cancels first
		}
		if err := d.settleSlot(s); err != nil {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

func (d *database) settleSlot(s slot) error {
	want := d.wanted(s)
	if want >= d.held[s] {
		return nil
	}
	if want == unlocked && (s == slotShared || readSlots.has(s)) {
		only := !readSlots.has(s) || d.reads() == 1<<s
		switch {
		case only && readSlots.has(s) && d.readersAbove():
			want = shared // the one lock that stands for all of them
		case only && d.keep.use(d):
			want = shared
		}
	}
	return d.setBelow(s, want)
}

// readersAbove reports whether somebody needs LiteFS's writers kept out of the
// WAL: a reader, or a writer whose WRITE is not yet taken below.
func (d *database) readersAbove() bool {
	for s := slotRead0; s <= slotRead4; s++ {
		if d.table.strongest(s) != unlocked {
			return true
		}
	}
	return d.table.strongest(slotWrite) != unlocked
}

// unlock drops what owner holds of which.
func (d *database) unlock(owner uint64, which slotSet) error {
	var err error
	settle := which
	if which.has(slotWrite) {
		err = d.endWrite(owner)
		settle |= readSlots // one of them may have stayed below for it
	}
	d.mu.Lock()
	reserved := which.has(slotReserved) && d.table.holds(slotReserved, owner)
	if reserved {
		d.mu.Unlock()
		d.endPages()
		d.mu.Lock()
	}
	if which.has(slotShared) && d.table.holds(slotShared, owner) {
		d.endExclusive()
	}
	var free func()
	if reserved && d.fs.fencing() {
		// A journal that it could not take away is hot from now on.
		free = d.pause.start()
	}
	for s := range slots {
		if which.has(s) && s != slotWrite {
			d.table.drop(s, owner)
		}
	}
	err = errors.Join(err, d.settleBelow(settle))
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
	var which slotSet
	for s := range slots {
		if s.inSHM() == shm && d.table.get(s, owner) != nil {
			which |= 1 << s
		}
	}
	d.mu.Unlock()
	if which != noSlots {
		if err := d.unlock(owner, which); err != nil {
			d.unlockFailed(err)
		}
	}
}

// releaseHandle drops what FLUSH left, by file handle: it can be skipped, and
// locks of an open file description get none.
func (d *database) releaseHandle(fh uint64, shm bool) {
	d.forgetUnconfirmed(fh)
	d.mu.Lock()
	var left map[uint64]slotSet
	for s := range slots {
		for _, h := range d.table[s] {
			if s.inSHM() == shm && h.fh == fh {
				if left == nil {
					left = map[uint64]slotSet{}
				}
				left[h.owner] |= 1 << s
			}
		}
	}
	d.mu.Unlock()
	for owner, which := range left {
		if err := d.unlock(owner, which); err != nil {
			d.unlockFailed(err)
		}
	}
}

func (d *database) unlockFailed(err error) {
	d.fs.log.Debug("unlock below failed", "db", d.name, "err", err)
}

// query answers F_GETLK: a hold that stands in the way, above or below.
func (d *database) query(r request) (s slot, typ lockType, pid uint32, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.orphaned.Load() {
		return 0, unlocked, 0, syscall.EBADF
	}
	for s := range slots {
		if !r.slots.has(s) {
			continue
		}
		if at, h := d.table.conflict(s, r.owner, r.typ); h != nil && !(s == slotReserved && d.leftHot(h)) {
			return at, h.typ, h.pid, nil
		}
	}
	for s := range slots {
		if !r.slots.has(s) || s == slotDMS {
			continue
		}
		if typ, err := d.queryBelow(s, r.typ); err != nil || typ != unlocked {
			return s, typ, 0, err
		}
	}
	return 0, unlocked, 0, nil
}

// leftHot reports that h is the RESERVED lock of a writer that was cut off after
// it had begun to change the database. By this lock SQLite tells a journal that
// is in use from one that has to be rolled back (pager.c, hasHotJournal).
func (d *database) leftHot(h *hold) bool {
	x := d.table.holder(slotShared)
	return h.dead && x != nil && x.dead && x.owner == h.owner
}

// queryBelow asks LiteFS which lock of its own stands in the way of typ on s.
func (d *database) queryBelow(s slot, typ lockType) (lockType, error) {
	l := d.lockFile(s)
	if l == nil {
		return unlocked, syscall.EBADF
	}
	start, size := s.bytesOf()
	lk := unix.Flock_t{Type: fcntlType(typ), Whence: unix.SEEK_SET, Start: start, Len: size}
	if _, err := retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(l.fd), unix.F_GETLK, &lk) }); err != nil {
		return unlocked, err
	}
	switch lk.Type {
	case unix.F_RDLCK:
		return shared, nil
	case unix.F_WRLCK:
		return exclusive, nil
	}
	return unlocked, nil
}
