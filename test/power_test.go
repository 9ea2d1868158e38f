package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestPowerLoss: everything is killed at once; whatever comes back first, the
// primary's last acknowledged row is there in the end, though no other node has
// it. Where the primary comes last, the others have a leader before it starts;
// the heartbeat timeout is long for that to be well within the five for which
// they wait.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{Heartbeat: 2 * time.Second, Lease: time.Second})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	others := c.Others(old)
	for name, order := range map[string][]*cluster.Node{
		"old primary first": {old, others[0], others[1]},
		"old primary last":  {others[0], others[1], old},
	} {
		if writable(t, c.Nodes...) != old {
			moveTo(t, c, old)
		}
		allInStep(t, c)
		w := writeOn(t, old, name)
		for _, n := range others {
			require.NoError(t, n.LiteFS().Signal(syscall.SIGSTOP))
		}
		eventually(t, "rows on "+old.Name+" alone", atLeast(w, len(w.Acked())+5))
		for _, n := range c.Nodes {
			require.NoError(t, n.PowerOff())
		}
		require.NoError(t, w.Kill())
		for i, n := range order {
			if i == 2 && n == old {
				eventually(t, "a leader", func() error { return leads(others...) })
			}
			require.NoError(t, n.Start())
		}
		writable(t, c.Nodes...)
		allInStep(t, c)
		acked := w.Acked()
		for _, n := range c.Nodes {
			rows := rowsOf(t, n)
			require.True(t, rows[acked[len(acked)-1].ID], "%s: the last acknowledged row is missing on %s", name, n.Name)
		}
		integrity(t, c.Nodes...)
	}
}

// leads asks for raft's leader among nodes.
func leads(nodes ...*cluster.Node) error {
	for _, n := range nodes {
		if s, err := n.Status(); err == nil && s.IsLeader {
			return nil
		}
	}
	return errors.New("nobody leads")
}

// TestWipedNodeIsNoPrimary: LiteFS's directory is lost on the primary. The
// node comes back as a replica, and never as an empty primary; not either where
// no other LiteFS is there.
func TestWipedNodeIsNoPrimary(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)
	last := held(t, old)
	other, absent := c.Others(old)[0], c.Others(old)[1]
	for _, n := range c.Nodes {
		require.NoError(t, n.PowerOff())
	}
	wipeButClusterID(t, old)
	require.NoError(t, old.Start())
	require.NoError(t, other.StartLitefence())
	nobodyInStep(t, old, other)
	require.Equal(t, []lostDB{{"app.db", old.Name, last}}, wouldBeLost(t, old))
	require.NoError(t, other.StartLiteFS())
	require.Same(t, other, writable(t, old, other))
	require.NoError(t, absent.Start())
	allInStep(t, c)
	require.True(t, rowsOf(t, old)["before"])
	s, err := old.Status()
	require.NoError(t, err)
	require.Equal(t, "replica", s.Role)
	integrity(t, c.Nodes...)
}

// TestOldBackupIsNoPrimary: an old copy of LiteFS's directory, mark and all, is
// put back on a node. With nobody beside it who has the newer rows there is no
// primary; with somebody, that one is.
func TestOldBackupIsNoPrimary(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before the copy")
	allInStep(t, c)
	restored, other := c.Others(old)[0], c.Others(old)[1]
	save(t, restored, "copy")
	want := map[string]bool{"before the copy": true}
	for _, row := range []string{"a", "b", "c"} {
		insert(t, old, row)
		want[row] = true
	}
	allInStep(t, c)
	last := held(t, old)
	marked, err := restored.Status()
	require.NoError(t, err)

	require.NoError(t, restored.PowerOff())
	restore(t, restored, "copy")
	require.NoError(t, other.LiteFS().Kill())
	require.NoError(t, old.PowerOff())
	require.NoError(t, restored.Start())
	nobodyInStep(t, restored, other)
	s, err := restored.Status()
	require.NoError(t, err)
	require.Equal(t, marked.Open, s.Open)
	require.True(t, s.InStep, "the copy carries the newest primary's mark")
	require.Equal(t, []lostDB{{"app.db", old.Name, last}}, wouldBeLost(t, restored))

	require.NoError(t, other.StartLiteFS())
	require.Same(t, other, writable(t, restored, other))
	require.NoError(t, old.Start())
	allInStep(t, c)
	for _, n := range c.Nodes {
		require.Equal(t, want, rowsOf(t, n), n.Name)
	}
	integrity(t, c.Nodes...)
}

