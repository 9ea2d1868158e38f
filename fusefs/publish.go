package fusefs

import (
	"encoding/binary"
	"syscall"
)

// SQLite ignores the result of the WRITE unlock at which LiteFS commits a WAL
// transaction. So the commit is brought forward into the write that completes
// the commit frame, the last one whose error SQLite passes on.

// writeWAL is a write to -wal.
func (d *database) writeWAL(h *handle, owner uint64, data []byte, off int64) (int, error) {
	t, err := d.fs.enter(KindWAL)
	if err != nil {
		return 0, err
	}
	defer d.fs.gate.Leave(t)
	d.walMu.Lock()
	defer d.walMu.Unlock()
	// Waiting for walMu took time: look again right before the write.
	if !d.fs.still(t) {
		return 0, errFenced
	}
	if err := d.mayWrite(owner, t); err != nil {
		return 0, err
	}
	if seq := d.writeSeq.Load(); seq != d.wal.seq {
		d.wal.begin(seq)
	}
	if d.wal.pageSize == 0 && off > 0 {
		d.readPageSize(h)
	}
	n, err := pwrite(h.lower.fd, data, off)
	if err != nil || n != len(data) {
		return n, err
	}
	if !d.wal.note(off, data) {
		return n, nil
	}
	if err := d.publish(t, owner, h); err != nil {
		return 0, err
	}
	return n, nil
}

// readPageSize learns the page size of a WAL that was begun before us.
func (d *database) readPageSize(h *handle) {
	var b [walHeaderSize]byte
	if n, err := pread(h.lower.fd, b[:], 0); err == nil && n == len(b) {
		d.wal.pageSize = int64(binary.BigEndian.Uint32(b[8:]))
	}
}

// publish makes LiteFS commit: unlock WRITE below and lock it again. The READ
// lock, which a writer of a WAL always has, keeps LiteFS's own writers out
// between the two. Where -pos has not moved LiteFS saw no transaction, because
// SQLite has yet to make the checksums anew (iReCksum); the next write of the
// commit frame tries again. Called with walMu held.
func (d *database) publish(t Ticket, owner uint64, h *handle) error {
	before, err := d.position()
	if err != nil {
		return err
	}
	d.fs.hooks.afterCommitFrame.run(d.name)
	if !d.fs.still(t) {
		// Not published yet: it can still be a refusal instead of a doubt.
		return d.refuseCommit(h)
	}
	if err := d.cycleWrite(owner); err != nil {
		return err
	}
	after, err := d.position()
	if err != nil {
		return d.fs.doubt(err)
	}
	if after == before {
		return nil
	}
	d.wal.published()
	d.fs.count.published.Add(1)
	d.fs.hooks.afterPublish.run(d.name)
	return d.fs.secondLook(t)
}

// refuseCommit takes a commit frame back that nobody has seen.
func (d *database) refuseCommit(h *handle) error {
	if err := d.cancelOpen(h.lower.fd); err != nil {
		d.fs.log.Error("cannot cancel a refused WAL transaction", "db", d.name, "err", err)
	}
	d.fs.count.refused[KindWAL].Add(1)
	return errFenced
}

// cycleWrite unlocks and relocks WRITE below.
func (d *database) cycleWrite(owner uint64) error {
	d.mu.Lock()
	h := d.table.get(slotWrite, owner)
	if h == nil {
		// A write without a lock owner, or by a handle that lent its lock.
		owner, h = d.table.holder(slotWrite)
	}
	l := d.shmLocks
	held := h != nil && !h.dead && d.held[slotWrite] == exclusive && l != nil
	d.mu.Unlock()
	if !held {
		return syscall.EIO // LiteFS refuses frames without WRITE; so this is a lost lock
	}
	start, size := slotWrite.bytesOf()
	if err := setLock(l.fd, fcntlType(unlocked), start, size); err != nil {
		return err
	}
	if err := setLock(l.fd, fcntlType(exclusive), start, size); err != nil {
		d.fs.log.Error("WRITE was taken by another below while a commit was published; the lower path must not be used beside the mount",
			"db", d.name, "err", err)
		d.mu.Lock()
		h.dead = true
		d.held[slotWrite] = unlocked
		d.countDead()
		d.mu.Unlock()
		return errInDoubt
	}
	return nil
}

