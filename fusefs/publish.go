package fusefs

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SQLite ignores the result of the WRITE unlock at which LiteFS commits a WAL
// transaction. So the commit is brought forward into the write that completes
// the commit frame, the last one whose error SQLite passes on.

// writeWAL is a write to -wal. All but the one that completes the commit frame
// are acknowledged while LiteFS is still taking them.
func (d *database) writeWAL(w waiter, h *handle, owner uint64, data []byte, off int64) (int, error) {
	t, err := d.fs.enter(KindWAL)
	if err != nil {
		return 0, err
	}
	later, at, err := d.writeFrames(t, h, owner, data, off)
	if at != nil {
		if d.fs.asks(t) {
			// This write keeps the inode's lock while it waits: who opens the
			// -wal from now on gets another one.
			d.fs.nodes.drop(h.node.name)
		}
		err = d.secondLook(t, w, at)
	}
	if !later {
		d.fs.gate.Leave(t)
	}
	if err != nil {
		return 0, err
	}
	return len(data), nil
}

// writeFrames reports whether the write goes on later, with the ticket, and
// which position LiteFS has by it where it was a commit.
func (d *database) writeFrames(t Ticket, h *handle, owner uint64, data []byte, off int64) (later bool, at *position, err error) {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	// Waiting for walMu took time: look again right before the write.
	if !d.fs.still(t) {
		return false, nil, errFenced
	}
	if err := d.mayWrite(owner, 0, t); err != nil {
		return false, nil, err
	}
	if seq := d.writeSeq.Load(); seq != d.wal.seq {
		d.wal.begin(seq)
	}
	if d.wal.pageSize == 0 && off > 0 {
		d.readPageSize(h)
	}
	ask := d.wal.note(off, data)
	if !ask && d.inTx(owner) {
		later, err = d.later(lowerWrite{file: h.lower, off: off, ticket: t, kind: KindWAL}, data)
		return later, nil, err
	}
	if err := d.pipe.finish(); err != nil {
		return false, nil, err
	}
	if err := d.ensureWrite(); err != nil {
		return false, nil, err
	}
	if !d.fs.still(t) {
		return false, nil, d.refuseCommit(h)
	}
	err = writeAll(h.lower.fd, data, off)
	d.cache.wal.wrote(off + int64(len(data)))
	if err != nil || !ask {
		return false, nil, err
	}
	at, err = d.publish(t, h)
	return false, at, err
}

// readPageSize learns the page size of a WAL that was begun before us.
func (d *database) readPageSize(h *handle) {
	var b [walHeaderSize]byte
	if n, err := pread(h.lower.fd, b[:], 0); err == nil && n == len(b) {
		d.wal.pageSize = int64(binary.BigEndian.Uint32(b[8:]))
	}
}

// publish makes LiteFS commit, by unlocking WRITE below. The READ lock, which a
// writer of a WAL always has, keeps LiteFS's own writers out from then on, so
// WRITE is taken again only if more frames come. Where -pos has not moved LiteFS
// saw no transaction, because SQLite has yet to make the checksums anew
// (iReCksum); the next write of the commit frame tries again, and nil is
// returned. Called with walMu held.
func (d *database) publish(t Ticket, h *handle) (*position, error) {
	before, err := d.positionBefore()
	if err != nil {
		return nil, err
	}
	d.fs.hooks.afterCommitFrame.run(d.name)
	if !d.fs.still(t) {
		// Not published yet: it can still be a refusal instead of a doubt.
		return nil, d.refuseCommit(h)
	}
	if err := d.commitBelow(); err != nil {
		return nil, err
	}
	after, err := d.positionAfter()
	if err != nil {
		return nil, d.fs.doubt(err)
	}
	if after == before {
		return nil, nil
	}
	d.wal.published()
	d.committedWAL(before, after)
	d.fs.count.published.Add(1)
	return &after, nil
}

