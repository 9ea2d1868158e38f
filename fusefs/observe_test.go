package fusefs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

func observing(c *Config) { c.Enforce = false }

func TestObserveModeRefusesNothing(t *testing.T) {
	r := newRig(t, observing)
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	r.fence()
	r.setState(policy.FenceState{Fenced: true, Node: "n1", Reason: policy.ReasonStale, Term: 7})
	for range 20 {
		a.must("c", "INSERT INTO t VALUES (1)")
	}
	s := r.fs.Stats()
	require.True(t, s.Observing)
	require.GreaterOrEqual(t, s.Refused["wal"], uint64(20), "counted all the same")
	require.NotZero(t, s.Published)
	said := strings.Count(r.logs.String(), "a write passes that would have been refused")
	require.Equal(t, 1, said, "said once, not for each")
	require.Contains(t, r.logs.String(), "reason=stale-leader term=7")
	a.must("c", "BEGIN IMMEDIATE")
	a.must("c", "COMMIT")
}

// A transaction that the fence would cut off, one that a change of role would,
// and a commit that nobody confirms: all go through.
func TestObserveModeCutsNobodyOff(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, observing)
			r.onConfirm(func() error { return errors.New("nobody confirms") })
			a := startApp(t)
			openDB(r, a, "w", mode)
			a.must("w", "CREATE TABLE t (x)")
			a.must("w", "BEGIN IMMEDIATE")
			a.must("w", "INSERT INTO t VALUES (1)")
			r.fence()
			release := r.fs.Quiesce(context.Background(), 0)
			a.open("r", r.path("db"))
			require.Equal(t, "0", a.value("r", "SELECT count(*) FROM t"), "new readers are not held back")
			a.must("w", "INSERT INTO t VALUES (2)")
			a.must("w", "COMMIT")
			release()
			require.Equal(t, "2", a.value("r", "SELECT count(*) FROM t"))
			require.NotZero(t, r.fs.Stats().InDoubt, "counted all the same")
		})
	}
}

// The names of the fence say what LiteFS alone would.
func TestObserveModeShowsLiteFSsPrimary(t *testing.T) {
	fenced := policy.FenceState{Fenced: true, Node: "n1", Primary: "n2", Reason: policy.ReasonReplica}
	for _, file := range []string{"litefs", "presence"} {
		t.Run(file, func(t *testing.T) {
			p := newRig(t, observing, func(c *Config) { c.PrimaryFile = file })
			p.setState(fenced)
			want := none
			if file == "presence" {
				want = "n1\n"
			}
			require.Equal(t, want, p.read(".primary"), "LiteFS is primary")
			require.Equal(t, none, p.read(".primary.blocked"))
			require.NotContains(t, p.names(), ".primary.blocked")

			q := startNode(t, p.url)
			q.fenceIt(observing, func(c *Config) { c.PrimaryFile = file })
			q.setState(policy.FenceState{Node: "n1"})
			want = none
			if file == "litefs" {
				q.eventually(func() bool { return q.read(".primary") != none }, "it follows")
				b, err := os.ReadFile(filepath.Join(q.lower, ".primary"))
				require.NoError(t, err)
				want = string(b)
			}
			require.Equal(t, want, q.read(".primary"), "LiteFS is a replica")
			if want != none {
				require.ErrorIs(t, unix.Unlink(q.path(".primary")), unix.EACCES)
			}
		})
	}
}
