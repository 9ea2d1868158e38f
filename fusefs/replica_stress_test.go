package fusefs

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReplicaStress: one application writes on the primary as fast as it can,
// others read without a pause on a replica through its fenced mount, and, to
// compare with, on another replica from LiteFS's own mount. What they read is
// one snapshot, never an older one than before, and never older than what
// their replica's LiteFS had applied when the read began.
func TestReplicaStress(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			seed := tortureSeed()
			t.Logf("seed %d: repeat with FUSEFS_SEED=%d", seed, seed)
			newReplicaStress(t, mode, seed).run(tortureTime() / 2)
		})
	}
}

const onBare = "LiteFS alone"

type replicaStress struct {
	*torture
	bare   *rig
	txids  map[uint64]int // number of the newest transaction at each TXID
	mu     sync.Mutex
	looked []appliedLook
}

// appliedLook is a read with what the replica's LiteFS had applied around it.
type appliedLook struct {
	*look
	before, after uint64 // TXID
}

func newReplicaStress(t *testing.T, mode string, seed uint64) *replicaStress {
	s := &replicaStress{torture: newTorture(t, mode, seed), txids: map[uint64]int{}}
	s.bare = startNode(t, s.p.url)
	inStep(s.p, s.bare, "db")
	return s
}

func (s *replicaStress) run(d time.Duration) {
	s.end = time.Now().Add(d)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.stop.Store(true) // also where a requirement fails
	// The same applications on both replicas: what differs is the mount.
	for i, kind := range []string{"mattn", s.kinds[min(2, len(s.kinds)-1)]} {
		keep := i == 0
		wg.Go(func() { s.readFrom(100+i, kind, keep, onReplica, s.q.mount, s.q.lower) })
		wg.Go(func() { s.readFrom(200+i, kind, keep, onBare, s.bare.lower, s.bare.lower) })
	}
	acks := s.write(1)
	s.stop.Store(true)
	wg.Wait()
	s.judge(acks)
}

// write returns the moment at which each number was acknowledged.
func (s *replicaStress) write(i int) (acks []int64) {
	rng, t := s.rng(i), s.t
	p := s.start("mattn")
	require.NotNil(t, p)
	defer s.ended(p)
	defer p.finish()
	s.txids[txidOf(t, s.p.lower)] = 0
	for n := 1; time.Now().Before(s.end); n++ {
		a := &attempt{id: strconv.Itoa(n), who: "writer"}
		s.hist.attempt(a)
		j := job{DB: s.p.path("db"), Busy: 5000, Stmts: countingJob(rng, a), Keep: true}
		a.start = monotonic()
		r, err := p.do(j)
		a.end = monotonic()
		require.NoError(t, err)
		require.True(t, r != nil && r.ok(), "%v", r)
		a.reply = r
		s.txids[txidOf(t, s.p.lower)] = n
		acks = append(acks, a.end)
		if s.mode == "WAL" && rng.IntN(100) == 0 {
			kind := pick(rng, "PASSIVE", "FULL", "RESTART", "TRUNCATE")
			_, err := p.do(job{DB: j.DB, Busy: 100, Stmts: []string{"PRAGMA wal_checkpoint(" + kind + ")"}, Keep: true})
			require.NoError(t, err)
		}
	}
	return acks
}

// txidOf reads the TXID from LiteFS's -pos.
func txidOf(t *testing.T, lower string) uint64 {
	b, err := os.ReadFile(filepath.Join(lower, "db-pos"))
	require.NoError(t, err)
	txid, err := parsePos(string(b))
	require.NoError(t, err)
	return txid
}

func parsePos(pos string) (uint64, error) {
	txid, _, _ := strings.Cut(strings.TrimSpace(pos), "/")
	return strconv.ParseUint(txid, 16, 64)
}

func (s *replicaStress) readFrom(i int, kind string, keep bool, on, dir, lower string) {
	rng := s.rng(i)
	p := s.start(kind)
	if p == nil {
		return
	}
	defer s.ended(p)
	defer p.finish()
	for s.running() {
		l := appliedLook{look: &look{who: fmt.Sprintf("reader %d (%s)", i, kind), on: on}}
		var err error
		if l.before, err = posOf(lower); err != nil {
			s.hist.accuse("%s: %v", on, err)
			return
		}
		l.start = monotonic()
		l.reply, err = p.do(job{DB: filepath.Join(dir, "db"), Busy: 5000, Stmts: readJob(rng), Keep: keep})
		l.end = monotonic()
		if err != nil || l.reply == nil {
			s.hist.accuse("%s: the application is gone: %v", l, err)
			return
		}
		if l.reply.ok() {
			l.judge()
		}
		if l.after, err = posOf(lower); err != nil {
			s.hist.accuse("%s: %v", on, err)
			return
		}
		s.mu.Lock()
		s.looked = append(s.looked, l)
		s.mu.Unlock()
	}
}

