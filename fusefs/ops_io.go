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

// journalHeaderSize is what PERSIST zeroes to commit (pager.c, zeroJournalHdr).
const journalHeaderSize = 28

var journalMagic = []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}

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
	if k := h.node.kind; in.ReadFlags&readLockOwner != 0 && (k == KindDatabase || k == KindWAL) && h.node.db.cut(in.LockOwner).reads {
		return nil, f.status(errCut)
	}
	n, err := pread(h.lower.fd, buf, int64(in.Offset))
	if err != nil {
		return nil, f.status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (f *rawFS) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if len(data) == 1 {
		return f.Write(cancel, in, data[0])
	}
	return f.Write(cancel, in, bytes.Join(data, nil))
}

func (f *rawFS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := f.files.get(in.Fh)
	if h == nil || in.WriteFlags&writeCache != 0 {
		return 0, fuse.EBADF
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
		n, err = h.node.db.writeWAL(h, owner, data, int64(in.Offset))
	default:
		n, err = f.write(h, owner, data, int64(in.Offset))
	}
	return uint32(n), f.status(err)
}

// write is a write to anything but -wal and -shm.
func (f *FS) write(h *handle, owner uint64, data []byte, off int64) (int, error) {
	t, err := f.enter(h.node.kind)
	if err != nil {
		return 0, err
	}
	defer f.gate.Leave(t)
	d := h.node.db
	if d != nil {
		if err := d.mayWrite(owner, t); err != nil {
			return 0, err
		}
		if err := f.keepsMode(h, data, off); err != nil {
			return 0, err
		}
		// These took time: look again right before the write.
		if !f.still(t) {
			return 0, errFenced
		}
	}
	n, err := pwrite(h.lower.fd, data, off)
	if err != nil {
		return n, err
	}
	if h.node.kind == KindJournal && commitsJournal(data, off) {
		if err := f.secondLook(t); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// commitsJournal reports the write by which PERSIST commits (LiteFS db.go,
// WriteJournalAt).
func commitsJournal(data []byte, off int64) bool {
	return off == 0 && len(data) == journalHeaderSize && bytes.Equal(data, make([]byte, journalHeaderSize))
}

// still reports whether the first look of t still holds, where it matters.
func (f *FS) still(t Ticket) bool { return !f.cfg.Enforce || f.gate.Valid(t) }

// mayWrite refuses what belongs to a transaction that was cut off, or that was
// begun under another grant than t's.
func (d *database) mayWrite(owner uint64, t Ticket) error {
	if !d.fs.cfg.Enforce {
		return nil
	}
	if d.cut(owner).writes || d.cutWriter() {
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
	return nil
}

// cutWriter reports that the one who may write a journal was cut off: the
// unlink of a journal names no owner, and one by a cut-off connection would
// commit half of what another has written.
func (d *database) cutWriter() bool {
	if d.deadOwners.Load() == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, h := d.table.holder(slotReserved)
	return h != nil && h.dead
}

// keepsMode refuses a change of journal mode away from WAL. LiteFS does not
// track page 1 of a WAL database, and its replicas die of the change.
func (f *FS) keepsMode(h *handle, data []byte, off int64) error {
	switch {
	case off != 0:
	case h.node.kind == KindDatabase && len(data) >= 100 && data[18] == 1 && h.node.db.walMode():
		return f.refuseMode(h.node.db)
	case h.node.kind == KindJournal && bytes.HasPrefix(data, journalMagic) && h.node.db.walMode():
		return f.refuseMode(h.node.db)
	}
	return nil
}

// mayJournal refuses the journal by which the change of mode begins.
func (f *FS) mayJournal(d *database) error {
	if d.walMode() {
		return f.refuseMode(d)
	}
	return nil
}

func (f *FS) refuseMode(d *database) error {
	f.log.Error("refused to change the journal mode away from WAL: it would kill every replica; copy the database (VACUUM INTO or .dump) into a new one instead",
		"db", d.name)
	return syscall.EPERM
}

func (f *rawFS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.files.get(in.Fh)
	if h == nil || h.lower == nil {
		return fuse.OK // our -shm is memory
	}
	_, err := retry(func() (int, error) { return 0, unix.Fsync(h.lower.fd) })
	return f.status(err)
}

// SetAttr truncates; modes, owners and times go the way of LiteFS, which
// accepts and forgets them.
func (f *rawFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	if err := f.setAttr(n, in); err != nil {
		return f.status(err)
	}
	return f.status(f.attr(n, &out.Attr))
}

func (f *FS) setAttr(n *node, in *fuse.SetAttrIn) error {
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
		return f.setOther(n, in)
	}
	return f.truncate(n, in, int64(size), t)
}

func (f *FS) truncate(n *node, in *fuse.SetAttrIn, size int64, t Ticket) error {
	if n.db != nil {
		var owner uint64
		if in.Valid&fuse.FATTR_LOCKOWNER != 0 {
			owner = in.LockOwner
		}
		if n.kind == KindWAL {
			n.db.walMu.Lock()
			defer n.db.walMu.Unlock()
		}
		if err := n.db.mayWrite(owner, t); err != nil {
			return err
		}
		if !f.still(t) {
			return errFenced
		}
	}
	err := f.truncateLower(n, in, size)
	if err == nil && n.kind == KindJournal && size == 0 {
		return f.secondLook(t)
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

// setOther passes modes, owners and times to LiteFS, for its answer.
func (f *FS) setOther(n *node, in *fuse.SetAttrIn) error {
	name, flags := n.name, 0
	if n.kind == KindRoot {
		name = "."
	}
	if mode, ok := in.GetMode(); ok {
		return unix.Fchmodat(f.rootFD(), name, mode, flags)
	}
	uid, uok := in.GetUID()
	gid, gok := in.GetGID()
	if uok || gok {
		return unix.Fchownat(f.rootFD(), name, int(int32(uid)), int(int32(gid)), flags)
	}
	return nil // times: LiteFS shows its own
}

// Unlink of the journal is DELETE mode's commit point. A -wal goes while
// fenced only if it is empty; one that a writer counts on never goes: LiteFS
// exits when it is missing at the WRITE unlock (db.go, CommitWAL).
func (f *rawFS) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.status(f.unlink(name))
}

func (f *FS) unlink(name string) error {
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
	defer f.gate.Leave(t)
	if k == KindJournal {
		if err := f.dbs.get(base).mayWrite(0, t); err != nil {
			return err
		}
		if !f.still(t) {
			return errFenced
		}
	}
	if err := f.unlinkLower(name); err != nil {
		return err
	}
	if k == KindDatabase {
		f.vanished(name, base, k)
		_ = f.dbs.get(base).dropSHM()
	}
	if k == KindJournal {
		return f.secondLook(t)
	}
	return nil
}

func (f *FS) unlinkWAL(name string, d *database) error {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	d.mu.Lock()
	_, writer := d.table.holder(slotWrite)
	d.mu.Unlock()
	if writer != nil {
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
	if err == nil {
		f.nodes.drop(name)
	}
	return err
}
