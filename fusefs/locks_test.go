package fusefs

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestSlotsInARange(t *testing.T) {
	require.Equal(t, setOf(slotPending), slotsIn(false, pendingByte, pendingByte))
	require.Equal(t, setOf(slotPending, slotReserved), slotsIn(false, pendingByte, pendingByte+1))
	require.Equal(t, setOf(slotShared), slotsIn(false, pendingByte+2, pendingByte+511))
	require.Equal(t, setOf(slotPending, slotReserved, slotShared), slotsIn(false, 0, 1<<63-1))
	require.Equal(t, setOf(slotRead1, slotRead2, slotRead3, slotRead4), slotsIn(true, 124, 127))
	require.Equal(t, setOf(slotDMS), slotsIn(true, 128, 128))
	require.Empty(t, slotsIn(true, 0, 119))
}

// The oracle: a list of who has what, read from front to back.
func TestLockTableModel(t *testing.T) {
	type entry struct {
		s     slot
		owner uint64
		typ   lockType
		dead  bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		var table lockTable
		var list []entry
		remove := func(s slot, owner uint64) {
			for i, e := range list {
				if e.s == s && e.owner == owner {
					list = append(list[:i:i], list[i+1:]...)
					return
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"lock": func(rt *rapid.T) {
				s := slot(rapid.IntRange(0, int(slots)-1).Draw(rt, "slot"))
				owner := rapid.Uint64Range(1, 3).Draw(rt, "owner")
				typ := lockType(rapid.IntRange(1, 2).Draw(rt, "typ"))
				_, h := table.conflict(s, owner, typ)
				want := false
				for _, e := range list {
					live := !e.dead || e.s == slotWrite || e.s == slotReserved
					if e.owner != owner && e.s == s && live && (e.typ == exclusive || typ == exclusive) {
						want = true
					}
					if s == slotCkpt && typ == exclusive && e.owner != owner && e.s == slotWrite && e.typ == exclusive {
						want = true
					}
				}
				require.Equal(rt, want, h != nil)
				if h == nil {
					remove(s, owner)
					list = append(list, entry{s, owner, typ, false})
					table.set(s, hold{owner: owner, typ: typ})
				}
			},
			"unlock": func(rt *rapid.T) {
				s := slot(rapid.IntRange(0, int(slots)-1).Draw(rt, "slot"))
				owner := rapid.Uint64Range(1, 3).Draw(rt, "owner")
				remove(s, owner)
				table.drop(s, owner)
			},
			"cut": func(rt *rapid.T) {
				if len(list) > 0 {
					e := &list[rapid.IntRange(0, len(list)-1).Draw(rt, "i")]
					e.dead = true
					table.get(e.s, e.owner).dead = true
				}
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, len(list), table.count())
				for s := range slots {
					most := unlocked
					for _, e := range list {
						if e.s == s && !e.dead {
							most = max(most, e.typ)
						}
					}
					require.Equal(rt, most, table.strongest(s))
				}
			},
		})
	})
}

func (a *app) lockOp(op string, fd int, typ int16, off, length int64) int {
	a.t.Helper()
	return a.do(order{Op: op, Fd: fd, Typ: typ, Off: off, Len: length}).Errno
}

func (a *app) sysopen(path string, flag int) int {
	a.t.Helper()
	ans := a.do(order{Op: "sysopen", Arg: path, Flag: flag})
	require.Empty(a.t, ans.Err)
	return ans.Fd
}

// The same script on a LiteFS mount and on ours over another LiteFS must get the
// same answers, but where a row says why not.
func TestLocksAsOnLiteFS(t *testing.T) {
	bare, r := startLiteFS(t), newRig(t)
	for _, dir := range []string{bare.lower, r.mount} {
		a := startApp(t)
		for _, db := range []string{"db", "o1", "o2", "o3"} {
			a.open(db, dir+"/"+db)
			a.must(db, "PRAGMA journal_mode=WAL")
			a.must(db, "CREATE TABLE t (x)")
		}
		a.kill() // not closed: -wal stays, without which an unlock of WRITE ends LiteFS
	}
	for _, row := range lockRows {
		t.Run(row.name, func(t *testing.T) {
			want := row.want
			require.Equal(t, row.transcript(want), row.transcript(row.play(t, bare.lower)), "LiteFS itself")
			if row.ours != "" {
				require.NotEmpty(t, row.why)
				want = row.ours
			}
			require.Equal(t, row.transcript(want), row.transcript(row.play(t, r.mount)), "the fenced mount")
			r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
		})
	}
}

func TestCheckpointWaitsForTheWriter(t *testing.T) {
	r := newRig(t)
	a, b := startApp(t), startApp(t)
	openDB(r, a, "a", "WAL")
	a.must("a", "CREATE TABLE t (x)")
	fa, fb := a.sysopen(r.path("db-shm"), unix.O_RDWR), b.sysopen(r.path("db-shm"), unix.O_RDWR)
	require.Zero(t, a.lockOp("lock", fa, unix.F_WRLCK, walByte, 1))
	require.Equal(t, int(unix.EAGAIN), b.lockOp("lock", fb, unix.F_WRLCK, walByte+1, 1))
	require.Zero(t, a.lockOp("lock", fa, unix.F_WRLCK, walByte+1, 1), "the writer itself may")
}

