package fusefs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	onPrimary = "primary"
	onReplica = "replica"
	writers   = 8
)

// TestTorture: eight writing applications of four builds of SQLite, readers on
// both mounts, kills, fences, HALTs, changes of role and checkpoints in the
// midst of it. FUSEFS_STRESS is how long for each journal mode, FUSEFS_SEED
// repeats the choices of a run (not its races).
func TestTorture(t *testing.T) {
	for _, mode := range journalModes {
		t.Run(mode, func(t *testing.T) {
			seed := tortureSeed()
			t.Logf("seed %d: repeat with FUSEFS_SEED=%d", seed, seed)
			newTorture(t, mode, seed).run(tortureTime())
		})
	}
}

func tortureTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FUSEFS_STRESS")); err == nil {
		return d
	}
	return 4 * time.Second
}

func tortureSeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("FUSEFS_SEED"), 10, 64); err == nil {
		return n
	}
	return rand.Uint64()
}

type torture struct {
	t     *testing.T
	mode  string
	seed  uint64
	p, q  *rig
	kinds []string
	hist  *history
	end   time.Time

	epoch  uint64
	stop   atomic.Bool
	doubts atomic.Int64 // confirmations in a thousand that fail
	kills  atomic.Int64
	count  map[string]int // what the nemesis did

	mu    sync.Mutex
	procs map[*proc]bool
}

func newTorture(t *testing.T, mode string, seed uint64) *torture {
	x := &torture{t: t, mode: mode, seed: seed, kinds: workerKinds(t), hist: &history{mode: mode},
		epoch: 1, count: map[string]int{}, procs: map[*proc]bool{}}
	x.p = newRig(t, func(c *Config) { c.Halt = x.halt })
	x.p.onConfirm(x.confirm(x.rng(-1)))
	x.q = newReplica(x.p)
	a := startApp(t)
	openDB(x.p, a, "s", mode)
	for _, stmt := range tortureSchema {
		a.must("s", stmt)
	}
	a.kill()
	inStep(x.p, x.q, "db")
	t.Cleanup(func() {
		for p := range x.procs {
			p.kill()
		}
		x.autopsy()
	})
	return x
}

// rng gives everybody choices of their own, so that the order in which they
// run does not matter.
func (x *torture) rng(i int) *rand.Rand { return rand.New(rand.NewPCG(x.seed, uint64(i))) }

func (x *torture) run(d time.Duration) {
	x.end = time.Now().Add(d)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer x.stop.Store(true) // also where a requirement fails
	for i := range writers {
		wg.Go(func() { x.writer(i) })
	}
	for i, on := range []string{onPrimary, onPrimary, onReplica, onReplica} {
		wg.Go(func() { x.reader(100+i, on) })
	}
	wg.Go(func() { x.checkpointer(200) })
	wg.Go(func() { x.halter(300) })
	x.nemesis(400)
	x.finale()
	x.stop.Store(true)
	wg.Wait()
	x.verify()
}

func (x *torture) running() bool { return !x.stop.Load() }

func (x *torture) start(kind string) *proc {
	p, err := startProc(kind)
	if err != nil {
		x.hist.accuse("start %s: %v", kind, err)
		return nil
	}
	x.mu.Lock()
	x.procs[p] = true
	x.mu.Unlock()
	return p
}

func (x *torture) ended(p *proc) {
	x.mu.Lock()
	delete(x.procs, p)
	x.mu.Unlock()
}

func monotonic() int64 { return time.Since(tortureStart).Nanoseconds() }

var tortureStart = time.Now()

// writer runs one application after the other. The first half of the writers
// keep their connections, the others open one for every transaction.
func (x *torture) writer(i int) {
	rng := x.rng(i)
	for life := 0; x.running(); life++ {
		p := x.start(x.kinds[i%len(x.kinds)])
		if p == nil {
			return
		}
		base := job{DB: x.p.path("db"), Busy: 1000 + rng.IntN(3000), Setup: setupOf(rng, x.mode, true), Keep: i < writers/2}
		who := fmt.Sprintf("writer %d.%d (%s, keep %v, %v)", i, life, p.kind, base.Keep, base.Setup)
		for n := range 10 + rng.IntN(60) {
			if !x.running() || !x.write(rng, p, base, who, fmt.Sprintf("%d.%d.%d", i, life, n)) {
				break
			}
		}
		if rng.IntN(2) == 0 {
			p.kill()
		} else {
			p.finish()
		}
		x.ended(p)
	}
}

// write makes one transaction. It returns false when the process is gone.
func (x *torture) write(rng *rand.Rand, p *proc, j job, who, id string) bool {
	a := &attempt{id: id, who: who}
	j.Stmts = writeJob(rng, a)
	x.hist.attempt(a)
	if rng.IntN(20) == 0 || x.kills.Load() == 0 {
		x.kills.Add(1)
		timer := time.AfterFunc(time.Duration(rng.IntN(30_000))*time.Microsecond, p.strike)
		defer timer.Stop()
	}
	a.start = monotonic()
	r, err := p.do(j)
	a.end = monotonic()
	if err != nil {
		x.hist.accuse("%s: %v", a, err)
		return false
	}
	x.hist.mu.Lock()
	a.reply = r
	x.hist.mu.Unlock()
	return r != nil
}

