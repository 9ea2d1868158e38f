package fusefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

// Config.Confirm may keep a commit waiting for long: until other nodes have the
// transaction. Whoever waits holds neither walMu nor mu, but the kernel holds
// something for him, and where the application must not be told of a success
// that depends on what SQLite still listens to:
//   - In WAL mode he waits in the write of the commit frame, with the lock of
//     the -wal's inode. Readers need none. A connection that root opens does
//     (os_unix.c, robustFchown), so from then on the name leads to another inode.
//   - In TRUNCATE and PERSIST mode, and DELETE with locking_mode=EXCLUSIVE, he
//     waits with the lock of the journal's inode, which nobody else needs while
//     he has EXCLUSIVE.
//   - In DELETE mode the commit point is an unlink, and the kernel holds the
//     directory's lock: everybody's opens would wait too. So the wait is put off
//     until SQLite gives EXCLUSIVE up, right after it (pager.c,
//     pager_end_transaction); it passes that error on as well.

// waiter is the request that is kept waiting.
type waiter struct {
	cancel <-chan struct{} // closed at a signal, of whatever kind
	task   uint32
}

var (
	errKilled     = errors.New("the process was killed")
	errAway       = errors.New("the process does not wait any more")
	errLeaseEnded = errors.New("the lease has ended")
)

const (
	// confirmSlack lets a round that is under way when the lease is extended end.
	confirmSlack = 2 * time.Second
	// slowCommit is how long a commit waits before the log says so, slowAgain how
	// often it says so at most.
	slowCommit = time.Second
	slowAgain  = 10 * time.Second
	killedPoll = 20 * time.Millisecond
	// awayLooks: a thread that does not wait any more at so many looks in a row
	// has its answer from the kernel, because the mount was aborted.
	awayLooks = 50
)

// asks reports whether a commit admitted by t has to be confirmed.
func (f *FS) asks(t Ticket) bool { return f.cfg.Confirm != nil && f.cfg.Enforce && t.g != nil }

// secondLook follows the lower operation of a commit point. An error means: done
// below, but nobody may be told so. at is the position of the commit; nil = not
// read yet, because only a Confirm needs it.
func (d *database) secondLook(t Ticket, w waiter, at *position) error {
	f := d.fs
	f.hooks.afterCommit.run(d.name)
	if f.asks(t) {
		if at == nil {
			pos, err := d.positionAfter()
			if err != nil {
				return f.doubt(err)
			}
			at = &pos
		}
		d.lend()
		if err := d.confirm(t, w, at); err != nil {
			return f.doubt(err)
		}
	}
	if f.gate.Valid(t) {
		return nil
	}
	return f.doubt(nil)
}

// lend lets LiteFS read the database while a commit of a rollback mode waits, which
// is over below: it sends a replica that lacks too much all of it (db.go,
// WriteSnapshotTo), as it does with each first transaction (http/server.go,
// streamLTX), and that replica may be the one that the commit waits for. SHARED,
// which stays, keeps LiteFS's own writers out. Above nothing changes.
func (d *database) lend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.table.holder(slotShared)
	if h == nil || h.dead {
		return
	}
	h.mark = true
	d.lent.Store(true)
	if err := d.settleBelow(setOf(slotShared)); err != nil {
		d.unlockFailed(err)
	}
}

// takeBack takes EXCLUSIVE below again for who goes on writing without having
// given it up above: locking_mode=EXCLUSIVE. LiteFS may be reading still.
func (d *database) takeBack(t Ticket) error {
	for d.lent.Load() {
		if done, err := d.tryBack(); done || err != syscall.EAGAIN {
			return err
		}
		if !d.fs.still(t) {
			return errFenced
		}
		time.Sleep(pollBelow)
	}
	return nil
}

func (d *database) tryBack() (done bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.table.holder(slotShared); h != nil && !h.dead && h.mark {
		if err := d.setBelow(slotShared, exclusive); err != nil {
			return false, err
		}
		h.mark = false
	}
	d.lent.Store(false)
	return true, nil
}

// confirm asks Config.Confirm. It is the one to say when waiting is in vain; of
// our own there are the ends of the lease, of the mount and of the process that
// waits.
func (d *database) confirm(t Ticket, w waiter, at *position) error {
	f := d.fs
	pos, err := policy.ParsePos(string(at[:]))
	if err != nil {
		return err
	}
	c := policy.Commit{DB: d.name, Pos: pos}
	ctx, end := context.WithCancelCause(f.workers.ctx)
	defer end(nil)
	began := time.Now()
	go f.attend(ctx, end, t, w, c)
	err = f.cfg.Confirm(ctx, c)
	f.waits.Add(time.Since(began))
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return err
}

// attend ends the wait for c when there is nobody to tell any more, or nothing
// good to tell, and says in the log that it is long. It returns with ctx.
func (f *FS) attend(ctx context.Context, end context.CancelCauseFunc, t Ticket, w waiter, c policy.Commit) {
	began := time.Now()
	slow, lease := time.NewTimer(slowCommit), time.NewTimer(t.left()+confirmSlack)
	defer slow.Stop()
	defer lease.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.cancel:
			w.cancel = nil
			go f.attendKilled(ctx, end, w.task, c)
		case <-slow.C:
			f.logSlow(c, time.Since(began))
			slow.Reset(slowAgain)
		case <-lease.C:
			left := t.left() + confirmSlack
			if left <= 0 {
				end(errLeaseEnded)
				return
			}
			lease.Reset(left) // it was extended meanwhile
		}
	}
}

