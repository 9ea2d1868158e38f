package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestUnhealthyPrimary: the health command says no on the primary; the role moves
// to another node, with every row, and does not come back when the command says
// yes again. A LiteFS that hangs makes its
// node unhealthy until it goes on.
func TestUnhealthyPrimary(t *testing.T) {
	t.Parallel()
	ill := filepath.Join(t.TempDir(), "ill-")
	c := prepare(t, cluster.Options{})
	for _, n := range c.Nodes {
		extra := fmt.Sprintf("policy: {health: {interval: 1s, min-free-disk: 1MiB, command: [/bin/sh, -c, \"if [ -e %s%s ]; then echo the disk is dying; exit 1; fi\"]}}\n", ill, n.Name)
		require.NoError(t, os.WriteFile(n.ConfigPath(), []byte(n.Config()+extra), 0o600))
	}
	require.NoError(t, c.Start())
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)

	require.NoError(t, os.WriteFile(ill+old.Name, nil, 0o600))
	next := writable(t, c.Others(old)...)
	insert(t, next, "after")
	out, err := old.CLI("status")
	require.NoError(t, err)
	require.Contains(t, out, "unhealthy (command: the disk is dying)")
	showsOf(t, next, "unhealthy (command: the disk is dying)")
	allInStep(t, c)
	s, err := next.Status()
	require.NoError(t, err)

	require.NoError(t, os.Remove(ill+old.Name))
	eventually(t, "well again", func() error { return healthIs(old, "healthy") })
	again, err := next.Status()
	require.NoError(t, err)
	require.True(t, again.Writable)
	require.Equal(t, s.Open, again.Open, "the role has not moved since")
	allInStep(t, c)
	requireRows(t, old, map[string]bool{"before": true, "after": true})
	integrity(t, c.Nodes...)

	require.NoError(t, old.LiteFS().Signal(syscall.SIGSTOP))
	defer func() { _ = old.LiteFS().Signal(syscall.SIGCONT) }()
	showsOf(t, next, "unhealthy (lower mount: ")
	insert(t, next, "meanwhile")
	require.NoError(t, old.LiteFS().Signal(syscall.SIGCONT))
	eventually(t, "well again", func() error { return healthIs(old, "healthy") })
	allInStep(t, c)
	integrity(t, c.Nodes...)
}

// showsOf waits until status on n has text.
func showsOf(t *testing.T, n *cluster.Node, text string) {
	t.Helper()
	eventually(t, text, func() error {
		out, err := n.CLI("status")
		if err == nil && !strings.Contains(out, text) {
			err = errors.New(out)
		}
		return err
	})
}

func healthIs(n *cluster.Node, want string) error {
	s, err := n.Status()
	if err == nil && s.HealthStatus != want {
		err = fmt.Errorf("%s is %s (%s)", n.Name, s.HealthStatus, s.Health.Reason)
	}
	return err
}
