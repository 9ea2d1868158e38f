package fusefs

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The buckets against a plain count of what is at most as long.
func TestTiming(t *testing.T) {
	var timing Timing
	var all []time.Duration
	add := func(d time.Duration) {
		timing.Add(d)
		all = append(all, max(0, d))
	}
	for _, d := range []time.Duration{-5, 0, 1, 4095, 4096, 4097, 8191, 8192, time.Second, 1 << 32, 1 << 33, 1<<33 + 1, time.Hour, math.MaxInt64 >> 10} {
		add(d)
	}
	for range 10_000 {
		add(time.Duration(math.Exp(rand.Float64() * 25)))
	}
	got := timing.Times()
	require.Equal(t, uint64(len(all)), got.Count)
	require.Len(t, got.Buckets, buckets-1)
	sum := time.Duration(0)
	for _, d := range all {
		sum += d
	}
	require.Equal(t, sum, got.Sum)
	for bound, n := range got.Buckets {
		var want uint64
		for _, d := range all {
			if d < time.Duration(bound*1e9) { // one on the bound counts as longer: a nanosecond in 4 us
				want++
			}
		}
		require.Equal(t, want, n, bound)
	}
}

func TestTimingConcurrent(t *testing.T) {
	var timing Timing
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10_000 {
				timing.Add(time.Microsecond)
			}
		})
	}
	wg.Wait()
	require.Equal(t, uint64(80_000), timing.Times().Count)
	require.Equal(t, 80*time.Millisecond, timing.Times().Sum)
}

// Every operation that an application makes is timed.
func TestOpsAreTimed(t *testing.T) {
	r := newRig(t)
	was := r.fs.OpTimes()
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	const n = 100
	for range n {
		a.must("c", "INSERT INTO t VALUES ('one')")
	}
	out, err := shell(t, r.path("db"), "SELECT count(*) FROM t")
	require.NoError(t, err, out)
	_, err = os.ReadDir(r.mount)
	require.NoError(t, err)
	now := r.fs.OpTimes()
	for op, least := range map[string]uint64{"open": 1, "create": n, "release": 1, "unlink": n, "fsync": n, "readdir": 1} {
		require.GreaterOrEqual(t, now[op].Count-was[op].Count, least, op)
		require.Greater(t, now[op].Sum, was[op].Sum, op)
		require.Less(t, now[op].Sum, time.Minute, op)
	}
	// Estimates: at least 300 of each, of which none is timed once in 10^8 runs.
	for _, op := range []string{"write", "setlk"} {
		require.Greater(t, now[op].Count, was[op].Count, op)
		require.Zero(t, now[op].Count%sampleOf, op)
		require.Greater(t, now[op].Sum, was[op].Sum, op)
	}
	require.Len(t, now, int(ops))
}

// BenchmarkTiming is what timing adds to each operation.
func BenchmarkTiming(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		f := &timedFS{rawFS{&FS{}}}
		for b.Loop() {
			func() { defer f.took(opRead, begin(opRead)) }()
		}
	})
	b.Run("contended", func(b *testing.B) {
		f := &timedFS{rawFS{&FS{}}}
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				func() { defer f.took(opRead, begin(opRead)) }()
			}
		})
	})
}

// TestTimingCost measures a cheap request, 512 bytes of a -wal, with and without
// timing, in turns. FUSEFS_TIMING=1 asks for it.
func TestTimingCost(t *testing.T) {
	if os.Getenv("FUSEFS_TIMING") == "" {
		t.Skip("FUSEFS_TIMING=1 measures")
	}
	const n, rounds = 500, 600
	open := func(untimed bool) (read func() time.Duration) {
		r := newRig(t, func(c *Config) { c.untimed = untimed })
		a := startApp(t)
		openDB(r, a, "c", "WAL")
		a.must("c", "CREATE TABLE t (x)")
		f, err := os.Open(r.path("db-wal")) // direct: each read is a request
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() }) // or this process, which serves the mount, waits for itself at its end
		buf := make([]byte, 512)
		return func() time.Duration {
			began := time.Now()
			for range n {
				if _, err := f.ReadAt(buf, 0); err != nil {
					t.Error(err)
				}
			}
			return time.Since(began) / n
		}
	}
	plain, timed := open(true), open(false)
	var without, with []time.Duration
	for range rounds {
		without, with = append(without, plain()), append(with, timed())
	}
	slices.Sort(without)
	slices.Sort(with)
	for _, at := range []int{0, rounds / 4, rounds / 2} {
		t.Logf("a read of 512 bytes: %s without, %s with (%d%% of %d rounds of %d are faster)", without[at], with[at], 100*at/rounds, rounds, n)
	}
}
