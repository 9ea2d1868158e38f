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
// EIO until they unlock. It returns at once.
func (f *FS) Quiesce(ctx context.Context, grace time.Duration) (release func()) {
	ctx, cancel := context.WithCancel(ctx)
	var frees []func()
	for _, d := range f.dbs.all() {
		frees = append(frees, d.pause.start())
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
		d.fs.log.Debug("unlock below failed", "db", d.name, "err", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.poisonRollback()
	wal := d.walModeLocked()
	for s := range slots {
		if s == slotDMS || wal && s == slotShared {
			continue
		}
		for _, h := range d.table[s] {
			if !h.dead {
				h.dead = true
				d.fs.count.cut.Add(1)
			}
		}
		if want := d.table.strongest(s); want != d.held[s] {
			if err := d.setBelow(s, want); err != nil {
				d.fs.log.Debug("unlock below failed", "db", d.name, "err", err)
			}
		}
	}
	d.countDead()
	d.sweep()
	d.wake()
}
