package fusefs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// settle runs when the fence has engaged and everybody admitted has left. It
// ends every write transaction below, so that LiteFS can recover at a change
// of role and commits nothing more, and has the journals rolled back that
// nobody may roll back through this mount.
func (f *FS) settle(ctx context.Context) error {
	if !f.cfg.Enforce {
		return nil
	}
	var errs []error
	for _, d := range f.dbs.all() {
		errs = append(errs, d.settle())
	}
	return errors.Join(errs...)
}

// fencing reports whether writes are refused now.
func (f *FS) fencing() bool { return f.cfg.Enforce && !f.gate.Admitting() }

// settle cuts the open write transaction of d off, and sees to its journal.
func (d *database) settle() error {
	err := d.settleWAL()
	free := d.holdReaders()
	d.mu.Lock()
	repair := d.poisonRollback()
	d.sweep()
	d.wake()
	d.mu.Unlock()
	if repair || d.hot() {
		d.repairLater(free)
	} else {
		free()
	}
	return err
}

// settleWAL releases WRITE below. Above it stays with its owner, dead: two
// that think they write would damage the shared index.
func (d *database) settleWAL() error {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	d.mu.Lock()
	h := d.table.holder(slotWrite)
	if h == nil || h.dead {
		d.mu.Unlock()
		return nil
	}
	owner := h.owner
	d.mu.Unlock()
	d.fs.count.poisoned.Add(1)
	err := d.dropWrite(owner)
	d.mu.Lock()
	d.countDead()
	d.mu.Unlock()
	return err
}

// poisonRollback cuts the holder of RESERVED, PENDING or EXCLUSIVE off. One
// that has not reached EXCLUSIVE keeps SHARED and goes on reading: the
// database file is as it was. One that has may have changed it; it is cut off
// from reading too, and its journal must be rolled back. Called with mu held.
func (d *database) poisonRollback() (repair bool) {
	cut := false
	for _, s := range []slot{slotPending, slotReserved, slotShared} {
		h := d.table.holder(s)
		if h == nil || h.dead {
			continue
		}
		h.dead, cut = true, true
		repair = repair || s == slotShared
	}
	if cut {
		d.fs.count.poisoned.Add(1)
		d.cutOff(repair)
	}
	return repair
}

// hot reports whether a journal lies below that a reader would roll back, or
// fail over: it has a header, and nobody above has it open for writing with
// the database as it was.
func (d *database) hot() bool {
	l, err := d.fs.openLower(d.name+"-journal", 0)
	if err != nil {
		return false
	}
	defer l.release()
	var b [1]byte
	if n, err := pread(l.fd, b[:], 0); err != nil || n == 0 || b[0] == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.table.holder(slotReserved)
	x := d.table.holder(slotShared)
	return r == nil || r.dead && x != nil && x.dead
}

const (
	repairTry   = 2 * time.Second       // one HALT: LiteFS waits for lock holders
	repairHold  = 3 * time.Second       // new readers are held back no longer than this at once
	repairPause = 50 * time.Millisecond // between tries, doubling
)

// repairLater rolls a hot journal back through LiteFS, in the background. free
// lets new readers in again.
func (d *database) repairLater(free func()) {
	if d.fs.cfg.Halt == nil || !d.hot() || !d.repairing.CompareAndSwap(false, true) {
		free()
		return
	}
	d.fs.workers.do(func(ctx context.Context) {
		defer free()
		defer d.repairing.Store(false)
		d.repair(ctx, free)
	})
	if d.fs.workers.ctx.Err() != nil {
		free()
	}
}

func (d *database) repair(ctx context.Context, free func()) {
	timer := time.AfterFunc(repairHold, free)
	defer timer.Stop()
	for pause := repairPause; d.fs.fencing() && d.hot(); pause = min(2*pause, 2*time.Second) {
		hold := d.holdReaders()
		try, cancel := context.WithTimeout(ctx, repairTry)
		err := d.fs.cfg.Halt(try, d.name)
		cancel()
		hold()
		if err == nil && !d.hot() {
			d.fs.count.repairs.Add(1)
			d.fs.log.Info("rolled back the journal of a cut-off transaction", "db", d.name)
			return
		}
		d.fs.count.failed.Add(1)
		d.fs.log.Warn("hot journal not rolled back yet", "db", d.name, "err", err, "locks", d.locks())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// suspectAll looks for journals that were left behind before we were mounted.
func (f *FS) suspectAll(ctx context.Context) {
	names, err := f.listLower()
	if err != nil {
		return
	}
	for _, name := range names {
		if db, k := parseName(name); k == KindJournal && f.fencing() && ctx.Err() == nil {
			d := f.dbs.get(db)
			d.repairLater(d.holdReaders())
		}
	}
}

// locks describes the lock table, for the log.
func (d *database) locks() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("%sbelow: %v", &d.table, d.held)
}
