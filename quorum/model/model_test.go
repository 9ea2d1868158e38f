package model

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	flagSeed    = flag.Uint64("seed", 0, "TestReplay: the schedule's seed")
	flagWorld   = flag.String("world", "lease", "TestReplay: lease, frozen, data or copied")
	flagWithout = flag.String("without", "", "TestReplay: rules that are switched off, separated by commas")
)

// perWorld is how many schedules each world plays unless MODEL_SCHEDULES says
// otherwise. Frozen is Lease with one fault more and plays a fifth of that.
const perWorld = 60_000

func workers() int { return runtime.GOMAXPROCS(0) }

func env(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return or
}

func schedules() int { return env("MODEL_SCHEDULES", perWorld) }

// sweep plays n schedules from seed on and returns the seeds that broke a
// promise.
func sweep(w World, off Rules, seed uint64, n int) (broken []uint64) {
	const batch = 500
	var mu sync.Mutex
	parallel((n+batch-1)/batch, func(i int) {
		from := i * batch
		if s, at, _ := w.Find(off, seed+uint64(from), min(batch, n-from)); s != nil {
			mu.Lock()
			broken = append(broken, at)
			mu.Unlock()
		}
	})
	return broken
}

func replayCommand(w World, off Rules, seed uint64) string {
	cmd := fmt.Sprintf("go test ./quorum/model -run 'TestReplay$' -v -world=%s -seed=%d", w, seed)
	if off != 0 {
		cmd += " -without=" + off.String()
	}
	return cmd
}

// Under the rules as they stand no schedule breaks a promise.
func TestRulesHold(t *testing.T) {
	base := uint64(env("MODEL_SEED", 1))
	for _, w := range []World{Lease, Frozen, Data, Copied} {
		start, n := time.Now(), schedules()
		switch w {
		case Frozen:
			n /= 5
		case Copied:
			n /= 2
		}
		broken := sweep(w, 0, base, n)
		t.Logf("%s: %d schedules of %d moves from seed %d in %s", w, n, w.Length()-1, base, time.Since(start).Round(time.Millisecond))
		for _, seed := range broken {
			s := NewSchedule(seed, w.Length())
			s = w.Shrink(0, s[:w.Run(0, s, nil).Step+1])
			t.Errorf("replay: %s\n%s", replayCommand(w, 0, seed), w.Transcript(0, s))
			break
		}
	}
}

// The schedules are about something: writers change, commits are acknowledged.
func TestSchedulesReach(t *testing.T) {
	const n = 2000
	for _, w := range []World{Lease, Frozen, Data, Copied} {
		two, three, acks := 0, 0, 0
		for seed := range uint64(n) {
			o := w.play(0, NewSchedule(seed+1, w.Length()), nil)
			if o.turns >= 2 {
				two++
			}
			if o.turns >= 3 {
				three++
			}
			if o.acks > 0 {
				acks++
			}
		}
		t.Logf("%s: of %d schedules %d have a second writer in turn, %d a third, %d acknowledged commits", w, n, two, three, acks)
		require.Greater(t, two, n/5)
		require.Greater(t, three, n/20)
		require.Greater(t, acks, n/20)
	}
}

// TestReplay plays one schedule and prints what happened, shrunk if it breaks a
// promise. It is there for its command line and passes without one.
func TestReplay(t *testing.T) {
	if *flagSeed == 0 {
		t.Skip("no -seed")
	}
	off, err := ParseRules(*flagWithout)
	require.NoError(t, err)
	for w := range World(len(worlds)) {
		if w.String() != *flagWorld {
			continue
		}
		s := NewSchedule(*flagSeed, w.Length())
		v := w.Run(off, s, nil)
		if v != nil {
			s = w.Shrink(off, s[:v.Step+1])
		}
		t.Logf("%s, seed %d, %d moves, without %q\n%s", w, *flagSeed, len(s)-1, off, w.Transcript(off, s))
		if v != nil {
			t.Fail()
		}
		return
	}
	t.Fatalf("no world %q", *flagWorld)
}

// A run depends on its schedule alone, and a shrunk one still breaks the same
// promise with nothing left to leave out.
func TestRunsRepeatAndShrink(t *testing.T) {
	off := Without(Wait)
	bad, seed, _ := Lease.Find(off, 1, 1000)
	require.NotNil(t, bad)
	require.Equal(t, Lease.Transcript(off, NewSchedule(seed, Lease.Length())), Lease.Transcript(off, NewSchedule(seed, Lease.Length())))
	s := Lease.Shrink(off, bad)
	require.Contains(t, Lease.Transcript(off, s), "BROKEN: second writer")
	for i := 1; i < len(s); i++ {
		less := append(append(Schedule{}, s[:i]...), s[i+1:]...)
		require.Nil(t, Lease.Run(off, less, nil), "move %d is not needed", i)
	}
}

// The clever k-th newest agrees with the definition.
func TestKthIsAcked(t *testing.T) {
	for n := 1; n < 6; n++ {
		for self := range 2 {
			for bits := range 1 << 6 {
				var acks []int64
				for i := 0; i+self < n && bits>>(3*i) != 0; i++ {
					acks = append(acks, int64(1+bits>>(2*i)&3))
				}
				at, ok := Acked(acks, n, self == 1)
				got, gotOK := kth(acks, n, self == 1)
				require.Equal(t, ok, gotOK)
				if ok {
					require.Equal(t, at, got)
				}
			}
		}
	}
}
