package test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// staticLease makes n1 LiteFS's primary for ever.
func staticLease(n *cluster.Node) string {
	return fmt.Sprintf(`{type: static, hostname: n1, advertise-url: "http://10.213.7.1:20202", candidate: %t, reconnect-delay: 50ms}`, n.Name == "n1")
}

const consulPort = 8500

func consulLease(n *cluster.Node) string {
	return fmt.Sprintf(`{type: consul, hostname: %s, advertise-url: "http://%s:20202", reconnect-delay: 50ms, consul: {url: "http://%s:%d", key: litefs/primary, ttl: 1s, lock-delay: 1ms}}`,
		n.Name, n.IP, cluster.SwitchIP, consulPort)
}

// sameRows waits until every node shows the same number of rows at the same
// position.
func sameRows(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	eventually(t, "all nodes stand at the same position", func() error {
		w, err := writableNow(c)
		if err != nil {
			return err
		}
		want, err := w.Status()
		if err != nil || len(want.Positions) == 0 {
			return errors.Join(err, errors.New("no position"))
		}
		for _, n := range c.Nodes {
			s, err := n.Status()
			if err != nil || fmt.Sprint(s.Positions) != fmt.Sprint(want.Positions) {
				return fmt.Errorf("%s stands at %v, %s at %v (%v)", n.Name, s.Positions, w.Name, want.Positions, err)
			}
			if n != w && (s.Role != "replica" || s.Reason != "replica" || !s.Fenced) {
				return fmt.Errorf("%s is %s (%s)", n.Name, s.Role, s.Reason)
			}
		}
		return nil
	})
}

func makeTable(t *testing.T, n *cluster.Node) {
	t.Helper()
	_, err := n.SQL(appDB(n), "PRAGMA journal_mode=wal", "CREATE TABLE acked (id TEXT PRIMARY KEY)")
	require.NoError(t, err)
}

func requireRefused(t *testing.T, n *cluster.Node) {
	t.Helper()
	_, err := n.SQL(appDB(n), "INSERT INTO acked VALUES ('refused-"+n.Name+"')")
	require.Error(t, err, "%s takes writes", n.Name)
}

func staleLeader(n *cluster.Node) error {
	s, err := n.Status()
	if err == nil && !(s.Fenced && s.StaleLeadership && s.State == "split_brain_detected") {
		err = fmt.Errorf("%s: fenced %t (%s), stale %t, state %s", n.Name, s.Fenced, s.Reason, s.StaleLeadership, s.State)
	}
	return err
}

