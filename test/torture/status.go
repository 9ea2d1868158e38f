package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
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
	return cluster.Following(n, p.c.Others(n)...)
}

// samples is what was said, as the checker takes it.
func samples(said []cluster.Statement) (all []history.Sample) {
	for _, x := range said {
		st := x.Status
		all = append(all, history.Sample{
			Node: x.Of.Name, From: x.From, To: x.To, Writable: st.Writable, Fenced: st.Fenced,
			Role: st.Role, Reason: st.Reason, Term: st.Term, Open: st.Open, State: st.State,
		})
	}
	return all
}
