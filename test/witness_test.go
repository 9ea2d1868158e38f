package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// TestWitness: two nodes and a witness survive the loss of any one of the three.
func TestWitness(t *testing.T) {
	c := start(t, cluster.Options{Witnesses: 1})
	createDB(t, c, writable(t, c.Data()...), "wal")
	witness := c.Nodes[2]
	for _, role := range []string{"primary", "witness", "replica"} {
		primary := writable(t, c.Data()...)
		victim := map[string]*cluster.Node{"primary": primary, "replica": c.Others(primary, witness)[0], "witness": witness}[role]
		writers := map[*cluster.Node]*cluster.App{}
		for _, n := range c.Others(victim, witness) {
			w, err := n.StartApp("write", appDB(n), nil, "-name", role+"-"+n.Name)
			require.NoError(t, err)
			writers[n] = w
		}
		killed := workload.Now()
		require.NoError(t, victim.PowerOff())
		var first workload.Event
		eventually(t, "the rest writes", func() error {
			for _, w := range writers {
				if acked := ackedAfter(w, killed); len(acked) >= 20 {
					first = acked[0]
					return nil
				}
			}
			return fmt.Errorf("nobody has acknowledged 20 rows since the %s was killed", role)
		})
		t.Logf("%s (%s) killed: the next row after %v", role, victim.Name, time.Duration(first.End-killed).Round(time.Millisecond))
		require.Less(t, time.Duration(first.End-killed), outage)
		kept := map[string]bool{}
		for _, w := range writers {
			_, err := w.Finish()
			require.NoError(t, err)
			for _, e := range ackedAfter(w, killed) {
				kept[e.ID] = true
			}
		}
		require.NoError(t, victim.Start())
		allInStep(t, c)
		for _, n := range c.Data() {
			requireRows(t, n, kept)
		}
	}
	integrity(t, c.Data()...)

	s, err := witness.Status()
	require.NoError(t, err)
	require.Equal(t, "witness", s.Reason)
	require.False(t, s.CanCommitWrites || s.Writable)
	_, err = witness.CLI("wait", "-for", "ready", "-timeout", "10s")
	require.NoError(t, err)
	out, err := witness.CLI("status")
	require.NoError(t, err)
	require.Contains(t, out, "witness, voter")
	_, err = witness.CLI("fence", "-reason", "x")
	require.Error(t, err)
}

// TestWipedReplica: the only replica of a two-node cluster loses LiteFS's data,
// litefence's, or both, and then the primary is lost. It never becomes an empty
// primary, and says why; with the primary back it is taken in again.
func TestWipedReplica(t *testing.T) {
	long(t)
	c := start(t, cluster.Options{Witnesses: 1})
	createDB(t, c, writable(t, c.Data()...), "wal")
	witness := c.Nodes[2]
	for _, lost := range []string{"LiteFS data", "litefence data", "both"} {
		primary := writable(t, c.Data()...)
		insert(t, primary, lost)
		allInStep(t, c)
		victim := c.Others(primary, witness)[0]
		require.NoError(t, victim.PowerOff())
		if lost != "litefence data" {
			require.NoError(t, victim.WipeLiteFS())
		}
		if lost != "LiteFS data" {
			require.NoError(t, victim.WipeRaft())
		}
		require.NoError(t, primary.PowerOff())
		require.NoError(t, victim.Start())
		says := map[string]string{"LiteFS data": "not in step with the newest primary"}[lost]
		if says == "" {
			says = "run `litefence peers add " + victim.Name + " " + victim.Addr() + "` on a member"
		}
		eventually(t, lost+": it says why", func() error {
			out, err := victim.CLI("status")
			if err == nil && (!strings.Contains(out, "refused: ") || !strings.Contains(out, says)) {
				err = fmt.Errorf("want %q in status:\n%s", says, out)
			}
			return err
		})
		neverPrimary(t, victim, lost)
		_, err := victim.SQL(appDB(victim), "CREATE TABLE empty_primary (x)")
		require.Error(t, err)

		require.NoError(t, primary.Start())
		require.Same(t, primary, writable(t, c.Data()...), lost)
		if lost != "LiteFS data" {
			takeIn(t, witness, victim)
		}
		allInStep(t, c)
		require.True(t, rowsOf(t, victim)[lost])
	}
	integrity(t, c.Data()...)
	refusals(t, c)
}

// neverPrimary looks for longer than an election takes.
func neverPrimary(t *testing.T, n *cluster.Node, when string) {
	t.Helper()
	polls := 0
	eventually(t, "many looks", func() error {
		s, err := n.Status()
		require.NoError(t, err)
		require.False(t, s.Writable || s.Role == "primary", "%s lost: %s is %s", when, n.Name, s.Role)
		if polls++; polls < 100 {
			return fmt.Errorf("%d looks", polls)
		}
		return nil
	})
}

func takeIn(t *testing.T, by, n *cluster.Node) {
	t.Helper()
	eventually(t, by.Name+" sees it", func() error {
		out, err := by.CLI("peers")
		if err == nil && !strings.Contains(out, "empty, not a member") {
			err = fmt.Errorf("peers says:\n%s", out)
		}
		return err
	})
	out, err := by.CLI("peers", "add", n.Name, n.Addr())
	require.NoError(t, err)
	require.Contains(t, out, "removed: it has lost this ID\n")
	require.Contains(t, out, "admitted, without a vote yet\n")
	require.Contains(t, out, "votes\nnow make quorum.peers")
}

// refusals: what the command line refuses, with its exit codes.
func refusals(t *testing.T, c *cluster.Cluster) {
	primary := writable(t, c.Data()...)
	witness := c.Nodes[2]
	_, err := primary.CLI("peers", "add", "n9", "10.213.7.99:7400")
	require.ErrorContains(t, err, "exit status 4")
	require.ErrorContains(t, err, "n9 does not answer at 10.213.7.99:7400: start litefence there first")
	_, err = primary.CLI("peers", "add", "n9")
	require.ErrorContains(t, err, "exit status 2")
	_, err = primary.CLI("peers", "remove", "n9")
	require.ErrorContains(t, err, "exit status 1")
	require.NoError(t, witness.PowerOff())
	_, err = primary.CLI("peers", "remove", c.Others(primary, witness)[0].Name)
	require.ErrorContains(t, err, "exit status 4", "a live voter while another is down, however lately")
	out, err := primary.CLI("peers", "remove", witness.Name)
	require.NoError(t, err)
	require.Contains(t, out, "removed")
	require.NoError(t, witness.Start())
	eventually(t, "the removed witness says so", func() error {
		s, err := witness.Status()
		if err == nil && !strings.HasPrefix(s.Membership, "removed from the cluster") {
			err = fmt.Errorf("membership %q", s.Membership)
		}
		return err
	})
	insert(t, writable(t, c.Data()...), "two are a majority of two")
}