// endWrite takes WRITE from owner: what is complete but unpublished is
// cancelled before LiteFS could commit it, and what LiteFS has but SQLite's
// index does not cover is left to SQLite's recovery.
func (d *database) endWrite(owner uint64) error {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	d.mu.Lock()
	h := d.table.get(slotWrite, owner)
	if h == nil || h.typ != exclusive {
		d.mu.Unlock()
		return nil
	}
	d.mu.Unlock()
	err := d.dropWrite(h)
	d.uncover()
	d.mu.Lock()
	d.table.set(slotWrite, owner, hold{})
	d.txOpen.Store(false)
	d.countDead()
	d.sweep()
	d.wake()
	d.mu.Unlock()
	return err
}

// dropWrite releases WRITE below and leaves the hold dead above, where it goes
// on to keep other writers out. LiteFS syncs in this unlock, so mu is not held.
// Called with walMu held.
func (d *database) dropWrite(h *hold) error {
	d.mu.Lock()
	live := !h.dead && d.held[slotWrite] == exclusive
	h.dead = true
	l := d.shmLocks
	d.mu.Unlock()
	if !live || l == nil {
		return nil
	}
	d.cancelUnpublished()
	start, size := slotWrite.bytesOf()
	err := setLock(l.fd, fcntlType(unlocked), start, size)
	d.mu.Lock()
	d.held[slotWrite] = unlocked
	d.mu.Unlock()
	if lowerGone(err) {
		return nil // a LiteFS that is gone commits nothing
	}
	return err
}

// cancelUnpublished voids a complete transaction that LiteFS would commit at
// the unlock although SQLite was never told of a success.
func (d *database) cancelUnpublished() {
	w := &d.wal
	if w.seq != d.writeSeq.Load() || w.commit == 0 {
		return
	}
	l, err := d.fs.openWAL(d.name)
	if err == nil {
		defer l.release()
		if d.indexCovers(uint32((w.commit-walHeaderSize)/w.frameSize()) + 1) {
			return
		}
		err = d.cancelOpen(l.fd)
	}
	if err != nil {
		d.fs.log.Error("cannot cancel an unpublished WAL transaction", "db", d.name, "err", err)
	}
}

// cancelOpen writes zeros over the first frame header of the open transaction:
// LiteFS and SQLite both stop reading at a frame whose salt is wrong. The commit
// frame's header goes too. Without that the next writer could bring the
// transaction back by writing the same first frame again, which happens (page 1
// with the same database size, the same checksum before it), and being killed
// or refused there: LiteFS would commit the rest.
func (d *database) cancelOpen(fd int) error {
	if d.wal.start == 0 {
		return nil
	}
	for _, at := range []int64{d.wal.start, d.wal.commit} {
		if at == 0 {
			continue
		}
		if _, err := pwrite(fd, make([]byte, frameHeaderSize), at); err != nil {
			return err
		}
	}
	d.wal.cancelled()
	d.fs.count.cancelled.Add(1)
	return nil
}

// uncover drops our wal-index header where it does not cover what LiteFS has:
// the next reader recovers the index from the WAL and finds the transaction.
// Otherwise the next writer would write before LiteFS's position, and wedge.
func (d *database) uncover() {
	w := &d.wal
	if w.seq != d.writeSeq.Load() || w.end == 0 || d.indexCovers(w.maxFrame()) {
		return
	}
	d.mu.Lock()
	d.shm.wipeHeader()
	d.mu.Unlock()
	d.fs.count.recover.Add(1)
	d.fs.log.Info("a committed WAL transaction was not in the index; SQLite recovers it", "db", d.name)
}
