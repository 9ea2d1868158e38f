package fusefs

import (
	"bytes"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	readLockOwner  = 1 << 1 // linux/fuse.h, FUSE_READ_LOCKOWNER
	writeLockOwner = 1 << 1 // FUSE_WRITE_LOCKOWNER
	writeCache     = 1 << 0 // FUSE_WRITE_CACHE: from the page cache, no handle to go by
)

func (f *rawFS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := f.files.get(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	buf = buf[:min(len(buf), int(in.Size))]
	if h.node.kind.virtual() {
		return fuse.ReadResultData(f.readVirtual(h, int64(in.Offset), buf)), fuse.OK
	}
	if h.lower == nil {
		return nil, fuse.EIO
	}
	if err := h.mayRead(in); err != nil {
		return nil, f.status(err)
	}
	n, err := pread(h.lower.fd, buf, int64(in.Offset))
	if err != nil {
		return nil, f.status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// mayRead refuses who was cut off, and waits for writes that are under way.
func (h *handle) mayRead(in *fuse.ReadIn) error {
	d := h.node.db
	switch h.node.kind {
	case KindWAL:
		if d.pipe.waitFor(int64(in.Offset)+int64(in.Size)) != nil {
			return errCut // the transaction has lost what it reads; its error is yet to be told
		}
	case KindDatabase:
		if d.pipe.waitPages() != nil {
			return errCut
		}
	default:
		return nil
	}
	var owner uint64
	if in.ReadFlags&readLockOwner != 0 {
		owner = in.LockOwner
	}
	if d.cut(owner, in.Pid).reads {
		return errCut
	}
	return nil
}

func (f *rawFS) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if len(data) == 1 {
		return f.Write(cancel, in, data[0])
	}
	return f.Write(cancel, in, bytes.Join(data, nil))
}

func (f *rawFS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := f.files.get(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	if in.WriteFlags&writeCache != 0 {
		if h.node.kind == KindDatabase {
			h.node.db.suspect.Store(true)
		}
		return 0, fuse.EIO // a changed page of a mapping: nobody asked the gate when it was changed
	}
	if h.node.kind == KindBlocked {
		return uint32(len(data)), fuse.OK // the command was the open; its reason is not kept
	}
	var owner uint64
	if in.WriteFlags&writeLockOwner != 0 {
		owner = in.LockOwner
	}
	if err := f.suspendWrite(cancel, h, owner); err != nil {
		return 0, f.status(err)
	}
	var n int
	var err error
	switch {
	case h.node.kind.virtual() || h.lower == nil:
		err = errForbidden
	case h.node.kind == KindWAL:
		n, err = h.node.db.writeWAL(waiter{cancel, in.Pid}, h, owner, data, int64(in.Offset))
	default:
		n, err = f.write(waiter{cancel, in.Pid}, h, owner, data, int64(in.Offset))
	}
	if err == nil && in.Flags&unix.O_DSYNC != 0 {
		err = h.sync()
	}
	return uint32(n), f.status(err)
}

// write is a write to anything but -wal and -shm.
func (f *FS) write(w waiter, h *handle, owner uint64, data []byte, off int64) (int, error) {
	t, err := f.enter(h.node.kind)
	if err == nil {
		var later bool
		later, err = f.writeBelow(t, w, h, owner, data, off)
		if !later {
			f.gate.Leave(t)
		}
	}
	if err == nil {
		return len(data), nil
	}
	if h.node.kind == KindDatabase {
		h.node.db.suspect.Store(true)
	}
	return 0, err
}

// writeBelow reports whether the write goes on later, with the ticket. Only one
// of the database does. SQLite changes a page once its old content is in the
// journal, and counts on that when it rolls back, so a journal's error must be
// told at once; of the database it restores what is in the journal, whatever
// became of its writes.
func (f *FS) writeBelow(t Ticket, w waiter, h *handle, owner uint64, data []byte, off int64) (later bool, err error) {
	d, k := h.node.db, h.node.kind
	if d == nil {
		return false, writeAll(h.lower.fd, data, off)
	}
	if err := d.mayWrite(owner, w.task, t); err != nil {
		return false, err
	}
	if err := f.keepsMode(h, data, off); err != nil {
		return false, err
	}
	commits := k == KindJournal && commitsJournal(data, off)
	if k == KindDatabase && d.writes(data, off) && f.still(t) {
		return d.later(lowerWrite{file: h.lower, off: off, ticket: t, kind: k}, data)
	}
	if err := d.finishFor(k); err != nil {
		return false, err
	}
	if k == KindJournal && off == 0 && len(data) > journalHeaderSize {
		d.cutOldJournal(h.lower.fd)
	}
	// These took time: look again right before the write.
	if !f.still(t) {
		return false, errFenced
	}
	err = writeAll(h.lower.fd, data, off)
	if known := d.knownSize(k); known != nil {
		known.wrote(off + int64(len(data)))
	}
	if err != nil || !commits {
		return false, err
	}
	d.committedJournal()
	d.cutJournal(h.lower.fd)
	return false, d.secondLook(t, w, nil)
}

// writes notes a write of the database file that is about to be carried out,
// and reports whether it is one of a rollback transaction: its commit point
// will ask what became of it.
func (d *database) writes(data []byte, off int64) bool {
	rollback := journalMode(d.mode.Load()) != modeWAL
	if rollback {
		d.dirty.Store(true)
	}
	if off == 0 && len(data) >= 100 {
		d.mode.Store(int32(modeOf(data[18])))
	}
	return rollback && d.inTx(0)
}

// inTx reports whether owner has a write transaction open; 0 = somebody. Only
// then is there a commit point that will ask what became of a write.
func (d *database) inTx(owner uint64) bool {
	return d.txOpen.Load() && !d.fs.hooks.inOrder.Load() && (owner == 0 || d.txOwner.Load() == owner)
}

// later hands a write to the pipe.
func (d *database) later(w lowerWrite, data []byte) (later bool, err error) {
	if err := d.pipe.add(w, data); err != nil {
		return false, err
	}
	d.knownSize(w.kind).wrote(w.off + int64(len(data)))
	return true, nil
}

// finishFor waits for the writes that one to a file of kind k depends on. A
// checkpoint depends on none: the frames under way are of another transaction.
func (d *database) finishFor(k Kind) error {
	if k == KindDatabase && journalMode(d.mode.Load()) == modeWAL {
		return nil
	}
	return d.pipe.finish()
}

func writeAll(fd int, data []byte, off int64) error {
	n, err := pwrite(fd, data, off)
	if err == nil && n != len(data) {
		err = syscall.EIO
	}
	return err
}

// still reports whether the first look of t still holds, where it matters.
func (f *FS) still(t Ticket) bool { return !f.cfg.Enforce || f.gate.Valid(t) }

// mayWrite refuses what belongs to a transaction that was cut off, or that was
// begun under another grant than t's.
func (d *database) mayWrite(owner uint64, task uint32, t Ticket) error {
	if !d.fs.cfg.Enforce {
		return nil
	}
	if d.dead.Load() != nil && (d.cutWriter() || (owner != 0 || task != 0) && d.cut(owner, task).writes) {
		return errFenced
	}
	if !d.txOpen.Load() {
		return nil
	}
	if e := d.txEpoch.Load(); e != t.Epoch() {
		if e != 0 || !d.txEpoch.CompareAndSwap(0, t.Epoch()) {
			return errFenced
		}
	}
	return d.takeBack(t)
}

func (f *rawFS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.files.get(in.Fh)
	if h == nil || h.lower == nil {
		return fuse.OK // our -shm is memory
	}
	return f.status(h.sync())
}

func (h *handle) sync() error {
	if d := h.node.db; d != nil {
		if err := d.pipe.finish(); err != nil {
			return err
		}
	}
	_, err := retry(func() (int, error) { return 0, unix.Fsync(h.lower.fd) })
	return err
}

// SetAttr truncates; modes, owners and times go the way of LiteFS, which
// accepts and forgets them.
func (f *rawFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	if err := f.setAttr(waiter{cancel, in.Pid}, n, in); err != nil {
		return f.status(err)
	}
	_, err := f.attr(n, nil, &out.Attr)
	return f.status(err)
}

func (f *FS) setAttr(w waiter, n *node, in *fuse.SetAttrIn) error {
	size, resize := in.GetSize()
	switch {
	case n.kind == KindBlocked:
		return nil // touch(1)
	case n.kind == KindPrimary:
		return errForbidden
	case n.shm != nil && resize:
		return unix.Ftruncate(n.shm.fd, int64(size))
	case n.shm != nil:
		return nil
	}
	t, err := f.enter(n.kind)
	if err != nil {
		return err
	}
	defer f.gate.Leave(t)
	if !resize {
		return nil // modes, owners, times: LiteFS says OK and forgets them
	}
	return f.truncate(w, n, in, int64(size), t)
}

func (f *FS) truncate(w waiter, n *node, in *fuse.SetAttrIn, size int64, t Ticket) error {
	if n.db != nil {
		var owner uint64
		if in.Valid&fuse.FATTR_LOCKOWNER != 0 {
			owner = in.LockOwner
		}
		if n.kind == KindWAL {
			n.db.walMu.Lock()
			defer n.db.walMu.Unlock()
		}
		if err := n.db.mayWrite(owner, 0, t); err != nil {
			return err
		}
		if err := n.db.pipe.finish(); err != nil {
			return err
		}
		if !f.still(t) {
			return errFenced
		}
	}
	err := f.truncateLower(n, in, size)
	switch {
	case n.kind == KindDatabase || n.kind == KindWAL:
		n.db.knownSize(n.kind).forget()
		if err == nil {
			n.db.knownSize(n.kind).last.Store(size)
		}
	case err == nil && n.kind == KindJournal && size == 0:
		n.db.knownSize(n.kind).forget()
		n.db.committedJournal()
		return n.db.secondLook(t, w, nil)
	}
	return err
}

func (f *FS) truncateLower(n *node, in *fuse.SetAttrIn, size int64) error {
	if fh, ok := in.GetFh(); ok {
		if h := f.files.get(fh); h != nil && h.lower != nil {
			_, err := retry(func() (int, error) { return 0, unix.Ftruncate(h.lower.fd, size) })
			return err
		}
	}
	l, err := f.openLower(n.name, unix.O_RDWR)
	if err != nil {
		return err
	}
	if n.kind == KindDatabase {
		// Its close would drop every lock that we hold.
		n.db.mu.Lock()
		defer n.db.mu.Unlock()
		n.db.retired = append(n.db.retired, l)
		defer n.db.sweep()
	} else {
		defer l.release()
	}
	_, err = retry(func() (int, error) { return 0, unix.Ftruncate(l.fd, size) })
	return err
}

// Unlink of the journal is DELETE mode's commit point. A -wal goes while
// fenced only if it is empty; one that a writer counts on never goes: LiteFS
// exits when it is missing at the WRITE unlock (db.go, CommitWAL).
func (f *rawFS) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.status(f.unlink(waiter{cancel, in.Pid}, name))
}

func (f *FS) unlink(w waiter, name string) error {
	base, k := parseName(name)
	switch k {
	case KindPrimary:
		return errForbidden
	case KindBlocked:
		return f.command(false)
	case KindSHM:
		return f.dbs.get(base).dropSHM()
	case KindWAL:
		return f.unlinkWAL(name, f.dbs.get(base))
	}
	t, err := f.enter(k)
	if err != nil {
		return err
	}
	later, err := f.unlinkBelow(t, w, name, base, k)
	if !later {
		f.gate.Leave(t)
	}
	return err
}

// unlinkBelow reports whether the ticket goes on to the request after this one.
func (f *FS) unlinkBelow(t Ticket, w waiter, name, base string, k Kind) (later bool, err error) {
	if k == KindJournal {
		if err := f.dbs.get(base).mayWrite(0, 0, t); err != nil {
			return false, err
		}
		if err := f.dbs.get(base).pipe.finish(); err != nil {
			return false, err
		}
		if !f.still(t) {
			return false, errFenced
		}
	}
	if err := f.unlinkLower(name); err != nil {
		return false, err
	}
	if k == KindDatabase {
		f.vanished(name, base, k)
	}
	if k == KindJournal {
		d := f.dbs.get(base)
		d.committedJournal()
		if later, err := d.putOff(t); later || err != nil {
			return later, err
		}
		return false, d.secondLook(t, w, nil)
	}
	return false, nil
}

func (f *FS) unlinkWAL(name string, d *database) error {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	d.mu.Lock()
	writer := d.table.holder(slotWrite) != nil
	d.mu.Unlock()
	if writer {
		return syscall.EBUSY
	}
	st, err := f.statLower(name)
	if err != nil {
		return err
	}
	if st.Size > 0 {
		t, err := f.enter(KindWAL)
		if err != nil {
			return err
		}
		defer f.gate.Leave(t)
	}
	return f.unlinkLower(name)
}

func (f *FS) unlinkLower(name string) error {
	_, err := retry(func() (int, error) { return 0, unix.Unlinkat(f.rootFD(), name, 0) })
	base, k := parseName(name)
	known := f.databaseFor(base, k).knownSize(k)
	switch {
	case err == nil && known != nil:
		known.setAbsent()
	case known != nil:
		known.forget()
	}
	if err == nil {
		f.nodes.drop(name)
	}
	return err
}