func (x *torture) reader(i int, on string) {
	rng := x.rng(i)
	db := x.p.path("db")
	if on == onReplica {
		db = x.q.path("db")
	}
	for life := 0; x.running(); life++ {
		p := x.start(pick(rng, x.kinds...))
		if p == nil {
			return
		}
		base := job{DB: db, Busy: 5000, Setup: setupOf(rng, x.mode, false), Keep: rng.IntN(2) == 0}
		who := fmt.Sprintf("reader %d.%d (%s, keep %v, %v)", i, life, p.kind, base.Keep, base.Setup)
		for range 20 + rng.IntN(200) {
			if !x.running() || !x.read(rng, p, base, who, on) {
				break
			}
			x.sleep(rng, 10*time.Millisecond) // or writers in rollback modes starve
		}
		p.kill()
		x.ended(p)
	}
}

func (x *torture) read(rng *rand.Rand, p *proc, j job, who, on string) bool {
	l := &look{who: who, on: on}
	j.Stmts = readJob(rng)
	if rng.IntN(150) == 0 {
		x.kills.Add(1)
		timer := time.AfterFunc(time.Duration(rng.IntN(5000))*time.Microsecond, p.strike)
		defer timer.Stop()
	}
	l.start = monotonic()
	r, err := p.do(j)
	l.end = monotonic()
	if err != nil {
		x.hist.accuse("%s: %v", l, err)
	}
	if r == nil {
		return false
	}
	if l.reply = r; r.ok() {
		l.judge()
	}
	x.hist.look(l)
	return true
}

// checkpointer runs checkpoints of every kind.
func (x *torture) checkpointer(i int) {
	if x.mode != "WAL" {
		return
	}
	rng := x.rng(i)
	p := x.start("mattn")
	if p == nil {
		return
	}
	defer x.ended(p)
	defer p.finish()
	for x.running() {
		kind := pick(rng, "PASSIVE", "FULL", "RESTART", "TRUNCATE")
		l := &look{span: span{start: monotonic()}, who: "wal_checkpoint(" + kind + ")"}
		var err error
		l.reply, err = p.do(job{DB: x.p.path("db"), Busy: rng.IntN(500), Stmts: []string{"PRAGMA wal_checkpoint(" + kind + ")"}, Keep: rng.IntN(4) > 0})
		l.end = monotonic()
		if err != nil || l.reply == nil {
			x.hist.accuse("%s: the application is gone: %v", l, err)
			return
		}
		x.hist.checkpoint(l)
		x.sleep(rng, 100*time.Millisecond)
	}
}

// sleep is a pace, not a wait for something.
func (x *torture) sleep(rng *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(rng.Int64N(int64(most))))
}

// verify looks at what is left when everybody has gone.
func (x *torture) verify() {
	t := x.t
	a := startApp(t)
	a.open("new", x.p.path("db"))
	a.must("new", "PRAGMA busy_timeout=10000")
	require.Equal(t, "ok", a.value("new", "PRAGMA integrity_check"))
	x.p.eventually(func() bool { return !hotJournal(x.p) }, "no hot journal")
	seq, err := strconv.Atoi(a.value("new", "SELECT max(seq) FROM inv"))
	require.NoError(t, err)
	require.Equal(t, "0", a.value("new", "SELECT count(*) FROM t WHERE x IS NOT "+filling))
	have := contents(t, a, "new")
	problems := x.hist.check(have, seq)
	for _, s := range problems[:min(len(problems), 30)] {
		t.Error(s)
	}
	if len(problems) > 0 {
		t.Logf("shut %v; fenced %v; cuts %v", x.hist.shut, x.hist.fenced, x.hist.cuts)
	}
	require.Empty(t, len(problems), "problems; those above are the first. Seed %d", x.seed)
	a.must("new", "INSERT INTO t VALUES ('after', 0, 1, 0, 1, 'x', 'x')")
	out, err := shell(t, x.p.path("db"), "PRAGMA busy_timeout=5000; DELETE FROM t WHERE id = 'after'")
	require.NoError(t, err, out)

	inStep(x.p, x.q, "db")
	b := startApp(t)
	b.open("new", x.q.path("db"))
	b.must("new", "PRAGMA busy_timeout=10000")
	require.Equal(t, "ok", b.value("new", "PRAGMA integrity_check"))
	require.Equal(t, have, contents(t, b, "new"), "the replica has the same rows")
	a.kill()
	b.kill()
	for _, r := range []*rig{x.p, x.q} {
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
	}
	x.report(len(have), seq)
}

// contents reads what the database has of every transaction.
func contents(t *testing.T, a *app, conn string) map[string]row {
	have := map[string]row{}
	for last := ""; ; {
		ans := a.do(order{Op: "query", Conn: conn, Arg: "SELECT id, count(*), max(seq) FROM t WHERE id > '" + last + "' GROUP BY id ORDER BY id LIMIT 5000"})
		require.Empty(t, ans.Err)
		if len(ans.Rows) == 0 {
			return have
		}
		for _, r := range ans.Rows {
			parts, _ := strconv.Atoi(r[1])
			seq, _ := strconv.Atoi(r[2])
			have[r[0]], last = row{parts, seq}, r[0]
		}
	}
}
