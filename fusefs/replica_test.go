package fusefs

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inStep waits until the replica stands where the primary does: the same
// content, by LiteFS's own checksum of the whole database.
func inStep(p, q *rig, db string) {
	p.t.Helper()
	p.eventually(func() bool {
		a, err1 := os.ReadFile(filepath.Join(p.lower, db+"-pos"))
		b, err2 := os.ReadFile(filepath.Join(q.lower, db+"-pos"))
		return err1 == nil && err2 == nil && string(a) == string(b)
	}, "the replica is in step")
	select {
	case <-p.exit:
		p.t.Fatal("the primary's LiteFS is gone")
	case <-q.exit:
		p.t.Fatal("the replica's LiteFS is gone")
	default:
	}
}

// A replica's reads see what LiteFS applied beneath the mount, in connections
// that were open all the time.
func TestReplicaReadsAreFresh(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			p := newRig(t)
			q := newReplica(p)
			w := startApp(t)
			openDB(p, w, "w", mode)
			w.must("w", "CREATE TABLE t (x)")
			w.must("w", "INSERT INTO t VALUES (0)")
			inStep(p, q, "db")
			a := startApp(t)
			a.open("r", q.path("db"))
			a.must("r", "PRAGMA busy_timeout=5000")
			for i := range 30 {
				require.Equal(t, itoa(i+1), a.value("r", "SELECT count(*) FROM t"))
				w.must("w", "INSERT INTO t VALUES (1)")
				if i%7 == 0 {
					w.must("w", "PRAGMA wal_checkpoint(TRUNCATE)")
				}
				inStep(p, q, "db")
			}
			require.NotEmpty(t, a.exec("r", "INSERT INTO t VALUES (2)").Err)
			require.Equal(t, "ok", a.value("r", "PRAGMA integrity_check"))
		})
	}
}

// Writers, readers, fences, revocations and kills together. What was
// acknowledged is there, what LiteFS has and what SQLite has agree (the
// replica's LiteFS exits where they do not), and nothing sticks.
func TestStress(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) { stress(t, mode, stressTime()) })
	}
}

func stressTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FUSEFS_STRESS")); err == nil {
		return d
	}
	return 3 * time.Second
}

func stress(t *testing.T, mode string, d time.Duration) {
	p := newRig(t)
	q := newReplica(p)
	setup := startApp(t)
	openDB(p, setup, "s", mode)
	setup.must("s", "CREATE TABLE t (id INTEGER PRIMARY KEY, w, x)")
	inStep(p, q, "db")

	end := time.Now().Add(d)
	var wg sync.WaitGroup
	acked := make([][]string, 3)
	for w := range acked {
		wg.Go(func() {
			for n := 0; time.Now().Before(end); {
				a := startApp(t)
				a.open("c", p.path("db"))
				a.exec("c", "PRAGMA busy_timeout=2000")
				a.exec("c", "PRAGMA cache_size=5")
				a.exec("c", "PRAGMA wal_autocheckpoint=20")
				for range 5 + rand.IntN(40) {
					id := itoa(w*1_000_000 + n)
					n++
					stmt := "INSERT INTO t VALUES (" + id + "," + itoa(w) + ",randomblob(" + itoa(rand.IntN(20000)) + "))"
					if rand.IntN(15) == 0 {
						a.send(order{Op: "exec", Conn: "c", Arg: stmt})
						break // killed in the midst of it
					}
					if a.exec("c", stmt).Err == "" {
						acked[w] = append(acked[w], id)
					} else {
						a.exec("c", "ROLLBACK")
					}
				}
				a.kill()
			}
		})
	}
	wg.Go(func() {
		a := startApp(t)
		defer a.kill()
		a.open("r", p.path("db"))
		a.exec("r", "PRAGMA busy_timeout=5000")
		for time.Now().Before(end) {
			ans := a.do(order{Op: "query", Conn: "r", Arg: "SELECT count(*), sum(length(x)) FROM t"})
			if ans.Err != "" && ans.Code != 5 {
				t.Errorf("a read failed: %+v", ans)
			}
		}
	})
	epoch := uint64(1)
	for time.Now().Before(end) {
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond) // the nemesis's pace
		if rand.IntN(3) == 0 {
			p.gate.Revoke()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		require.NoError(t, p.gate.Fence(ctx))
		cancel()
		pos := p.pos("db")
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
		require.Equal(t, pos, p.pos("db"), "nothing moves while fenced")
		epoch++
		require.NoError(t, p.gate.Open(epoch, forever))
	}
	wg.Wait()

	require.Equal(t, "ok", setup.value("s", "PRAGMA integrity_check"))
	ans := setup.do(order{Op: "query", Conn: "s", Arg: "SELECT id FROM t"})
	require.Empty(t, ans.Err)
	have := map[string]bool{}
	for _, row := range ans.Rows {
		have[row[0]] = true
	}
	total := 0
	for _, ids := range acked {
		for _, id := range ids {
			total++
			require.True(t, have[id], "an acknowledged row is lost")
		}
	}
	setup.must("s", "INSERT INTO t VALUES (-1, 0, 0)")
	inStep(p, q, "db")
	b := startApp(t)
	b.open("b", q.path("db"))
	require.Equal(t, itoa(len(have)+1), b.value("b", "SELECT count(*) FROM t"), "the replica has the same rows")
	setup.kill()
	b.kill()
	p.eventually(func() bool { return p.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
	t.Logf("%d acknowledged, %d there, %d fences; %+v", total, len(have), epoch, p.fs.Stats())
}

// LiteFS's own HALT lock, on NAME-lock: passed through, and one who waits for
// it can be killed.
func TestHaltLockPassesAndIsInterrupted(t *testing.T) {
	p := newRig(t)
	q := newReplica(p)
	w := startApp(t)
	openDB(p, w, "w", "DELETE")
	w.must("w", "CREATE TABLE t (x)")
	inStep(p, q, "db")
	a := startApp(t)
	fd := a.sysopen(q.path("db-lock"), os.O_RDWR)
	require.Zero(t, a.lockOp("lockw", fd, unix.F_WRLCK, 72, 1))
	w.must("w", "PRAGMA busy_timeout=0")
	require.Equal(t, 5, w.exec("w", "INSERT INTO t VALUES (1)").Code, "the primary is halted")
	require.Zero(t, a.do(order{Op: "sysclose", Fd: fd}).Errno)
	p.eventually(func() bool { return w.exec("w", "INSERT INTO t VALUES (1)").Err == "" }, "a close lets go")

	w.must("w", "BEGIN IMMEDIATE")
	fd = a.sysopen(q.path("db-lock"), os.O_RDWR)
	a.send(order{Op: "lockw", Fd: fd, Typ: unix.F_WRLCK, Off: 72, Len: 1})
	p.eventually(func() bool { return waiting(a.cmd.Process.Pid) }, "it waits")
	start := time.Now()
	a.kill()
	require.Less(t, time.Since(start), 5*time.Second, "LiteFS's own timeout is 10 s")
	w.must("w", "ROLLBACK")
	p.eventually(func() bool { return w.exec("w", "INSERT INTO t VALUES (1)").Err == "" }, "nothing sticks")
}
