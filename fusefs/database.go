package fusefs

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// database is all that belongs to one database of the mount. It is made at the
// first sight of its name and kept: LiteFS's locks belong to the name too.
//
// Lock order: walMu, then mu. mu is held across LiteFS's lock calls, which do
// not wait; the unlock of WRITE, at which LiteFS commits and syncs, runs under
// walMu alone.
type database struct {
	fs   *FS
	name string

	walMu sync.Mutex // guards wal and every change of WRITE below
	wal   walState

	mu       sync.Mutex
	table    lockTable
	held     [slots]lockType // what our one owner holds below
	counted  atomic.Int32    // how many, as last counted
	file     *lowerFile      // the database file; locks go through it
	shmLocks *lowerFile      // LiteFS's -shm, for its locks and header only
	pos      *lowerFile      // -pos
	retired  []*lowerFile    // to be closed when nothing is held: a close drops every lock
	opens    int             // handles of the database file
	idle     *time.Timer     // closes what nobody uses any more
	shmOpens int
	changed  chan struct{} // closed and replaced when a lock may have become free
	shm      *memory       // our -shm; nil = there is none
	carry    carryState
	cache    cacheState
	keep     keeper

	pause holdBack // new read grants wait here
	pipe  pipe

	mode    atomic.Int32 // journalMode, as last seen
	suspect atomic.Bool  // a write was refused whose data may still be in the page cache
	dirty   atomic.Bool  // the open rollback transaction has written to the database file

	// dead says who was cut off; reads and writes look here without taking mu.
	dead atomic.Pointer[deadSet]
	// txEpoch is the epoch of the open write transaction, 0 = it has written
	// nothing. A transaction must not span two grants.
	txEpoch   atomic.Uint64
	txOpen    atomic.Bool   // WRITE or RESERVED is held
	txOwner   atomic.Uint64 // by this lock owner
	writeSeq  atomic.Uint64 // counts grants of WRITE
	repairing atomic.Bool
	orphaned  atomic.Bool // dropped below; another database may bear the name

	unconfirmed atomic.Pointer[unconfirmed] // a commit whose owner was told nothing yet
	lent        atomic.Bool                 // SHARED may be all that is held below for an EXCLUSIVE (lend)
}

// databaseTable holds the databases by name.
type databaseTable struct {
	fs  *FS
	mu  sync.Mutex
	m   map[string]*database
	old []*database // of a LiteFS that died; what they held is gone
}

func (t *databaseTable) init(f *FS) { t.fs, t.m = f, map[string]*database{} }

func (t *databaseTable) get(name string) *database {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.m[name]
	if d == nil {
		d = &database{fs: t.fs, name: name, changed: make(chan struct{})}
		d.pipe.init(d)
		t.m[name] = d
	}
	return d
}

func (t *databaseTable) all() []*database {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*database, 0, len(t.m))
	for _, d := range t.m {
		list = append(list, d)
	}
	return list
}

// renew begins anew with no database, over a new LiteFS, and returns the old
// ones.
func (t *databaseTable) renew() []*database {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := slices.Collect(maps.Values(t.m))
	t.old = append(t.old, old...)
	t.m = map[string]*database{}
	return old
}

// closeAll closes every lower file once the mount has ended. What is still
// locked below goes with them.
func (t *databaseTable) closeAll() {
	t.renew()
	for _, d := range t.old {
		d.pipe.wait()
		d.mu.Lock()
		for _, timer := range []*time.Timer{d.idle, d.keep.timer} {
			if timer != nil {
				timer.Stop()
			}
		}
		for _, l := range append(d.retired, d.file, d.shmLocks, d.pos) {
			l.release()
		}
		d.retired, d.file, d.shmLocks, d.pos = nil, nil, nil, nil
		d.shm.dropRef()
		d.shm = nil
		d.mu.Unlock()
	}
}

func (f *FS) locksHeld() (n int) {
	for _, d := range f.dbs.all() {
		n += d.locksHeld()
	}
	return n
}

