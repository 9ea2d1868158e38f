package quorum

import (
	"context"
	"errors"

	"github.com/litefence/litefence/policy"
)

// Replicated waits until enough nodes have c.
func (n *Node) Replicated(ctx context.Context, c policy.Commit) error {
	return errors.New("not yet")
}
