package fusefs

import (
	"context"
	"sync"
	"time"
)

// Quiesce helps a change of role through: LiteFS recovers only when it has had
// every lock to itself, and waits for that without a bound. New read grants
// are held back until release is called or ctx ends. After grace, transactions
// that are still open are cut: their locks below are released, and they get
// an error until they unlock. It returns at once.
func (f *FS) Quiesce(ctx context.Context, grace time.Duration) (release func()) {
	if !f.cfg.Enforce {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var frees []func()
	for _, d := range f.dbs.all() {
		frees = append(frees, d.holdReaders())
	}
	release = sync.OnceFunc(func() {
		cancel()
		for _, free := range frees {
			free()
		}
	})
	f.workers.do(func(stop context.Context) {
		defer release()
		select {
		case <-time.After(grace):
			for _, d := range f.dbs.all() {
				d.cutAll()
			}
		case <-ctx.Done():
			return
		case <-stop.Done():
			return
		}
		select {
		case <-ctx.Done():
		case <-stop.Done():
		}
	})
	return release
}

// cutAll releases below whatever keeps LiteFS's writer out
// (db.go, TryAcquireWriteLock): it shares SHARED and DMS of a WAL database.
func (d *database) cutAll() {
	if err := d.settleWAL(); err != nil {
		d.unlockFailed(err)
	}
	mapped := d.mappers()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.poisonRollback()
	wal := d.journalMode(nil) == modeWAL
	for s := range slots {
		if s == slotDMS || wal && s == slotShared {
			continue
		}
		for i := range d.table[s] {
			if h := &d.table[s][i]; !h.dead && !mapped[h.pid] {
				h.dead = true
				d.fs.count.cut.Add(1)
			}
		}
	}
	d.cutOff(true)
	d.sweep()
	d.wake()
}

// mappers returns the processes whose transactions cannot be cut off. Without
// mu: it asks for the mount's attributes.
func (d *database) mappers() map[uint32]bool {
	d.mu.Lock()
	pids := map[uint32]bool{}
	for s := range slots {
		for _, h := range d.table[s] {
			if s == slotShared || readSlots.has(s) {
				pids[h.pid] = false
			}
		}
	}
	d.mu.Unlock()
	for pid := range pids {
		if pids[pid] = d.maps(pid); pids[pid] {
			d.fs.log.Warn("a read transaction holds up the change of role: its process reads the database by mmap (PRAGMA mmap_size), and can only be waited for",
				"db", d.name, "pid", pid)
		}
	}
	return pids
}

// cutOff takes away below what only dead holds need. Those who were reading
// must not see what comes after, not even from the kernel's page cache: its
// pages go first, and from then on every read of the file asks us (stat).
// Called with mu held.
func (d *database) cutOff(readers bool) {
	d.endExclusive()
	d.countDead()
	if readers {
		d.dropPages()
	}
	d.dropKept()
	if err := d.settleBelow(allSlots); err != nil {
		d.unlockFailed(err)
	}
}
