package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/workload"
)

func (p *player) writable() (*cluster.Node, error) {
	if p.sub.alone {
		return p.c.Nodes[0], nil
	}
	for _, n := range p.c.Nodes {
		if s, err := n.Status(); err == nil && s.Writable {
			return n, nil
		}
	}
	return nil, errors.New("no node is writable")
}

// inStep looks whether all nodes stand where the primary stands. It ends only
// when nobody writes.
func (p *player) inStep() error {
	if p.sub.alone {
		return samePositions(p.c.Nodes)
	}
	n, err := p.writable()
	if err != nil {
		return err
	}
	return cluster.InStep(n, p.c.Others(n)...)
}

// samePositions asks LiteFS alone.
func samePositions(nodes []*cluster.Node) error {
	var first string
	for i, n := range nodes {
		b, err := os.ReadFile(filepath.Join(n.Lower(), "app.db-pos"))
		if err != nil {
			return err
		}
		if i == 0 {
			first = string(b)
		} else if string(b) != first {
			return fmt.Errorf("%s stands at %s, %s at %s", n.Name, b, nodes[0].Name, first)
		}
	}
	return nil
}

// marked looks whether every node may become primary after the present one.
func (p *player) marked() error {
	if p.sub.alone {
		return nil // nobody becomes primary after it
	}
	n, err := p.writable()
	if err != nil {
		return err
	}
	now, err := n.Status()
	if err != nil {
		return err
	}
	for _, o := range p.c.Others(n) {
		s, err := o.Status()
		switch {
		case err != nil:
			return err
		case !s.InStep || s.Open != now.Open || s.Role != "replica":
			return fmt.Errorf("%s: %s, in step %v with Open %d; the newest is %d", o.Name, s.Role, s.InStep, s.Open, now.Open)
		}
	}
	return nil
}

// samples is what the nodes' status says, all the time.
type samples struct {
	end  chan struct{}
	wait sync.WaitGroup
	mu   sync.Mutex
	all  []history.Sample
}

func listen(c *cluster.Cluster) *samples {
	s := &samples{end: make(chan struct{})}
	for _, n := range c.Nodes {
		s.wait.Go(func() { s.ask(n) })
	}
	return s
}

func (s *samples) ask(n *cluster.Node) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.end:
			return
		case <-tick.C:
		}
		from := workload.Now()
		st, err := n.Status()
		if err != nil {
			continue
		}
		s.mu.Lock()
		s.all = append(s.all, history.Sample{
			Node: n.Name, From: from, To: workload.Now(), Writable: st.Writable, Fenced: st.Fenced,
			Role: st.Role, Reason: st.Reason, Term: st.Term, Open: st.Open, State: st.State,
		})
		s.mu.Unlock()
	}
}

func (s *samples) stop() []history.Sample {
	close(s.end)
	s.wait.Wait()
	return s.all
}
