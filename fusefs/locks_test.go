package fusefs

import (
	"testing"

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

// The same script on LiteFS's mount and on ours must get the same answers.
func TestLocksAsOnLiteFS(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	a.kill()
	script := func(dir string) (got []int) {
		p, q := startApp(t), startApp(t)
		defer p.kill()
		defer q.kill()
		for _, f := range []struct {
			name string
			base int64
		}{{"db", pendingByte}, {"db-shm", walByte}} {
			p1 := p.sysopen(dir+"/"+f.name, unix.O_RDWR|unix.O_CREAT)
			p2 := p.sysopen(dir+"/"+f.name, unix.O_RDWR)
			q1 := q.sysopen(dir+"/"+f.name, unix.O_RDWR)
			rec := func(n int) { got = append(got, n) }
			rec(p.lockOp("lock", p1, unix.F_RDLCK, f.base+2, 1))
			rec(q.lockOp("lock", q1, unix.F_RDLCK, f.base+2, 1))
			rec(q.lockOp("lock", q1, unix.F_WRLCK, f.base+2, 1))
			rec(p.lockOp("lock", p2, unix.F_WRLCK, f.base, 1)) // the second descriptor: same owner
			rec(p.lockOp("lock", p1, unix.F_WRLCK, f.base, 1))
			rec(q.lockOp("lock", q1, unix.F_RDLCK, f.base, 1))
			rec(q.lockOp("lock", q1, unix.F_WRLCK, f.base, 2)) // partly taken: all or nothing
			rec(p.lockOp("lock", p2, unix.F_WRLCK, f.base+1, 1))
			rec(int(q.do(order{Op: "getlk", Fd: q1, Typ: unix.F_WRLCK, Off: f.base, Len: 1}).Typ))
			rec(p.lockOp("lock", p2, unix.F_UNLCK, f.base, 1)) // through the other descriptor
			rec(q.lockOp("lock", q1, unix.F_WRLCK, f.base, 1))
			rec(q.lockOp("lock", q1, unix.F_UNLCK, f.base, 1))
			rec(p.lockOp("lock", p1, unix.F_WRLCK, f.base, 1))
			rec(p.do(order{Op: "sysclose", Fd: p2}).Errno) // closes any: drops all
			rec(q.lockOp("lock", q1, unix.F_WRLCK, f.base, 3))
			rec(q.lockOp("lock", q1, unix.F_UNLCK, 0, 0))
			rec(p.lockOp("lock", p1, unix.F_WRLCK, f.base, 3))
			rec(p.lockOp("lock", p1, unix.F_UNLCK, f.base, 3))
		}
		return got
	}
	require.Equal(t, script(r.lower), script(r.mount))
	r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked below")
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