func posOf(lower string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(lower, "db-pos"))
	if err != nil {
		return 0, err
	}
	return parsePos(string(b))
}

func (s *replicaStress) judge(acks []int64) {
	t := s.t
	for _, r := range []*rig{s.q, s.bare} {
		inStep(s.p, r, "db")
	}
	// What LiteFS alone does wrong is reported and is no failure of ours.
	for _, l := range s.looked {
		if l.on == onReplica {
			s.hist.look(l.look)
		}
	}
	bad := s.hist.staleness(s.looked, s.txids)
	t.Logf("LiteFS alone: %d reads in which it broke what is asserted of ours", len(bad[onBare]))
	for _, problem := range bad[onReplica] {
		s.hist.accuse("%s", problem)
	}
	ours, theirs := s.lagOf(onReplica, acks), s.lagOf(onBare, acks)
	t.Logf("%d transactions; through the mount: %v; LiteFS alone: %v; lag of the position, ratio of the means %.2f; reads, ratio %.2f",
		len(acks), ours, theirs, ours.applied/max(theirs.applied, 1e-9), float64(ours.reads)/float64(max(theirs.reads, 1)))
	require.Positive(t, ours.reads)
	require.Positive(t, theirs.reads)
	require.Greater(t, ours.moved, 1, "reads that saw another number than the one before")
	s.verifyReplica(len(acks))
}

func (s *replicaStress) verifyReplica(seq int) {
	t := s.t
	a := startApp(t)
	a.open("c", s.q.path("db"))
	a.must("c", "PRAGMA busy_timeout=10000")
	require.Equal(t, "ok", a.value("c", "PRAGMA integrity_check"))
	problems := s.hist.check(contents(t, a, "c"), seq)
	for _, p := range problems[:min(len(problems), 30)] {
		t.Error(p)
	}
	a.kill()
	for _, r := range []*rig{s.p, s.q} {
		r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
	}
}

// staleness compares each read with its replica's own position: it shows at
// least what had been applied before it began, and no more than what had been
// when it ended. It needs no bound in time.
func (h *history) staleness(looked []appliedLook, txids map[uint64]int) (bad map[string][]string) {
	bad = map[string][]string{}
	for _, l := range looked {
		if !l.reply.ok() {
			continue
		}
		low, known1 := txids[l.before]
		high, known2 := txids[l.after]
		switch {
		case !known1 || !known2:
			bad[l.on] = append(bad[l.on], fmt.Sprintf("%s: the replica stood at %d..%d, which the primary never did", l, l.before, l.after))
		case l.seq < low:
			bad[l.on] = append(bad[l.on], fmt.Sprintf("%s: stale: saw number %d, %d had been applied before it began", l, l.seq, low))
		case l.seq > high:
			bad[l.on] = append(bad[l.on], fmt.Sprintf("%s: saw number %d, %d was the last applied after it", l, l.seq, high))
		}
	}
	return bad
}

// lag is how far reads lay behind what had been acknowledged when they began.
type lag struct {
	reads, moved int
	applied      float64       // transactions that the position lay behind, mean
	seen         float64       // transactions that the data read lay behind, mean
	median, p99  time.Duration // since the oldest transaction not seen was acknowledged
}

func (l lag) String() string {
	return fmt.Sprintf("%d reads, data behind by %.1f transactions (mean), %v (median), %v (99 %%)",
		l.reads, l.seen, l.median.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond))
}

func (s *replicaStress) lagOf(on string, acks []int64) (l lag) {
	var ages []time.Duration
	last := -1
	for _, k := range s.looked {
		if k.on != on || !k.reply.ok() {
			continue
		}
		acked, _ := slices.BinarySearch(acks, k.start)
		l.reads++
		l.seen += float64(max(0, acked-k.seq))
		l.applied += float64(max(0, acked-s.txids[k.before]))
		var age time.Duration
		if k.seq < acked {
			age = time.Duration(k.start - acks[k.seq])
		}
		ages = append(ages, age)
		if k.seq != last {
			l.moved++
		}
		last = k.seq
	}
	if l.reads == 0 {
		return l
	}
	slices.SortFunc(ages, cmp.Compare[time.Duration])
	l.seen /= float64(l.reads)
	l.applied /= float64(l.reads)
	l.median, l.p99 = ages[len(ages)/2], ages[len(ages)*99/100]
	return l
}
