package fusefs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The kernel caches the pages of a database file. Whatever our applications
// write goes through that cache and keeps it right. What LiteFS writes beneath
// us (replication, HALT, recovery) does not; but it can only do that while we
// hold no lock that keeps its writers out. So the pages are compared with
// LiteFS's words for "changed", and dropped if they differ, when the first such
// lock is taken (entered), and when somebody reads without any (glance). The
// words are its replication position and, in WAL mode, its wal-index header: a
// HALT moves the WAL into the database without a new position.

// cacheState is what the cached pages are known to be. Guarded by database.mu.
type cacheState struct {
	pos      position // of the cached pages
	valid    bool
	posMoved bool // a rollback transaction of ours was committed; pos is read before SHARED is given back

	attrOut bool  // the kernel was told to keep attributes
	bump    int64 // ns added to the mtime; another one makes the kernel drop the pages
	glanced struct {
		pos   position
		index index
	}

	// What is known of the sizes while LiteFS cannot change them.
	file, wal, journal knownSize
}

// knownSize is a file's size as we know it, without asking LiteFS. Safe for
// concurrent use: WRITE must not wait for database.mu.
type knownSize struct {
	n   atomic.Int64  // size, or one of the two below
	gen atomic.Uint64 // counts changes, to tell that an answer from below is out of date

	last atomic.Int64 // size when it was last known
}

const (
	sizeUnknown = 0  // plus one, so that the zero value knows nothing
	sizeAbsent  = -1 // there is no such file
)

// get returns the size; absent and known say what it means.
func (k *knownSize) get() (size int64, absent, known bool) {
	n := k.n.Load()
	return n - 1, n == sizeAbsent, n != sizeUnknown
}

// forget makes it unknown.
func (k *knownSize) forget() {
	k.gen.Add(1)
	k.n.Store(sizeUnknown)
}

// set is told by one who has just made the file.
func (k *knownSize) set(size int64) {
	k.gen.Add(1)
	k.n.Store(size + 1)
}

func (k *knownSize) setAbsent() {
	k.gen.Add(1)
	k.n.Store(sizeAbsent)
}

// wrote records a write that ends at end.
func (k *knownSize) wrote(end int64) {
	k.gen.Add(1)
	raise(&k.last, end)
	for {
		n := k.n.Load()
		if n == sizeUnknown || n == sizeAbsent || n-1 >= end || k.n.CompareAndSwap(n, end+1) {
			return
		}
	}
}

// learn takes an answer from below in, if nothing has changed since gen.
func (k *knownSize) learn(gen uint64, n int64) {
	if k.gen.Load() != gen {
		return
	}
	k.n.Store(n)
	if k.gen.Load() != gen {
		k.n.Store(sizeUnknown)
	}
}

// position is LiteFS's -pos: TXID, slash, checksum, newline (LiteFS
// fuse/pos_node.go). Read in its exact length: beyond the end of a file the
// kernel asks for its size first.
type position [34]byte

// pins says which of LiteFS's writers are kept out: those of a database in
// rollback mode by SHARED, those of one in WAL mode by any of the others.
type pins struct{ db, wal bool }

func (d *database) pins() (p pins) {
	p.db = d.held[slotShared] != unlocked
	for s := slotWrite; s <= slotRead4; s++ {
		p.wal = p.wal || d.held[s] != unlocked
	}
	return p
}

// pinned reports whether LiteFS cannot change the database now.
func (d *database) pinned() bool {
	p := d.pins()
	switch journalMode(d.mode.Load()) {
	case modeRollback:
		return p.db
	case modeWAL:
		return p.wal
	}
	return false
}

// entered runs after a lower grant and before its answer: was is what was
// pinned before it.
func (d *database) entered(was pins) error {
	now := d.pins()
	if now == was {
		return nil
	}
	d.forgetSizes()
	changed := false
	if now.wal && !was.wal {
		var err error
		if changed, err = d.checkIndex(); err != nil {
			return err
		}
		d.keep.back.carried = changed
	}
	if now.wal && !was.wal || now.db && !was.db {
		d.validate(changed)
	}
	return nil
}

// validate drops the cached pages if LiteFS has changed the database. Called
// with mu held. Nothing that READ and WRITE wait for may wait for mu: dropping
// a page waits for them.
func (d *database) validate(changed bool) {
	pos, err := d.positionLocked()
	c := &d.cache
	if err == nil && c.valid && !changed && (pos == c.pos || c.posMoved) {
		c.pos, c.posMoved = pos, false
		return
	}
	c.pos, c.valid, c.posMoved = pos, err == nil, false
	d.mode.Store(int32(modeUnknown))
	_ = d.journalMode(nil)
	d.dropPages()
}

