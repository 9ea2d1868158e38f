package fusefs

import (
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// lowerFile is an open file of the LiteFS mount, counted: handles, and for a
// database the lock table, share one descriptor.
type lowerFile struct {
	fd   int
	refs atomic.Int32
}

func (f *FS) openLower(name string, flags int) (*lowerFile, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(f.rootFD(), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o666)
	})
	if err != nil {
		return nil, err
	}
	l := &lowerFile{fd: fd}
	l.refs.Store(1)
	return l, nil
}

func (l *lowerFile) release() {
	if l != nil && l.refs.Add(-1) == 0 {
		_ = unix.Close(l.fd)
	}
}

// retry repeats a call that a signal interrupted: Go's own preemption signals
// reach threads that wait for LiteFS.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		if v, err := call(); err != unix.EINTR {
			return v, err
		}
	}
}

func pread(fd int, b []byte, off int64) (int, error) {
	return retry(func() (int, error) { return unix.Pread(fd, b, off) })
}

// pwrite writes b in one call. A short write would break the boundaries that
// LiteFS goes by (db.go, WriteDatabaseAt), so the rest is not tried.
func pwrite(fd int, b []byte, off int64) (int, error) {
	return retry(func() (int, error) { return unix.Pwrite(fd, b, off) })
}

func fstat(fd int) (st unix.Stat_t, err error) {
	_, err = retry(func() (int, error) { return 0, unix.Fstat(fd, &st) })
	return st, err
}

func (f *FS) statLower(name string) (st unix.Stat_t, err error) {
	_, err = retry(func() (int, error) {
		return 0, unix.Fstatat(f.rootFD(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

// setLock takes or drops the POSIX lock of this process on [start, start+size).
// It never waits. EINTR is returned only by LiteFS's own locks; they do not
// wait either, so it is tried again.
func setLock(fd int, typ int16, start, size int64) error {
	lk := unix.Flock_t{Type: typ, Whence: unix.SEEK_SET, Start: start, Len: size}
	_, err := retry(func() (int, error) { return 0, unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &lk) })
	if err == syscall.EACCES {
		err = syscall.EAGAIN
	}
	return err
}
