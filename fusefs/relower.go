package fusefs

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// lowerRoot is the directory that the mount lies over. Another takes its place
// when LiteFS has died and is mounted again.
type lowerRoot struct {
	fd  atomic.Int64
	mu  sync.Mutex
	all []int // kept open: an operation may still be using an old one
}

func (r *lowerRoot) set(fd int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fd)
	r.fd.Store(int64(fd))
}

func (r *lowerRoot) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fd := range r.all {
		_ = unix.Close(fd)
	}
	r.all = nil
}

// rootFD is an O_PATH descriptor of the lower mount's root.
func (f *FS) rootFD() int { return int(f.lower.fd.Load()) }

// Relower lays the mount over LiteFS's new mount at the same place, after the
// one below has died. The fenced mount itself never goes: between the two an
// application would find an empty directory there, and would make its database
// anew in it. What was open stays dead: it is granted no lock (EBADF) and reads
// nothing. What is opened from now on is new.
func (f *FS) Relower() error {
	if err := checkLower(f.cfg.Lower); err != nil {
		return err
	}
	fd, err := unix.Open(f.cfg.Lower, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("lower %s: %w", f.cfg.Lower, err)
	}
	// What was open lets go before the new LiteFS can be reached: it would take
	// its locks there, where an unlock of its own frees those of new handles, and
	// it would go on reading old pages under them.
	f.nodes.renew()
	for _, d := range f.dbs.renew() {
		d.abandon()
	}
	f.lower.set(fd)
	f.learnOwner()
	f.workers.do(f.suspectAll)
	return nil
}