// glance is for somebody who holds no lock: he may see a transaction half
// applied, as on LiteFS itself, but never what was there long ago. The pages go
// by another mtime in the answer. A notice would not do: the kernel ignores
// attributes that were asked for before it (linux fs/fuse/inode.c,
// fuse_change_attributes_i), the new size among them. When the kernel takes the
// answer in is its own affair, so those who take locks cannot rely on it, and
// have a record of their own.
func (d *database) glance() {
	c := &d.cache
	if d.suspect.Load() {
		c.bump++
	}
	if d.pinned() || d.file == nil {
		return
	}
	pos, err := d.positionLocked()
	changed := err != nil || pos != c.glanced.pos
	var theirs index
	if d.shmLocks != nil {
		theirs, err = d.indexBelow()
		changed = changed || err != nil || theirs != c.glanced.index
	} else if d.journalMode(nil) != modeRollback {
		changed = true
	}
	if changed {
		c.glanced.pos, c.glanced.index = pos, theirs
		c.bump++
	}
}

// dropPages makes the kernel forget the database's pages and attributes.
func (d *database) dropPages() {
	d.cache.attrOut = false
	d.forgetSizes()
	d.fs.count.dropped.Add(1)
	d.notify(0)
}

// beforeRelease runs before SHARED is given back below: LiteFS cannot have
// moved the position yet, so what it is now is our own doing.
func (d *database) beforeRelease() {
	if c := &d.cache; c.posMoved {
		pos, err := d.positionLocked()
		c.pos, c.valid, c.posMoved = pos, c.valid && err == nil, false
	}
}

// released runs after a lock below was given back.
func (d *database) released() {
	if !d.pinned() {
		d.forgetAttr()
	}
}

// forgetAttr makes an end of the attributes that were to be kept.
func (d *database) forgetAttr() {
	c := &d.cache
	d.forgetSizes()
	if c.attrOut {
		c.attrOut = false
		d.notify(onlyAttr)
	}
}

// onlyAttr is the offset of a notice that is about attributes and no pages
// (linux fs/fuse/inode.c, fuse_reverse_inval_inode).
const onlyAttr = -1

// notify makes the kernel forget the database file's pages from off on, and its
// attributes.
func (d *database) notify(off int64) {
	var ids [4]uint64 // a notice may wait for a request that needs the node table
	list := ids[:0]
	d.fs.nodes.each(d, func(id uint64) { list = append(list, id) })
	for _, id := range list {
		d.fs.server.InodeNotify(id, off, 0)
	}
}

// committedJournal records a commit point of a rollback transaction.
func (d *database) committedJournal() {
	d.dirty.Store(false)
	d.mu.Lock()
	if c := &d.cache; d.held[slotShared] == unlocked {
		c.valid = false // nobody can tell it from a change of LiteFS's
	} else {
		c.posMoved = true
	}
	d.mu.Unlock()
}

// committedWAL records that our commit moved the position.
func (d *database) committedWAL(before, after position) {
	d.mu.Lock()
	if d.cache.pos == before {
		d.cache.pos = after
	}
	d.mu.Unlock()
}

// endExclusive runs when a rollback transaction ends. One that has written and
// not committed leaves pages in the cache that LiteFS may roll back beneath it.
func (d *database) endExclusive() {
	if d.dirty.Swap(false) {
		d.cache.valid = false
	}
}

// positionLocked reads LiteFS's replication position. Called with mu held.
func (d *database) positionLocked() (pos position, err error) {
	if d.pos == nil {
		if d.pos, err = d.fs.openLower(d.name+"-pos", unix.O_RDONLY); err != nil {
			return pos, err
		}
	}
	return d.pos.position()
}

// position reads a -pos.
func (l *lowerFile) position() (pos position, err error) {
	_, err = pread(l.fd, pos[:], 0)
	return pos, err
}

// positionBefore is the position at the begin of a WAL transaction of ours.
func (d *database) positionBefore() (position, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cache.valid && !d.cache.posMoved {
		return d.cache.pos, nil
	}
	return d.positionLocked()
}

// positionAfter is the position after LiteFS has been told to commit.
func (d *database) positionAfter() (position, error) {
	d.mu.Lock()
	l := d.pos
	if l == nil {
		defer d.mu.Unlock()
		return d.positionLocked()
	}
	l.refs.Add(1)
	d.mu.Unlock()
	defer l.release()
	return l.position()
}

// journalMode is what a database's header says (sqlite.org/fileformat.html,
// bytes 18 and 19).
type journalMode int32

const (
	modeUnknown journalMode = iota
	modeRollback
	modeWAL
)

