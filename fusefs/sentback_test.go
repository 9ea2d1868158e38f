package fusefs

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// However fast the primary writes, a reader that begins on a replica gets on.
func TestReadersBeginWhileThePrimaryWrites(t *testing.T) {
	p := newRig(t)
	q := newReplica(p)
	w := startApp(t)
	openDB(p, w, "w", "WAL")
	w.must("w", "CREATE TABLE t (x)")
	w.must("w", "INSERT INTO t VALUES (0)")
	inStep(p, q, "db")
	var stop atomic.Bool
	var writers sync.WaitGroup
	writers.Go(func() {
		for !stop.Load() {
			w.must("w", "UPDATE t SET x=x+1")
		}
	})
	defer writers.Wait()
	defer stop.Store(true)
	worst, reads := time.Duration(0), 0
	a := startApp(t)
	for end := time.Now().Add(stressTime()); time.Now().Before(end); reads++ {
		a.open("r", q.path("db"))
		start := time.Now()
		ans := a.do(order{Op: "query", Conn: "r", Arg: "SELECT x FROM t"})
		worst = max(worst, time.Since(start))
		require.Empty(t, ans.Err, "after %v", time.Since(start))
		require.Empty(t, a.do(order{Op: "close", Conn: "r"}).Err)
	}
	t.Logf("%d reads, worst %v, %d carried", reads, worst.Round(time.Microsecond), q.fs.Stats().Carried)
	require.Positive(t, q.fs.Stats().Carried, "nothing was carried: this test proves nothing")
}

func TestSentBackWaitsForItsReaderOnly(t *testing.T) {
	var b sentBack
	now := time.Unix(1, 0)
	at := func(d time.Duration) time.Time { return now.Add(d) }

	b.tried(1, nil, now)
	require.True(t, b.until.IsZero(), "nothing was carried, nobody is sent back")

	b.carried = true
	b.tried(1, nil, now)
	require.Equal(t, at(keepFor), b.until)
	b.tried(2, nil, at(time.Millisecond))
	require.Equal(t, at(keepFor), b.until, "another reader came by")
	b.tried(1, nil, at(2*time.Millisecond))
	require.True(t, b.until.IsZero(), "it is back")

	// One that LiteFS has kept waiting pauses ever longer.
	b.tried(1, syscall.EAGAIN, at(100*time.Millisecond))
	b.carried = true
	b.tried(1, nil, at(140*time.Millisecond))
	require.Equal(t, at(220*time.Millisecond), b.until)
	b.carried = true
	b.tried(1, nil, at(740*time.Millisecond))
	require.Equal(t, at(740*time.Millisecond+backMost), b.until, "but not without a bound: it may be dead")

	b.carried = true
	b.tried(3, syscall.EIO, at(time.Second))
	require.False(t, b.carried, "a lock that was not granted after all sends nobody back")
	for owner := range uint64(10 * backOwners) {
		b.tried(owner, syscall.EAGAIN, at(2*time.Second))
	}
	require.LessOrEqual(t, len(b.failed), backOwners)
}
