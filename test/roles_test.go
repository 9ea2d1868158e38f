package test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

// TestRolesUnderLoad: the role moves from node to node while applications
// write and read on all of them, with checkpoints and kills in between.
// FUSEFS_STRESS is how long for each journal mode, FUSEFS_SEED repeats the
// choices of a run.
func TestRolesUnderLoad(t *testing.T) {
	long(t)
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			seed := rand.Uint64()
			if n, err := strconv.ParseUint(os.Getenv("FUSEFS_SEED"), 10, 64); err == nil {
				seed = n
			}
			t.Logf("seed %d: repeat with FUSEFS_SEED=%d", seed, seed)
			c := start(t, cluster.Options{})
			createDB(t, c, writable(t, c.Nodes...), mode)
			m := &moves{t: t, c: c, mode: mode, rng: rand.New(rand.NewPCG(seed, 0)), roles: roles{mode: mode}}
			m.run(roleTime())
		})
	}
}

func roleTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FUSEFS_STRESS")); err == nil {
		return d
	}
	return 6 * time.Second
}

type moves struct {
	t    *testing.T
	c    *cluster.Cluster
	mode string
	rng  *rand.Rand
	roles

	running []*cluster.App
	n       int
	moved   int
}

func (m *moves) run(d time.Duration) {
	t := m.t
	for _, n := range m.c.Nodes {
		m.start(n, "write") // these keep their connection through all changes
		m.start(n, "write", "-reopen")
		m.start(n, "read")
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		m.settled()
		m.move()
		m.checkpoint()
		m.replaceOne()
	}
	writable(t, m.c.Nodes...)
	for _, a := range m.running {
		events, err := a.Finish()
		require.NoError(t, err, a.Name)
		m.add(a, events)
	}
	allInStep(t, m.c)
	m.verify()
}

func (m *moves) start(n *cluster.Node, kind string, flags ...string) {
	m.n++
	a, err := n.StartApp(kind, appDB(n), nil, append(flags, "-name", fmt.Sprintf("%s-%d", n.Name, m.n), "-timeout", "1s")...)
	require.NoError(m.t, err)
	m.running = append(m.running, a)
}

// move makes another node the primary: by fencing the present one, which may
// hand on to whom it likes, or by fencing all but one.
func (m *moves) move() {
	now := writable(m.t, m.c.Nodes...)
	if m.rng.IntN(2) == 0 {
		m.fence(func() { writable(m.t, m.c.Others(now)...) }, now)
	} else {
		target := m.c.Others(now)[m.rng.IntN(2)]
		// Only a node in step may become primary; settled has seen to that.
		m.fence(func() { writable(m.t, target) }, m.c.Others(target)...)
	}
	m.moved++
}

// fence keeps nodes fenced by hand while what runs. Nothing is acknowledged on
// them meanwhile, and what fails there fails for good.
func (m *moves) fence(what func(), nodes ...*cluster.Node) {
	first := len(m.fenced)
	for _, n := range nodes {
		_, err := n.CLI("fence", "-reason", "the role is moved under load")
		require.NoError(m.t, err)
		m.fenced = append(m.fenced, interval{node: n.Name, start: workload.Now()})
	}
	what()
	for i, n := range nodes {
		m.fenced[first+i].end = workload.Now()
		_, err := n.CLI("unfence")
		require.NoError(m.t, err)
	}
}

// checkpoint asks for one where the primary is; that writers and a fence can
// prevent it is no fault.
func (m *moves) checkpoint() {
	if m.mode != "wal" {
		return
	}
	kind := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[m.rng.IntN(4)]
	n := writable(m.t, m.c.Nodes...)
	if _, err := n.SQL(appDB(n), "PRAGMA wal_checkpoint("+kind+")"); err != nil {
		m.t.Logf("wal_checkpoint(%s): %v", kind, err)
	}
}

// replaceOne kills one of the applications that open a connection after every
// error, in the midst of whatever it does, and starts another.
func (m *moves) replaceOne() {
	i := 3*m.rng.IntN(len(m.c.Nodes)) + 1
	a := m.running[i]
	require.NoError(m.t, a.Kill())
	events, err := a.Finish()
	require.NoError(m.t, err)
	m.add(a, events)
	m.start(a.Node, "write", "-reopen")
	m.running[i], m.running = m.running[len(m.running)-1], m.running[:len(m.running)-1]
}

// settled waits until the primary has acknowledged a row that every node
// shows. LiteFS replicates after it has acknowledged, so what was acknowledged
// just before a change may be lost; what all nodes have had is never.
func (m *moves) settled() {
	id := fmt.Sprintf("settled-%d", m.moved)
	eventually(m.t, "a row that all nodes have", func() error {
		n, err := writableNow(m.c)
		if err != nil {
			return err
		}
		if _, err := n.SQL(appDB(n), "INSERT OR IGNORE INTO acked VALUES ('"+id+"')"); err != nil {
			return err
		}
		if err := marked(n, m.c); err != nil {
			return err
		}
		var all []map[string]bool
		for _, n := range m.c.Nodes {
			rows, err := n.SQL(appDB(n), "SELECT id FROM acked")
			if err != nil {
				return err
			}
			have := map[string]bool{}
			for _, r := range rows {
				have[r] = true
			}
			if !have[id] {
				return fmt.Errorf("%s does not have %s yet", n.Name, id)
			}
			all = append(all, have)
		}
		m.keep(all)
		return nil
	})
}

// marked looks whether all nodes may become primary after n.
func marked(n *cluster.Node, c *cluster.Cluster) error {
	now, err := n.Status()
	if err != nil {
		return err
	}
	for _, o := range c.Others(n) {
		s, err := o.Status()
		if err != nil {
			return err
		}
		if !s.InStep || s.Open != now.Open {
			return fmt.Errorf("%s: in step %v with Open %d; the newest is %d", o.Name, s.InStep, s.Open, now.Open)
		}
	}
	return nil
}

func writableNow(c *cluster.Cluster) (*cluster.Node, error) {
	for _, n := range c.Nodes {
		if s, err := n.Status(); err == nil && s.Writable {
			return n, nil
		}
	}
	return nil, errors.New("no node is writable")
}

func (m *moves) verify() {
	t := m.t
	have := rowsOf(t, m.c.Nodes[0])
	for _, n := range m.c.Nodes[1:] {
		require.Equal(t, have, rowsOf(t, n), "%s has the same rows", n.Name)
	}
	integrity(t, m.c.Nodes...)
	problems, lost := m.check(have)
	t.Logf("%d changes of role; %d rows; %d acknowledged, %d of them lost to asynchronous replication; %d refused, %d in doubt; reads %d, BUSY %d",
		m.moved, len(have), m.acked, len(lost), m.refused, m.doubts, m.reads, m.busy)
	for _, p := range problems[:min(len(problems), 30)] {
		t.Error(p)
	}
	require.Positive(t, m.moved)
	require.Positive(t, m.acked)
	require.Positive(t, m.refused+m.doubts) // in WAL mode only what failed while fenced by hand is certain
	require.Positive(t, m.reads)
	require.LessOrEqual(t, m.busy, m.reads/10)
	insert(t, writable(t, m.c.Nodes...), "after")
	allInStep(t, m.c)
}
