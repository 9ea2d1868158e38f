package test

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

func exitCode(err error) int {
	var x *exec.ExitError
	if errors.As(err, &x) {
		return x.ExitCode()
	}
	return 0
}

// TestAcceptLoss: the last primary is gone and the others were wiped. Nobody
// becomes primary until an operator accepts the loss on one of them.
func TestAcceptLoss(t *testing.T) {
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)
	others := c.Others(old)
	_, err := others[0].CLI("accept-loss", "-yes")
	require.Equal(t, 4, exitCode(err), "%v", err)
	for _, n := range c.Nodes {
		require.NoError(t, n.PowerOff())
	}
	for _, n := range others {
		require.NoError(t, n.WipeLiteFS())
		require.NoError(t, n.Start())
	}
	require.NoError(t, cluster.WaitFor(deadline(t), func() error {
		_, err := others[0].CLI("accept-loss", "-yes")
		return err
	}))
	require.Same(t, others[0], writable(t, others...))
	out, err := others[0].CLI("lost", "-json")
	require.NoError(t, err)
	require.Contains(t, out, `"kind":"known-lost"`)
	require.Contains(t, out, "accept-loss")
}
