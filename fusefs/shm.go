package fusefs

import (
	"fmt"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// memory is our -shm of one database: a memfd that the kernel serves by
// passthrough. All applications of the mount share its pages. LiteFS's own
// -shm is truncated at a change of role beneath those who have mapped it
// (SIGBUS); it is used for locks and for its header alone.
type memory struct {
	fd      int
	server  *fuse.Server
	backing int32        // the kernel allows one backing id per inode
	refs    atomic.Int32 // of the database that has it and of its node
}

func newMemory(server *fuse.Server, name string) (*memory, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	id, errno := server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(fd)})
	if errno != 0 {
		_ = unix.Close(fd)
		return nil, errno
	}
	m := &memory{fd: fd, server: server, backing: id}
	m.refs.Store(1)
	return m, nil
}

func (m *memory) addRef() {
	if m != nil {
		m.refs.Add(1)
	}
}

// dropRef gives one share of the memory up. The kernel keeps the pages for
// those who have mapped them.
func (m *memory) dropRef() {
	if m != nil && m.refs.Add(-1) == 0 {
		_ = m.server.UnregisterBackingFd(m.backing)
		_ = unix.Close(m.fd)
	}
}

// makeSHM creates -shm: our memory, and LiteFS's file for its locks.
func (d *database) makeSHM() (*memory, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shm == nil {
		m, err := newMemory(d.fs.server, d.name+"-shm")
		if err != nil {
			return nil, err
		}
		d.shm = m
	}
	return d.shm, nil
}

// openSHM counts one more handle of -shm and sees to LiteFS's file.
func (d *database) openSHM() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shmLocks == nil {
		l, err := d.fs.openLower(d.name+"-shm", unix.O_RDWR|unix.O_CREAT)
		if err != nil {
			return err
		}
		d.shmLocks = l
		d.lengthen(l)
	}
	d.shmOpens++
	return nil
}

// lengthen makes LiteFS's -shm as long as LiteFS does at its first update. It is
// empty until then, and each look at it would be a request to LiteFS. Zeros mean
// the same to both of us (LiteFS db.go, updateSHM).
func (d *database) lengthen(l *lowerFile) {
	if st, err := fstat(l.fd); err == nil && st.Size == 0 {
		_, _ = retry(func() (int, error) { return 0, unix.Ftruncate(l.fd, shmSize) })
	}
}

// shmSize is one block of a wal-index (LiteFS litefs.go, WALIndexBlockSize).
const shmSize = 32768

func (d *database) closeSHM() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shmOpens--
	d.lingers()
	d.sweep()
}

// dropSHM unlinks -shm. LiteFS's file stays: without it LiteFS would give the
// name another inode while we hold locks on the old one.
func (d *database) dropSHM() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shm == nil {
		return unix.ENOENT
	}
	if d.shmOpens > 1 {
		// SQLite unlinks it as the last one, by an EXCLUSIVE lock that the fence
		// may have cut off meanwhile. Whoever else has it open must not be left
		// with an index of its own. The next first opener truncates it anyway
		// (os_unix.c, unixLockSharedMemory).
		return nil
	}
	d.shm.dropRef()
	d.shm = nil
	d.fs.nodes.drop(d.name + "-shm")
	return nil
}

// hasSHM returns our -shm, nil if there is none.
func (d *database) hasSHM() *memory {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shm
}
