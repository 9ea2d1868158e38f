package quorum

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A shutdown does not wait for a write that hangs below for ever. The next
// leader must then wait the lease out, for that write may still be answered
// with success (quorum/model, CloseAfterDrain).
func TestNoCloseWhileAWriteHasNotLeft(t *testing.T) {
	t.Parallel()
	for _, hangs := range []bool{false, true} {
		var hang atomic.Bool
		c := newCluster(t, 1, func(cfg *Config) {
			fence := cfg.Fence
			cfg.Fence = func(ctx context.Context) error {
				if hang.Load() {
					<-ctx.Done()
					return ctx.Err()
				}
				return fence(ctx)
			}
		})
		n := c.writer()
		n.mu.Lock()
		g := n.grant
		n.mu.Unlock()
		hang.Store(hangs)
		if hangs {
			n.Node.cancel() // of the node, not of the test's LiteFS
		} else {
			n.StepDown(t.Context())
		}
		<-g.ended
		hang.Store(false)
		want := KindClose
		if hangs {
			want = KindOpen
		}
		require.Equal(t, want, n.fsm.state().Newest.Kind, "hangs: %v", hangs)
	}
}
