package fusefs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Locks pass while fenced: without them nobody reads. flock never comes here,
// the kernel keeps it.

func lockTypeOf(typ uint32) (lockType, bool) {
	switch typ {
	case unix.F_RDLCK:
		return shared, true
	case unix.F_WRLCK:
		return exclusive, true
	case unix.F_UNLCK:
		return unlocked, true
	}
	return 0, false
}

// lockTarget returns the database whose lock table in stands for, nil if the
// file has none.
func (f *FS) lockTarget(in *fuse.LkIn) (*database, request, error) {
	n := f.nodes.get(in.NodeId)
	typ, ok := lockTypeOf(in.Lk.Typ)
	if n == nil || !ok {
		return nil, request{}, syscall.EINVAL
	}
	if n.kind != KindDatabase && n.kind != KindSHM {
		return nil, request{}, nil
	}
	return n.db, request{
		owner: in.Owner, fh: in.Fh, pid: in.Lk.Pid, typ: typ,
		slots: slotsIn(n.kind == KindSHM, in.Lk.Start, in.Lk.End), shm: n.kind == KindSHM,
	}, nil
}

func (f *rawFS) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	d, r, err := f.lockTarget(in)
	if err != nil {
		return f.status(err)
	}
	out.Lk = in.Lk
	out.Lk.Typ = unix.F_UNLCK
	if d == nil {
		return f.getLockBelow(in, out)
	}
	s, typ, pid, err := d.query(r)
	if err != nil {
		return f.status(err)
	}
	if typ != unlocked {
		start, size := s.bytesOf()
		out.Lk = fuse.FileLock{Start: uint64(start), End: uint64(start + size - 1), Typ: uint32(fcntlType(typ)), Pid: pid}
	}
	return fuse.OK
}

func (f *rawFS) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return f.status(f.setLk(cancel, in, false))
}

func (f *rawFS) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return f.status(f.setLk(cancel, in, true))
}

func (f *FS) setLk(cancel <-chan struct{}, in *fuse.LkIn, wait bool) error {
	d, r, err := f.lockTarget(in)
	if err != nil {
		return err
	}
	if d == nil {
		return f.setLockBelow(cancel, in, wait)
	}
	u := d.takeUnconfirmed(r)
	if u == nil {
		return d.setLk(cancel, r, wait)
	}
	// SQLite gives EXCLUSIVE up now, and nobody has been told of its commit. The
	// lock is changed all the same: after an error SQLite goes on to unlock.
	defer u.end()
	doubt := d.secondLook(u.ticket, waiter{cancel, in.Pid}, &u.at)
	if err := d.setLk(cancel, r, wait); doubt == nil {
		return err
	}
	return doubt
}

func (d *database) setLk(cancel <-chan struct{}, r request, wait bool) error {
	if r.typ == unlocked {
		return d.unlock(r.owner, r.slots)
	}
	f := d.fs
	if err := d.holdBack(f.workers.ctx, cancel, r); err != nil && !(wait && err == syscall.EAGAIN) {
		return err
	}
	if err := d.suspendLock(cancel, r); err != nil {
		return err
	}
	if !wait {
		return d.tryLock(r)
	}
	return d.waitLock(f.workers.ctx, cancel, r)
}

// pollBelow is how often a waiting lock is tried against LiteFS's own holders,
// of whose unlock nobody tells us.
const pollBelow = 5 * time.Millisecond

// waitLock tries until r is granted, for F_SETLKW, which LiteFS does not have.
func (d *database) waitLock(ctx context.Context, cancel <-chan struct{}, r request) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if err := d.tryLock(r); err != syscall.EAGAIN {
			return err
		}
		timer.Reset(pollBelow)
		select {
		case <-changed:
		case <-timer.C:
		case <-cancel:
			return syscall.EINTR
		case <-ctx.Done():
			return syscall.EINTR
		}
	}
}

// Files without a table (NAME-lock with LiteFS's HALT lock, -wal, -journal):
// LiteFS answers. Each handle has a lower file of its own for that.

func (f *FS) getLockBelow(in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	h := f.files.get(in.Fh)
	if h == nil || h.lower == nil {
		return fuse.OK
	}
	lk := flockOf(in)
	if _, err := retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(h.lower.fd), unix.F_GETLK, &lk) }); err != nil {
		return f.status(err)
	}
	out.Lk.Typ = uint32(lk.Type)
	return fuse.OK
}

func flockOf(in *fuse.LkIn) unix.Flock_t {
	lk := unix.Flock_t{Type: int16(in.Lk.Typ), Whence: unix.SEEK_SET, Start: int64(in.Lk.Start)}
	if in.Lk.End < 1<<62 {
		lk.Len = int64(in.Lk.End-in.Lk.Start) + 1
	}
	return lk
}

func (f *FS) setLockBelow(cancel <-chan struct{}, in *fuse.LkIn, wait bool) error {
	h := f.files.get(in.Fh)
	if h == nil || h.lower == nil {
		return nil
	}
	lk := flockOf(in)
	if !wait || in.Lk.Typ == unix.F_UNLCK {
		_, err := retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(h.lower.fd), unix.F_SETLK, &lk) })
		return err
	}
	return waitBelow(cancel, h.lower.fd, func() error { return unix.FcntlFlock(uintptr(h.lower.fd), unix.F_SETLKW, &lk) })
}

// errRestart is the kernel's ERESTARTSYS: what fuse_setlk makes of LiteFS's
// EINTR (linux fs/fuse/file.c), and nobody hides where no signal is due.
const errRestart = syscall.Errno(512)

// waitBelow runs a lock call that may wait in LiteFS. To end it early LiteFS
// is sent a FLUSH, by the close of a duplicate, upon which it gives up
// (fuse/lock_node.go, unlockHalt). A signal would not do: the kernel restarts
// an interrupted lock call, because Go's handlers are SA_RESTART.
func waitBelow(cancel <-chan struct{}, fd int, call func() error) error {
	result := make(chan error, 1)
	go func() { result <- call() }()
	select {
	case err := <-result:
		return err
	case <-cancel:
	}
	// Again and again: the first may come before the call has reached LiteFS.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_ = flushLower(fd)
		select {
		case err := <-result:
			if err == errRestart {
				err = syscall.EINTR
			}
			return err
		case <-tick.C:
		}
	}
}

// flushLower makes the kernel send LiteFS a FLUSH for fd.
func flushLower(fd int) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(dup)
}
