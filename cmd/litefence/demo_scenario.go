package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/workload"
)

const demoDB = "app.db"

// scenario is one partition and what was seen of it.
type scenario struct {
	o        demoOptions
	c        *cluster.Cluster
	mount    func(*cluster.Node) string
	timeline *timeline

	old       *cluster.Node // the primary that is cut off
	writers   map[string]*cluster.App
	readers   map[string]*cluster.App
	facts     facts
	unsettled error // of the quiet end: a node that did not come back
}

func newScenario(o demoOptions, c *cluster.Cluster, mount func(*cluster.Node) string) *scenario {
	return &scenario{
		o: o, c: c, mount: mount, timeline: newTimeline(o.out),
		writers: map[string]*cluster.App{}, readers: map[string]*cluster.App{},
		facts: facts{events: map[string][]workload.Event{}, reads: map[string][]workload.Event{}, rows: map[string][]string{}, integrity: map[string]string{}},
	}
}

func (s *scenario) db(n *cluster.Node) string { return filepath.Join(s.mount(n), demoDB) }

func (s *scenario) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{s.elect, s.load, s.cut, s.watchPartition, s.heal, s.settle} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// elect starts the nodes and waits for a primary with a database that all have.
func (s *scenario) elect(ctx context.Context) error {
	s.timeline.say("starting LiteFS and litefence on %d nodes, each in a network of its own", len(s.c.Nodes))
	if err := s.c.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var err error
	if s.old, err = cluster.WaitWritable(ctx, s.c.Nodes...); err != nil {
		return fmt.Errorf("no primary: %w", err)
	}
	s.facts.old = s.old.Name
	s.timeline.say("%s is primary: elected by a majority, without Consul", s.old.Name)
	if _, err := s.old.SQL(s.db(s.old), "PRAGMA journal_mode="+s.o.journal, "CREATE TABLE acked (id TEXT PRIMARY KEY)"); err != nil {
		return err
	}
	if err := cluster.WaitInStep(ctx, s.old, s.c.Others(s.old)...); err != nil {
		return fmt.Errorf("the replicas do not follow: %w", err)
	}
	s.timeline.say("the database (journal_mode=%s) is on every node", s.o.journal)
	return nil
}

// load starts an application on every node that writes and reads without end.
// On the replicas its writes are refused: the first that is not tells when
// another node became writable.
func (s *scenario) load(ctx context.Context) error {
	for _, n := range s.c.Nodes {
		var err error
		if s.writers[n.Name], err = n.StartApp("write", s.db(n), s.timeline.onWrite(n.Name), "-name", n.Name); err != nil {
			return err
		}
		if s.readers[n.Name], err = n.StartApp("read", s.db(n), s.timeline.onRead(n.Name)); err != nil {
			return err
		}
	}
	s.timeline.say("an application on every node writes one row after the other, and reads")
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := cluster.WaitFor(wait, func() error {
		if acked := len(s.writers[s.old.Name].Acked()); acked < 100 {
			return fmt.Errorf("only %d rows are acknowledged on %s", acked, s.old.Name)
		}
		return nil
	})
	return err
}

func (s *scenario) cut(context.Context) error {
	s.timeline.say("---- every packet from and to %s is dropped, in silence, for %v ----", s.old.Name, s.o.partition)
	s.facts.cut = workload.Now()
	err := s.old.Isolate()
	s.facts.cutDone = workload.Now()
	s.timeline.cutAt(s.facts.cut, s.old.Name)
	return err
}

func (s *scenario) watchPartition(ctx context.Context) error {
	end := time.NewTimer(s.o.partition)
	defer end.Stop()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-tick.C:
			s.timeline.progress(s.c.Nodes)
		}
	}
}

func (s *scenario) heal(ctx context.Context) error {
	s.timeline.say("---- the network heals ----")
	s.facts.heal = workload.Now()
	if err := s.old.Heal(); err != nil {
		return err
	}
	s.timeline.healed()
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := cluster.WaitFor(wait, func() error {
		st, err := s.old.Status()
		if err == nil && (st.Role != "replica" || st.Leader == "" || !st.InStep) {
			err = fmt.Errorf("%s is %s (%s), leader %q", s.old.Name, st.Role, st.Reason, st.Leader)
		}
		return err
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.unsettled = fmt.Errorf("%s does not follow after the partition: %w", s.old.Name, err)
		s.timeline.say("%v", s.unsettled)
	default:
		s.facts.followed = workload.Now()
		s.timeline.say("%s follows again as a replica, by itself", s.old.Name)
	}
	return nil
}

// settle stops the applications, waits until all nodes stand at the same
// position, and looks at what is there.
func (s *scenario) settle(ctx context.Context) error {
	for name, w := range s.writers {
		ev, err := w.Finish()
		if err != nil {
			s.timeline.say("%v", err)
		}
		s.facts.events[name] = ev
	}
	for name, r := range s.readers {
		ev, err := r.Finish()
		if err != nil {
			s.timeline.say("%v", err)
		}
		s.facts.reads[name] = ev
	}
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	primary, err := cluster.WaitWritable(wait, s.c.Nodes...)
	if err == nil {
		err = cluster.WaitInStep(wait, primary, s.c.Others(primary)...)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.unsettled = errors.Join(s.unsettled, err)
	for _, n := range s.c.Nodes {
		s.inspect(n)
	}
	s.timeline.say("the applications have stopped; rows compared and databases checked on every node")
	return nil
}

func (s *scenario) inspect(n *cluster.Node) {
	if p := n.LiteFS(); !p.Running() {
		s.facts.exits = append(s.facts.exits, fmt.Sprintf("LiteFS on %s exited with code %d", n.Name, p.ExitCode()))
	}
	rows, err := n.SQL(s.db(n), "SELECT id FROM acked")
	if err == nil {
		s.facts.rows[n.Name] = rows
	}
	check, err2 := n.SQL(s.db(n), "PRAGMA integrity_check")
	switch {
	case err != nil || err2 != nil:
		s.facts.integrity[n.Name] = fmt.Sprintf("unreadable: %v", errors.Join(err, err2))
	case len(check) == 1:
		s.facts.integrity[n.Name] = check[0]
	default:
		s.facts.integrity[n.Name] = fmt.Sprintf("%d errors", len(check))
	}
}

func (s *scenario) judge() *verdict {
	s.facts.settled = s.unsettled
	return newVerdict(s.facts)
}