// TestFollowStatic: LiteFS's lease is static, n1 is its primary. Whoever raft
// elects, leadership and writes are n1's and nobody else's.
func TestFollowStatic(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{OwnLease: staticLease})
	n1 := c.Nodes[0]
	require.Same(t, n1, writable(t, c.Nodes...))
	makeTable(t, n1)
	sameRows(t, c)
	for _, n := range c.Others(n1) {
		requireRefused(t, n)
	}

	writers := startWriters(t, c, "static")
	eventually(t, "rows on n1", atLeast(writers[n1], 30))
	cut := workload.Now()
	require.NoError(t, n1.Isolate())
	cutDone := workload.Now()
	eventually(t, "n1 is fenced and a stale leader", func() error { return staleLeader(n1) })
	eventually(t, "the others have a leader without a primary", func() error {
		for _, n := range c.Others(n1) {
			s, err := n.Status()
			if err != nil || s.Writable {
				return fmt.Errorf("%s: writable %t (%v)", n.Name, s.Writable, err)
			}
			if s.IsLeader && s.Reason == "no-role" {
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	heal := workload.Now()
	require.NoError(t, n1.Heal())
	eventually(t, "n1 takes writes again", func() error {
		if len(ackedAfter(writers[n1], heal)) < 10 {
			return errors.New("not yet")
		}
		return nil
	})
	for n, w := range writers {
		_, err := w.Finish()
		require.NoError(t, err)
		if n != n1 {
			require.Empty(t, w.Acked(), "%s acknowledged writes", n.Name)
		}
	}
	again := ackedAfter(writers[n1], heal)[0]
	t.Logf("writes pass %v after the heal", time.Duration(again.End-heal).Round(time.Millisecond))
	requireFenced(t, writers[n1], cutDone, again, heal)
	require.NotEmpty(t, ackedAfter(writers[n1], cut))

	// LiteFS starts anew: another Open, without help.
	open := statusOf(t, n1).Open
	require.NoError(t, n1.LiteFS().Kill())
	eventually(t, "fenced without LiteFS", func() error {
		s, err := n1.Status()
		if err == nil && !(s.Fenced && s.Role == "unknown") {
			err = fmt.Errorf("%s, fenced %t", s.Role, s.Fenced)
		}
		return err
	})
	require.NoError(t, n1.StartLiteFS())
	require.Same(t, n1, writable(t, c.Nodes...))
	require.Greater(t, statusOf(t, n1).Open, open)
	insert(t, n1, "after the restart")

	// A fence by hand: nobody else can take over, so n1 stays leader.
	_, err := n1.CLI("fence", "-reason", "maintenance")
	require.NoError(t, err)
	requireRefused(t, n1)
	require.True(t, statusOf(t, n1).IsLeader)
	_, err = n1.CLI("unfence")
	require.NoError(t, err)
	require.Same(t, n1, writable(t, c.Nodes...))
	insert(t, n1, "after the fence")
	sameRows(t, c)
	want := map[string]bool{"after the restart": true, "after the fence": true}
	for _, e := range writers[n1].Acked() {
		want[e.ID] = true
	}
	for _, n := range c.Nodes {
		requireRows(t, n, want)
	}
	integrity(t, c.Nodes...)
}

func statusOf(t *testing.T, n *cluster.Node) cluster.Status {
	t.Helper()
	s, err := n.Status()
	require.NoError(t, err)
	return s
}

// TestFollowConsul: LiteFS elects through a Consul, which a stand-in plays.
// Where the key goes, leadership and writes go.
func TestFollowConsul(t *testing.T) {
	t.Parallel()
	c := prepare(t, cluster.Options{OwnLease: consulLease})
	ln, err := c.Listen(consulPort)
	require.NoError(t, err)
	key := startConsul(t, ln)
	require.NoError(t, c.Start())
	first := writable(t, c.Nodes...)
	require.Equal(t, key.holder(), first.Name)
	makeTable(t, first)
	sameRows(t, c)

	first = promoteAnother(t, c, key, first)

	// Its renewals are refused: LiteFS gives the role up, another one gets the key.
	claimant := consulRound(t, c, key, first, func() error { return first.Refuse(cluster.SwitchIP, consulPort) }, nil)
	// Its renewals hang, and the replicas lose its stream: it goes on claiming to
	// be primary beside the one that gets the key, and has quorum all the while.
	consulRound(t, c, key, claimant, func() error {
		errs := []error{claimant.IsolateFrom(cluster.SwitchIP)}
		for _, n := range c.Others(claimant) {
			errs = append(errs, n.Refuse(claimant.IP, 20202))
		}
		return errors.Join(errs...)
	}, func() {
		eventually(t, "the old one is a stale leader", func() error { return staleLeader(claimant) })
	})
	integrity(t, c.Nodes...)
}

// restartEnded does what a supervisor does. Here LiteFS gives its role up on its
// own, and exits with 99 when that befalls it within a commit.
func restartEnded(t *testing.T, n *cluster.Node) {
	t.Helper()
	if n.LiteFS().Running() {
		return
	}
	require.Equal(t, 99, n.LiteFS().ExitCode())
	require.NoError(t, n.StartLiteFS())
}

// promoteAnother asks LiteFS itself for a planned move. Nothing is lost, and
// nobody is told of a split brain.
func promoteAnother(t *testing.T, c *cluster.Cluster, key *consul, old *cluster.Node) *cluster.Node {
	t.Helper()
	next := c.Others(old)[0]
	insert(t, old, "before the move")
	sameRows(t, c)
	_, err := next.Exec("python3", "-c", "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:20202/promote', method='POST'), timeout=10)")
	require.NoError(t, err)
	eventually(t, "writes pass on "+next.Name, func() error {
		if s, err := next.Status(); err != nil || !s.Writable {
			return fmt.Errorf("%s (%v)", s.Reason, err)
		}
		return nil
	})
	require.Equal(t, next.Name, key.holder())
	insert(t, next, "after the move")
	sameRows(t, c)
	for _, n := range c.Nodes {
		requireRows(t, n, map[string]bool{"before the move": true, "after the move": true})
		b, err := os.ReadFile(n.Litefence().Log)
		require.NoError(t, err)
		require.NotContains(t, string(b), "split-brain", n.Name)
	}
	return next
}

// consulRound cuts the primary off from its lease until another node
// acknowledges, and heals.
func consulRound(t *testing.T, c *cluster.Cluster, key *consul, old *cluster.Node, cut func() error, cutOff func()) *cluster.Node {
	t.Helper()
	writers := startWriters(t, c, "after-"+old.Name)
	eventually(t, "rows on "+old.Name, atLeast(writers[old], 20))
	// What all nodes had before the cut stays: what only the old primary had is
	// LiteFS's and Consul's to lose.
	insert(t, old, "kept-"+old.Name)
	eventually(t, "all have it", func() error {
		for _, n := range c.Nodes {
			if rows, err := n.SQL(appDB(n), "SELECT id FROM acked WHERE id = 'kept-"+old.Name+"'"); err != nil || len(rows) != 1 {
				return fmt.Errorf("%s: %v (%v)", n.Name, rows, err)
			}
		}
		return nil
	})
	begin := workload.Now()
	require.NoError(t, cut())
	var next *cluster.Node
	eventually(t, "another node acknowledges", func() error {
		for _, n := range c.Others(old) {
			if len(ackedAfter(writers[n], begin)) >= 20 {
				next = n
				return nil
			}
		}
		return errors.New("nobody does")
	})
	require.Equal(t, next.Name, key.holder())
	if cutOff != nil {
		cutOff()
	}
	first := ackedAfter(writers[next], begin)[0]
	eventually(t, "the old primary refuses writes", func() error {
		for _, e := range writers[old].Events() {
			if e.Op == "write" && !e.OK() && e.Start > first.End {
				return nil
			}
		}
		return errors.New("none since " + first.ID)
	})
	for _, e := range writers[old].Events() {
		if e.Op == "write" && e.OK() {
			require.LessOrEqual(t, e.Start, first.End, "%s acknowledged %s after %s had the writes", old.Name, e.ID, next.Name)
		}
	}
	t.Logf("%s cut off, %s writable after %v", old.Name, next.Name, time.Duration(first.End-begin).Round(time.Millisecond))
	for _, n := range c.Nodes {
		require.NoError(t, n.Heal())
	}
	eventually(t, "the old primary follows", func() error {
		restartEnded(t, old)
		return isReplica(old)
	})
	require.Same(t, next, writable(t, c.Nodes...))
	want := map[string]bool{"kept-" + old.Name: true}
	for _, w := range writers {
		_, err := w.Finish()
		require.NoError(t, err)
	}
	for _, e := range ackedAfter(writers[next], begin) {
		want[e.ID] = true
	}
	sameRows(t, c)
	for _, n := range c.Nodes {
		requireRows(t, n, want)
	}
	return next
}