// refuseCommit takes a commit frame back that nobody has seen.
func (d *database) refuseCommit(h *handle) error {
	if err := d.cancelOpen(h.lower.fd); err != nil {
		d.fs.log.Error("cannot cancel a refused WAL transaction", "db", d.name, "err", err)
	}
	d.fs.count.refused[KindWAL].Add(1)
	return errFenced
}

// commitBelow unlocks WRITE in LiteFS, which commits and syncs in that call. So
// mu is not held meanwhile.
func (d *database) commitBelow() error {
	d.mu.Lock()
	l, held, alone := d.shmLocks, d.held[slotWrite] == exclusive, d.reads() == noSlots
	d.mu.Unlock()
	if !held || l == nil {
		return syscall.EIO // LiteFS refuses frames without WRITE; so this is a lost lock
	}
	if err := slotWrite.lock(l, unlocked); err != nil {
		return err
	}
	d.mu.Lock()
	d.held[slotWrite] = unlocked
	d.mu.Unlock()
	if !alone {
		return nil
	}
	if err := d.ensureWrite(); err != nil {
		d.fs.log.Error("WRITE was taken by another below while a commit was published; the lower path must not be used beside the mount",
			"db", d.name, "err", err)
		d.mu.Lock()
		if h := d.table.holder(slotWrite); h != nil {
			h.dead = true
		}
		d.countDead()
		d.mu.Unlock()
		return errInDoubt
	}
	return nil
}

// LiteFS takes WRITE for itself, beside readers of ours, for the moment in
// which a snapshot begins (db.go, WriteSnapshotTo).
const (
	writeTries = 1000
	writePause = time.Millisecond
)

// ensureWrite takes WRITE below for the one who has it above. Called with walMu
// held, or by the pipe of one who waits for it with walMu held.
func (d *database) ensureWrite() error {
	d.mu.Lock()
	h, l := d.table.holder(slotWrite), d.shmLocks
	owed := h != nil && !h.dead && d.held[slotWrite] != exclusive && l != nil
	d.mu.Unlock()
	if !owed {
		return nil // or LiteFS says why not
	}
	var err error
	for range writeTries {
		if err = slotWrite.lock(l, exclusive); err != syscall.EAGAIN {
			break
		}
		time.Sleep(writePause)
	}
	if err != nil {
		return fmt.Errorf("WRITE below: %w", err)
	}
	d.mu.Lock()
	d.held[slotWrite] = exclusive
	d.mu.Unlock()
	return nil
}

// endWrite takes WRITE from owner: what is complete but unpublished is
// cancelled before LiteFS could commit it, and what LiteFS has but SQLite's
// index does not cover is left to SQLite's recovery.
func (d *database) endWrite(owner uint64) error {
	d.mu.Lock()
	mine := d.table.holds(slotWrite, owner)
	d.mu.Unlock()
	if !mine {
		return nil
	}
	d.walMu.Lock()
	defer d.walMu.Unlock()
	err := d.dropWrite(owner)
	d.uncover()
	d.mu.Lock()
	d.table.drop(slotWrite, owner)
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
func (d *database) dropWrite(owner uint64) error {
	if err := d.pipe.finish(); err != nil {
		d.fs.log.Debug("frames of an ended transaction were not written", "db", d.name, "err", err)
	}
	d.mu.Lock()
	h := d.table.get(slotWrite, owner)
	if h == nil {
		d.mu.Unlock()
		return nil
	}
	live := !h.dead && d.held[slotWrite] == exclusive
	h.dead = true
	l := d.shmLocks
	d.mu.Unlock()
	if !live || l == nil {
		return nil
	}
	d.cancelUnpublished()
	err := slotWrite.lock(l, unlocked)
	d.mu.Lock()
	d.held[slotWrite] = unlocked
	if d.wal.commit != 0 {
		d.cache.valid = false // LiteFS may have committed it now
	}
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
	l, err := d.fs.openLower(d.name+"-wal", unix.O_RDWR)
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
