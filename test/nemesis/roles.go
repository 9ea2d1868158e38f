package nemesis

import (
	"context"
	"fmt"

	"github.com/litefence/litefence/test/cluster"
)

func handoff(a *acting) (func() error, error) {
	old := a.primary()
	target := a.another(old)
	a.hits(target)
	_, _ = old.CLI("handoff", target.Name) // it may rightly refuse
	return func() error { return nil }, nil
}

// fence fences a node by hand. Where its litefence does not answer there is no
// such fault.
func fence(a *acting) (func() error, error) {
	n := anyNode(a)
	a.hits(n)
	_, _ = n.CLI("fence", "-reason", "nemesis")
	return func() error { return a.unfence(n) }, nil
}

// unfence insists: a latched fence that stays would be the nemesis's doing. An
// overlapping fault may keep litefence from answering for a while.
func (a *acting) unfence(n *cluster.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*sec)
	defer cancel()
	return cluster.WaitFor(ctx, func() error {
		_, err := n.CLI("unfence")
		return err
	})
}

func (a *acting) awaitWritable(n *cluster.Node) error {
	ctx, cancel := context.WithTimeout(a.ctx, 5*sec)
	defer cancel()
	return cluster.WaitFor(ctx, func() error {
		if s, err := n.Status(); err != nil || !s.Writable {
			return fmt.Errorf("%s does not write: %s (%v)", n.Name, s.Reason, err)
		}
		return nil
	})
}