// locksHeld does not wait: mu stays locked for as long as LiteFS does not answer,
// as when it is stopped. The last count is as good then.
func (d *database) locksHeld() int {
	if !d.mu.TryLock() {
		return int(d.counted.Load())
	}
	defer d.mu.Unlock()
	n := 0
	for _, t := range d.held {
		if t != unlocked {
			n++
		}
	}
	d.counted.Store(int32(n))
	return n
}

// openFile returns the database's lower file for one more handle.
func (d *database) openFile() (*lowerFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.orphaned.Load() {
		return nil, unix.ESTALE
	}
	if d.file != nil && !d.pinned() && d.dropped() {
		d.retire(&d.file)
	}
	if d.file == nil {
		l, err := d.fs.openLower(d.name, unix.O_RDWR)
		if err != nil {
			return nil, err
		}
		d.file = l
	}
	d.opens++
	d.file.refs.Add(1)
	d.glance()
	return d.file, nil
}

// dropped reports that the open database file is no longer the one of that
// name: it was dropped and made again, by way of the primary.
func (d *database) dropped() bool {
	st, err := fstat(d.file.fd)
	return err != nil || st.Nlink == 0
}

// created makes l, a new database, the one that locks go through.
func (d *database) created(l *lowerFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retire(&d.file)
	d.file = l
	d.cache.valid = false
	d.mode.Store(int32(modeUnknown))
	d.opens++
	l.refs.Add(1)
}

// closeFile takes a handle's share back. The last one closes the lower file,
// unless something is still locked through it.
func (d *database) closeFile(l *lowerFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.refs.Load() > 1 {
		l.release() // shared with others: closes nothing
	} else {
		d.retired = append(d.retired, l)
	}
	d.opens--
	d.lingers()
	d.sweep()
}

// lingerFor is how long lower files stay open after their last user: many
// applications open the database anew for every request.
const lingerFor = time.Second

// lingers sees to it that files nobody uses are closed. Called with mu held.
func (d *database) lingers() {
	if d.opens > 0 && d.shmOpens > 0 {
		return
	}
	if d.idle == nil {
		d.idle = time.AfterFunc(lingerFor, d.closeIdle)
		return
	}
	d.idle.Reset(lingerFor)
}

func (d *database) closeIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opens == 0 {
		d.retire(&d.file)
		d.retire(&d.pos)
	}
	if d.shmOpens == 0 {
		d.retire(&d.shmLocks)
	}
	d.sweep()
}

// retire moves a lower file to those that are closed when nothing is held.
func (d *database) retire(l **lowerFile) {
	if *l != nil {
		d.retired = append(d.retired, *l)
		*l = nil
	}
}

// sweep closes retired files once nothing is locked: a close of any descriptor
// of the file sends a FLUSH with our owner, which drops all its locks.
func (d *database) sweep() {
	for _, t := range d.held {
		if t != unlocked {
			return
		}
	}
	for _, l := range d.retired {
		l.release()
	}
	d.retired = nil
}

// wake tells those who wait for a lock to look again. Called with mu held.
func (d *database) wake() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// holdBack makes new read grants wait while LiteFS's own writer is to get in.
type holdBack struct {
	mu   sync.Mutex
	n    int
	free chan struct{}
}

func (h *holdBack) start() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n++; h.n == 1 {
		h.free = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.n--; h.n == 0 {
			close(h.free)
		}
	})
}

func (h *holdBack) on() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n > 0
}

// wait returns when nothing is held back, or an error when ctx or cancel end.
func (h *holdBack) wait(ctx context.Context, cancel <-chan struct{}) error {
	for {
		h.mu.Lock()
		free := h.free
		on := h.n > 0
		h.mu.Unlock()
		if !on {
			return nil
		}
		select {
		case <-free:
		case <-cancel:
			return context.Canceled
		case <-ctx.Done():
			return nil // the mount ends: nobody is to wait any more
		}
	}
}
