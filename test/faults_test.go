package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// A fault befalls the primary, under a write load on every node, and ends.
type fault struct {
	name  string
	begin func(*cluster.Node) error
	end   func(*cluster.Node) error
	// hold is how long it lasts; 0 = until another node has taken over.
	hold time.Duration
	// stays: the primary may get over it before anybody takes over.
	stays bool
	ci    bool // in every run of the tests; the others for the table in the docs
}

func faults() []fault {
	cuts := []fault{
		{name: "cut off, both ways", begin: (*cluster.Node).Isolate, end: (*cluster.Node).Heal},
		{name: "cut off, receives nothing", begin: (*cluster.Node).IsolateIn, end: (*cluster.Node).Heal, ci: true},
		{name: "cut off, sends nothing", begin: (*cluster.Node).IsolateOut, end: (*cluster.Node).Heal},
		{name: "flapping, 10 times 0.2 s", begin: flap(200 * time.Millisecond), end: (*cluster.Node).Heal, hold: time.Millisecond, stays: true},
		{name: "flapping, 10 times 0.6 s", begin: flap(600 * time.Millisecond), end: (*cluster.Node).Heal, hold: time.Millisecond, stays: true},
		{name: "litefence killed", begin: killLitefence, end: (*cluster.Node).StartLitefence, ci: true},
		{name: "LiteFS killed", begin: killLiteFS, end: (*cluster.Node).StartLiteFS},
		{name: "both killed", begin: (*cluster.Node).PowerOff, end: (*cluster.Node).Start},
		{name: "litefence told to stop", begin: stopLitefence, end: (*cluster.Node).StartLitefence},
	}
	for _, d := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second, 30 * time.Second} {
		for _, who := range []struct {
			name   string
			signal func(syscall.Signal) func(*cluster.Node) error
		}{{"litefence", toLitefence}, {"LiteFS", toLiteFS}, {"both", toBoth}} {
			cuts = append(cuts, fault{
				name:  fmt.Sprintf("%s stopped for %v", who.name, d),
				begin: who.signal(syscall.SIGSTOP), end: who.signal(syscall.SIGCONT),
				hold: d, stays: d < 5*time.Second, ci: d == 2*time.Second && who.name == "LiteFS",
			})
		}
	}
	return cuts
}

// flap cuts and heals the node ten times.
func flap(d time.Duration) func(*cluster.Node) error {
	return func(n *cluster.Node) error {
		for range 10 {
			if err := n.Isolate(); err != nil {
				return err
			}
			time.Sleep(d) // the fault itself
			if err := n.Heal(); err != nil {
				return err
			}
			time.Sleep(d)
		}
		return nil
	}
}

func killLitefence(n *cluster.Node) error { return n.Litefence().Kill() }
func stopLitefence(n *cluster.Node) error { return n.Litefence().Stop(20 * time.Second) }

func killLiteFS(n *cluster.Node) error { return n.LiteFS().Kill() }

func toLitefence(s syscall.Signal) func(*cluster.Node) error {
	return func(n *cluster.Node) error { return n.Litefence().Signal(s) }
}

func toLiteFS(s syscall.Signal) func(*cluster.Node) error {
	return func(n *cluster.Node) error { return n.LiteFS().Signal(s) }
}

// toBoth continues LiteFS first: it must not act on what it believed.
func toBoth(s syscall.Signal) func(*cluster.Node) error {
	return func(n *cluster.Node) error { return errors.Join(toLiteFS(s)(n), toLitefence(s)(n)) }
}

// timing is a row of settings that the faults are tried at.
type timing struct {
	name                  string
	heartbeat, lease, ttl time.Duration
}

var timings = []timing{
	{"default", 600 * time.Millisecond, 300 * time.Millisecond, 200 * time.Millisecond},
	{"fast", 300 * time.Millisecond, 150 * time.Millisecond, 100 * time.Millisecond},
}

// TestFaults: whatever befalls the primary, nothing is acknowledged on it once
// another node writes, the status of every node says the truth meanwhile, and
// everything comes back by itself. FAULTS=all tries every fault at every timing
// and writes docs/faults.md (`make faults`).
func TestFaults(t *testing.T) {
	all := os.Getenv("FAULTS") == "all"
	if !all {
		long(t) // rounds of torture have these faults and more
	}
	var results []outcome
	for _, at := range timings {
		if !all && at != timings[0] {
			continue
		}
		t.Run(at.name, func(t *testing.T) {
			for _, f := range faults() {
				if !all && !f.ci {
					continue
				}
				t.Run(f.name, func(t *testing.T) { results = append(results, try(t, f, at, all)...) })
			}
		})
	}
	if all && !t.Failed() {
		require.NoError(t, os.WriteFile(filepath.Join("..", "docs", "faults.md"), []byte(faultsTable(results)), 0o644))
	}
}

// try lets f befall a cluster, several times where the figures are wanted.
func try(t *testing.T, f fault, at timing, measure bool) (all []outcome) {
	c := start(t, cluster.Options{Heartbeat: at.heartbeat, Lease: at.lease, TTL: at.ttl})
	createDB(t, c, writable(t, c.Nodes...), "wal")
	rounds := 1
	if measure && f.hold < 5*time.Second {
		rounds = 3
	}
	for i := range rounds {
		all = append(all, befall(t, c, f, at, fmt.Sprintf("f%d", i)))
	}
	integrity(t, c.Nodes...)
	return all
}
