package test

import (
	"bufio"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// readerGrace is policy.reader-grace by default.
const readerGrace = 500 * time.Millisecond

// TestLongReadDoesNotHoldUpFailover: LiteFS waits for every reader before it
// becomes primary, without a bound. A read transaction that is still open when
// the grace is over is cut off instead, and says so; its connection goes on.
func TestLongReadDoesNotHoldUpFailover(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			c := start(t, cluster.Options{})
			old := writable(t, c.Nodes...)
			createDB(t, c, old, mode)
			_, err := old.SQL(appDB(old), "INSERT INTO acked VALUES ('before')", "CREATE TABLE other AS SELECT 7 AS seven")
			require.NoError(t, err)
			allInStep(t, c)
			readers := map[*cluster.Node]*longReader{}
			for _, n := range c.Others(old) {
				readers[n] = readLong(t, n)
			}
			writers := startWriters(t, c, "long")
			eventually(t, "rows on the primary", atLeast(writers[old], 50))

			cut := workload.Now()
			require.NoError(t, old.Isolate())
			next := writable(t, c.Others(old)...)
			eventually(t, "rows on the next primary", atLeast(writers[next], 20))
			first := ackedAfter(writers[next], cut)[0]
			took := time.Duration(first.End - cut)
			t.Logf("%s writable %v after the cut, beneath a read transaction", next.Name, took.Round(time.Millisecond))
			require.Less(t, took, readerGrace+outage)

			require.Equal(t, "disk I/O error", readers[next].ask(), "the transaction that was cut off")
			require.Equal(t, "ended", readers[next].ask())
			require.NotContains(t, []string{"0", "1"}, readers[next].ask(), "a new transaction of the same connection sees the new rows")
			require.NoError(t, old.Heal())
			for _, w := range writers {
				_, err := w.Finish()
				require.NoError(t, err)
			}
			for _, r := range readers {
				r.end()
			}
			allInStep(t, c)
			integrity(t, c.Nodes...)
		})
	}
}

// longReader is an application in the midst of a read transaction.
type longReader struct {
	t   *testing.T
	p   *cluster.Process
	in  io.WriteCloser
	out *bufio.Scanner
}

// Three answers: a read in the transaction, of a page that SQLite does not have
// in its own cache; its end; a read in a new one.
const longRead = `
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
def count(): return c.execute("SELECT count(*) FROM acked").fetchone()[0]
def other(): return c.execute("SELECT seven FROM other").fetchone()[0]
def end():
    if c.in_transaction: c.execute("ROLLBACK")
    return "ended"
c.execute("BEGIN")
print(count(), flush=True)
for do in (other, end, count):
    if not sys.stdin.readline(): break
    try: print(do(), flush=True)
    except sqlite3.Error as e: print(e, flush=True)
`

func readLong(t *testing.T, n *cluster.Node) *longReader {
	t.Helper()
	stdin, in, err := os.Pipe()
	require.NoError(t, err)
	out, stdout, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { in.Close(); out.Close() })
	p, err := n.Spawn("long read", stdin, stdout, "python3", "-c", longRead, appDB(n))
	require.NoError(t, err)
	stdin.Close()
	stdout.Close()
	r := &longReader{t: t, p: p, in: in, out: bufio.NewScanner(out)}
	require.True(t, r.out.Scan())
	require.Equal(t, "1", r.out.Text())
	return r
}

func (r *longReader) ask() string {
	r.t.Helper()
	_, err := io.WriteString(r.in, "\n")
	require.NoError(r.t, err)
	require.True(r.t, r.out.Scan(), "no answer")
	return r.out.Text()
}

func (r *longReader) end() {
	r.t.Helper()
	r.in.Close()
	<-r.p.Done()
	require.Zero(r.t, r.p.ExitCode())
}
