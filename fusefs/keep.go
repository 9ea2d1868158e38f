package fusefs

import (
	"time"
)

// On the primary a shared lock that nobody above needs any more stays below for
// a moment: the next transaction finds it there, and LiteFS is asked nothing.
// On a replica that would starve replication, whose writer polls for its locks:
// there it stays only for a reader that was sent back.
const (
	keepFor = 5 * time.Millisecond  // after the last use
	keepRun = 50 * time.Millisecond // then LiteFS's own writers get a chance, however busy we are
	keepGap = 10 * time.Millisecond // as long as that; LiteFS asks every few ms (db.go, AcquireWriteLock)
)

// keeper says whether a database keeps shared locks. Guarded by database.mu.
type keeper struct {
	since time.Time // begin of the present run; zero = nothing is kept
	until time.Time
	pause time.Time // nothing is kept before this
	timer *time.Timer
	armed bool
	back  sentBack
}

// use asks to keep a lock now. Called with mu held.
func (k *keeper) use(d *database) bool {
	if d.pause.on() {
		return false
	}
	now := time.Now()
	if now.Before(k.back.until) {
		k.until = k.back.until
		k.arm(d)
		return true
	}
	if !d.fs.cfg.Enforce || !d.fs.gate.DoorOpen() || now.Before(k.pause) {
		return false
	}
	if k.since.IsZero() {
		k.since = now
	}
	if now.Sub(k.since) > keepRun {
		k.since, k.pause = time.Time{}, now.Add(keepGap)
		return false
	}
	k.until = now.Add(keepFor)
	k.arm(d)
	return true
}

// arm sees to it that what is kept is given back.
func (k *keeper) arm(d *database) {
	if k.armed {
		return
	}
	k.armed = true
	if k.timer == nil {
		k.timer = time.AfterFunc(keepFor, d.keptLongEnough)
		return
	}
	k.timer.Reset(keepFor)
}

// keptLongEnough runs when a kept lock may be due.
func (d *database) keptLongEnough() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep.armed = false
	if left := time.Until(d.keep.until); left > 0 {
		d.keep.armed = true
		d.keep.timer.Reset(left)
		return
	}
	d.dropKept()
}

// dropKept gives back what is held below for nobody. Called with mu held.
func (d *database) dropKept() {
	d.keep.since = time.Time{}
	readers := d.readersAbove()
	for s := slotShared; s <= slotRead4; s++ {
		if s != slotShared && !readSlots.has(s) || d.held[s] != shared || d.table.strongest(s) != unlocked {
			continue
		}
		if s != slotShared && readers && d.reads() == 1<<s {
			continue
		}
		if err := d.setBelow(s, unlocked); err != nil {
			d.unlockFailed(err)
		}
	}
	d.sweep()
}