func modeOf(version byte) journalMode {
	if version == 2 {
		return modeWAL
	}
	return modeRollback
}

// journalMode returns the mode, from below where it is not known. l is a file
// of the database to read from, nil = the one that mu guards.
func (d *database) journalMode(l *lowerFile) journalMode {
	if m := journalMode(d.mode.Load()); m != modeUnknown {
		return m
	}
	if l == nil {
		l = d.file
	}
	if l == nil {
		var err error
		if l, err = d.fs.openLower(d.name, unix.O_RDWR); err != nil {
			return modeUnknown
		}
		d.retired = append(d.retired, l)
		defer d.sweep()
	}
	var b [2]byte
	if n, err := pread(l.fd, b[:], 18); err != nil || n != len(b) {
		return modeUnknown
	}
	m := modeRollback
	if b == [2]byte{2, 2} {
		m = modeWAL
	}
	d.mode.Store(int32(m))
	return m
}

// inWALMode is journalMode for who does not hold mu.
func (d *database) inWALMode() bool {
	if m := journalMode(d.mode.Load()); m != modeUnknown {
		return m == modeWAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.journalMode(nil) == modeWAL
}

// endPages waits for the database writes of a rollback transaction that ends.
// One that failed was told to nobody, and nobody is left to tell; the journal
// has what was there before.
func (d *database) endPages() {
	if err := d.pipe.finish(); err != nil {
		d.fs.log.Debug("pages of an ended transaction were not written", "db", d.name, "err", err)
	}
}

// attrKept is how long the kernel may keep attributes that we take back by a
// notice as soon as they may change.
const attrKept = 3600 // seconds

// knownSize returns the record of a file of kind k, nil if none is kept.
func (d *database) knownSize(k Kind) *knownSize {
	switch {
	case d == nil:
		return nil
	case k == KindDatabase:
		return &d.cache.file
	case k == KindWAL:
		return &d.cache.wal
	case k == KindJournal:
		return &d.cache.journal
	}
	return nil
}

func (d *database) forgetSizes() {
	d.cache.file.forget()
	d.cache.wal.forget()
	d.cache.journal.forget()
}

// stat answers for the attributes of the database, its -wal or its -journal, by
// l if it is not nil. What is known is not asked for again: SQLite looks for a
// -journal and a -wal at every begin of a read. seconds is how long the kernel
// may keep the answer. While somebody is cut off from reading that is never:
// the kernel then asks before every read, which is where he is told.
func (d *database) stat(k Kind, l *lowerFile) (st unix.Stat_t, seconds uint64, err error) {
	if l == nil && d.orphaned.Load() {
		// By name, as LiteFS does, whosoever it is by now.
		st, err = d.fs.statLower(d.name + k.suffix())
		return st, 0, err
	}
	known := d.knownSize(k)
	var bump int64
	d.mu.Lock()
	if k == KindDatabase {
		d.glance()
		bump = d.cache.bump
	}
	pinned := d.pinned() && d.dead.Load() == nil
	size, absent, ok := known.get()
	if pinned && ok {
		seconds = d.kept(k)
		d.mu.Unlock()
		if absent {
			return st, 0, unix.ENOENT
		}
		return bumped(d.fs.statOf(size), bump), seconds, nil
	}
	gen := known.gen.Load()
	d.mu.Unlock()
	d.pipe.wait()
	if l != nil {
		st, err = fstat(l.fd)
	} else {
		st, err = d.fs.statLower(d.name + k.suffix())
	}
	switch {
	case k != KindDatabase:
	case err == unix.ENOENT && l != nil:
		// Dropped. The kernel asks before every read, and who has it open may
		// read on (LiteFS stats by name even then).
		return bumped(d.fs.statOf(known.last.Load()), bump), 0, nil
	case err == nil:
		known.last.Store(st.Size)
		st = bumped(st, bump)
	}
	if !pinned || err != nil && err != unix.ENOENT {
		return st, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.pinned() || d.dead.Load() != nil {
		return st, 0, err
	}
	if err != nil {
		known.learn(gen, sizeAbsent)
		return st, 0, err
	}
	known.learn(gen, st.Size+1)
	if _, _, ok := known.get(); !ok {
		return st, 0, nil
	}
	return st, d.kept(k), nil
}

func bumped(st unix.Stat_t, ns int64) unix.Stat_t {
	st.Mtim = unix.NsecToTimespec(st.Mtim.Nano() + ns)
	return st
}

// kept returns for how long the kernel may keep attributes of a file of kind k,
// and remembers to take them back. Called with mu held.
func (d *database) kept(k Kind) uint64 {
	if k != KindDatabase {
		return 0
	}
	d.cache.attrOut = true
	return attrKept
}