// held waits until raft has recorded where the primary stands, and returns it.
func held(t *testing.T, primary *cluster.Node) (pos string) {
	t.Helper()
	eventually(t, "the position is recorded in raft", func() error {
		s, err := primary.Status()
		if pos = s.Positions["app.db"]; err == nil && s.Held["app.db"] != pos {
			err = fmt.Errorf("held %v, at %v", s.Held, s.Positions)
		}
		return err
	})
	return pos
}

// nobodyInStep waits until every node says that nobody in step is there.
func nobodyInStep(t *testing.T, nodes ...*cluster.Node) {
	t.Helper()
	eventually(t, "there is no primary", func() error {
		for _, n := range nodes {
			s, err := n.Status()
			switch {
			case err != nil:
				return err
			case s.Writable:
				t.Fatalf("%s is writable", n.Name)
			case !strings.Contains(s.Problem, "nobody that answers is in step with the last one"):
				return fmt.Errorf("%s: problem %q", n.Name, s.Problem)
			}
		}
		return nil
	})
}

type lostDB struct{ Name, From, Had string }

// wouldBeLost waits until accept-loss shows what n lacks, which it does once n's
// LiteFS is among those asked. It fails where the loss need not be accepted.
func wouldBeLost(t *testing.T, n *cluster.Node) (lost []lostDB) {
	t.Helper()
	eventually(t, "it is shown what would be lost", func() error {
		out, err := n.CLI("accept-loss", "-json")
		require.NotEqual(t, 4, exitCode(err), "%v", err)
		if err != nil {
			return err
		}
		var plan struct{ Lost []lostDB }
		err = json.Unmarshal([]byte(out), &plan)
		lost = plan.Lost
		return err
	})
	return lost
}

// wipeButClusterID leaves LiteFS what it wants of whoever is primary of a
// cluster that has an id (store.go, acquireLeaseOrPrimaryInfo).
func wipeButClusterID(t *testing.T, n *cluster.Node) {
	t.Helper()
	id, err := os.ReadFile(filepath.Join(n.Data(), "clusterid"))
	require.NoError(t, err)
	require.NoError(t, n.WipeLiteFS())
	require.NoError(t, os.WriteFile(filepath.Join(n.Data(), "clusterid"), id, 0o600))
}

// TestBetterNodeLeads: a node that lacks rows and one that has them are back
// after a power loss. Raft elects the one that lacks them; the one that has them
// becomes primary.
func TestBetterNodeLeads(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "delete")
	lacks, has := c.Others(old)[0], c.Others(old)[1]
	// Its litefence goes on: raft's log is no shorter there, so raft may elect it.
	require.NoError(t, lacks.LiteFS().Signal(syscall.SIGSTOP))
	insert(t, old, "known to two")
	require.NoError(t, cluster.WaitInStep(deadline(t), old, has))
	for _, n := range c.Nodes {
		require.NoError(t, n.PowerOff())
	}
	require.NoError(t, lacks.Start())
	require.NoError(t, has.StartLitefence())
	makeLead(t, lacks, has)
	require.NoError(t, has.StartLiteFS())
	require.Same(t, has, writable(t, lacks, has))
	require.NoError(t, cluster.WaitInStep(deadline(t), has, lacks))
	require.True(t, rowsOf(t, lacks)["known to two"])
}

// makeLead has raft elect n: while it is the other one that leads, that one is
// killed and started again.
func makeLead(t *testing.T, n, other *cluster.Node) {
	t.Helper()
	eventually(t, n.Name+" leads", func() error {
		if leads(n) == nil {
			return nil
		}
		if leads(other) == nil {
			if err := other.Litefence().Kill(); err != nil {
				return err
			}
			return errors.Join(other.StartLitefence(), errors.New(other.Name+" led"))
		}
		return errors.New("nobody leads")
	})
}