// attendKilled ends the wait of a thread that was sent a signal when it ends, or
// has gone away. Any signal interrupts a request, but one that is handled, as
// those of a profiler, is no reason to call a commit in doubt: like every write
// to a file, it waits. The kernel tells of the first signal only, so from then on
// we look.
func (f *FS) attendKilled(ctx context.Context, end context.CancelCauseFunc, task uint32, c policy.Commit) {
	tick := time.NewTicker(killedPoll)
	defer tick.Stop()
	for away := 0; away < awayLooks; {
		dying, waits := lookAt(task)
		if dying {
			end(errKilled)
			return
		}
		if away++; waits {
			away = 0
		}
		f.hooks.looked.run(c.DB)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	end(errAway)
}

// left is what is left of the ticket's lease.
func (t Ticket) left() time.Duration { return time.Duration(t.g.until.Load() - BootNow()) }

func (f *FS) logSlow(c policy.Commit, waited time.Duration) {
	now := BootNow()
	last := f.saidSlow.Load()
	if last != 0 && now-last < int64(slowAgain) || !f.saidSlow.CompareAndSwap(last, now) {
		return
	}
	f.log.Warn("a commit waits to be confirmed", "db", c.DB, "txid", fmt.Sprintf("%016x", c.Pos.TXID), "waited", waited.Round(time.Millisecond))
}

// CommitWaits returns how long commit points waited for Config.Confirm.
func (f *FS) CommitWaits() Times { return f.waits.Times() }

// unconfirmed is a commit of DELETE mode between the unlink of its journal and
// the lock request that follows.
type unconfirmed struct {
	owner, fh uint64 // who holds EXCLUSIVE, and through which handle
	ticket    Ticket
	at        position

	leave func()      // leaves the gate; may be called again
	late  *time.Timer // does so where the request does not follow
}

// end is for who has dealt with the commit, or found nobody to tell.
func (u *unconfirmed) end() {
	u.late.Stop()
	u.leave()
}

// putOffFor is how long a fence waits for one who does not ask for the lock that
// SQLite asks for at once.
const putOffFor = 500 * time.Millisecond

// putOff reports whether the unlink of a journal can go by without its second
// look, which its owner's next lock request then takes, with the ticket
// (takeUnconfirmed). Not where it is no commit of SQLite's: nobody has EXCLUSIVE.
func (d *database) putOff(t Ticket) (bool, error) {
	g := d.fs.gate
	if !d.fs.asks(t) || !g.Valid(t) {
		return false, nil
	}
	at, err := d.positionAfter()
	if err != nil {
		return false, d.fs.doubt(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.table.holder(slotShared)
	if h == nil {
		return false, nil
	}
	u := &unconfirmed{owner: h.owner, fh: h.fh, ticket: t, at: at, leave: sync.OnceFunc(func() { g.Leave(t) })}
	u.late = time.AfterFunc(putOffFor, u.leave)
	if old := d.unconfirmed.Swap(u); old != nil {
		old.end() // whoever is told of this commit is told of that one
	}
	return true, nil
}

// takeUnconfirmed returns the commit that r's owner has yet to be told of. That
// is whatever he asks for on the database file: it comes after the commit.
func (d *database) takeUnconfirmed(r request) *unconfirmed {
	u := d.unconfirmed.Load()
	if u == nil || r.shm || u.owner != r.owner || !d.unconfirmed.CompareAndSwap(u, nil) {
		return nil
	}
	u.late.Stop()
	return u
}

// forgetUnconfirmed drops the commit of who has closed the handle: there is
// nobody left to tell.
func (d *database) forgetUnconfirmed(fh uint64) {
	if u := d.unconfirmed.Load(); u != nil && u.fh == fh && d.unconfirmed.CompareAndSwap(u, nil) {
		u.end()
	}
}

// coreSignals end a process by default, after a core dump for which the kernel
// does not wake a thread that waits in it.
var coreSignals = setOfSignals(unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE,
	unix.SIGSEGV, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGSYS)

func setOfSignals(list ...unix.Signal) (set uint64) {
	for _, s := range list {
		set |= 1 << (s - 1)
	}
	return set
}

// lookAt looks at a thread whose request was interrupted. dying: it is about to
// end; the kernel turns whatever ends a process into a SIGKILL for each of its
// threads (kernel/signal.c, complete_signal). waits: it is where only a deadly
// signal wakes it (fs/fuse/dev.c, request_wait_answer).
func lookAt(task uint32) (dying, waits bool) {
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(task), 10) + "/status")
	if task == 0 || err != nil {
		return true, false // gone, or in a process namespace that we do not see
	}
	line := func(name string) []byte {
		_, rest, _ := bytes.Cut(status, []byte("\n"+name+":\t"))
		text, _, _ := bytes.Cut(rest, []byte("\n"))
		return text
	}
	set := func(name string) uint64 {
		n, _ := strconv.ParseUint(string(line(name)), 16, 64)
		return n
	}
	pending := set("SigPnd") | set("ShdPnd")
	dying = pending&setOfSignals(unix.SIGKILL) != 0 ||
		pending&coreSignals&^(set("SigBlk")|set("SigIgn")|set("SigCgt")) != 0
	return dying, bytes.HasPrefix(line("State"), []byte("D"))
}