func TestSetlkwWaitsAndIsInterrupted(t *testing.T) {
	r := newRig(t)
	a, b, c := startApp(t), startApp(t), startApp(t)
	openDB(r, a, "a", "DELETE")
	a.must("a", "CREATE TABLE t (x)")
	fa, fb, fc := a.sysopen(r.path("db"), unix.O_RDWR), b.sysopen(r.path("db"), unix.O_RDWR), c.sysopen(r.path("db"), unix.O_RDWR)
	require.Zero(t, a.lockOp("lock", fa, unix.F_WRLCK, pendingByte, 1))
	b.send(order{Op: "lockw", Fd: fb, Typ: unix.F_WRLCK, Off: pendingByte, Len: 1})
	c.send(order{Op: "lockw", Fd: fc, Typ: unix.F_WRLCK, Off: pendingByte, Len: 1})
	r.eventually(func() bool { return waiting(c.cmd.Process.Pid) && waiting(b.cmd.Process.Pid) }, "both wait")
	c.kill() // returns only when the request was interrupted
	require.Zero(t, a.lockOp("lock", fa, unix.F_UNLCK, pendingByte, 1))
	require.Zero(t, b.receive().Errno)
	require.Equal(t, int(unix.EAGAIN), a.lockOp("lock", fa, unix.F_WRLCK, pendingByte, 1))
}

// LiteFS gets no unlock when the last descriptor of an open file description
// closes, and keeps its lock for ever. We hear of the file's end.
func TestOpenFileDescriptionLockEndsWithItsFile(t *testing.T) {
	r := newRig(t)
	a, b := startApp(t), startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	for _, kill := range []bool{false, true} {
		open := fileCall{Call: "open", Path: r.path("db"), Slot: 1, Flags: unix.O_RDWR}
		require.Zero(t, a.file(open).Errno)
		require.Zero(t, b.file(open).Errno)
		lock := fileCall{Call: "ofdlock", Slot: 1, Typ: unix.F_WRLCK, Off: pendingByte + 1, Len: 1}
		require.Zero(t, a.file(lock).Errno)
		require.Equal(t, unix.EAGAIN, b.file(lock).Errno)
		if kill {
			a.kill()
		} else {
			require.Zero(t, a.file(fileCall{Call: "close", Slot: 1}).Errno)
		}
		r.eventually(func() bool { return b.file(lock).Errno == 0 }, "free")
		lock.Typ = unix.F_UNLCK
		require.Zero(t, b.file(lock).Errno)
	}
	r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
}

// A waiting writer comes to its turn although readers come and go without end.
// It needs an instant without one, as on every file system of Linux.
func TestWaitingWriterIsNotStarved(t *testing.T) {
	r := newRig(t)
	setup, w := startApp(t), startApp(t)
	openDB(r, setup, "c", "DELETE")
	setup.must("c", "CREATE TABLE t (x)")
	open := fileCall{Call: "open", Path: r.path("db"), Slot: 1, Flags: unix.O_RDWR}
	lock := fileCall{Call: "lock", Slot: 1, Typ: unix.F_RDLCK, Off: pendingByte + 2, Len: 510}
	unlock, wait := lock, lock
	unlock.Typ = unix.F_UNLCK
	wait.Call, wait.Typ = "lockw", unix.F_WRLCK
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		a := startApp(t)
		require.Zero(t, a.file(open).Errno)
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					a.file(lock)
					a.file(unlock)
				}
			}
		})
	}
	require.Zero(t, w.file(open).Errno)
	for range 3 {
		got := make(chan *fileResult, 1)
		go func() { got <- w.file(wait) }()
		select {
		case ans := <-got:
			require.Zero(t, ans.Errno)
		case <-time.After(10 * time.Second):
			t.Fatal("starved")
		}
		require.Zero(t, w.file(unlock).Errno)
	}
	close(stop)
	readers.Wait()
}

// The end of a write transaction leaves the READ lock of the process, which may
// be another connection's: whoever took it away could restart the WAL beneath
// a reader, and LiteFS's own writers could come in.
func TestUnlockOfWriteLeavesREAD(t *testing.T) {
	r := newRig(t)
	a, b := startApp(t), startApp(t)
	openDB(r, a, "a", "WAL")
	a.must("a", "CREATE TABLE t (x)")
	fa, fb := a.sysopen(r.path("db-shm"), unix.O_RDWR), b.sysopen(r.path("db-shm"), unix.O_RDWR)
	require.Zero(t, a.lockOp("lock", fa, unix.F_RDLCK, walByte+4, 1))
	require.Zero(t, a.lockOp("lock", fa, unix.F_WRLCK, walByte, 1))
	require.Zero(t, a.lockOp("lock", fa, unix.F_UNLCK, walByte, 1))
	require.Equal(t, int(unix.EAGAIN), b.lockOp("lock", fb, unix.F_WRLCK, walByte+4, 1))
	d := r.fs.dbs.get("db")
	d.mu.Lock()
	d.dropKept()
	reads := d.reads()
	d.mu.Unlock()
	require.NotZero(t, reads, "LiteFS's writers are kept out")
	require.Zero(t, a.lockOp("lock", fa, unix.F_UNLCK, walByte+4, 1))
	require.Zero(t, b.lockOp("lock", fb, unix.F_WRLCK, walByte+4, 1))
}
