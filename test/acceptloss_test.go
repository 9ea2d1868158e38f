package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	t.Parallel()
	c := start(t, cluster.Options{})
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)
	// Until then an empty node stands where the Open stood.
	held(t, old)
	others := c.Others(old)
	node := others[0]
	_, err := node.CLI("accept-loss", "-yes")
	require.Equal(t, 4, exitCode(err), "%v", err)
	out, err := node.CLI("lost", "list")
	require.NoError(t, err)
	require.Contains(t, out, "nothing was set aside here")
	for _, n := range c.Nodes {
		require.NoError(t, n.PowerOff())
	}
	b, err := os.ReadFile(filepath.Join(node.Data(), "clusterid"))
	require.NoError(t, err)
	id := strings.TrimSpace(string(b))
	for _, n := range others {
		require.NoError(t, n.WipeLiteFS())
		require.NoError(t, n.Start())
	}

	eventually(t, "status says what is wrong", func() error {
		out, err := node.CLI("status")
		if err == nil && !strings.Contains(out, "nobody that answers is in step with the last one") {
			err = errors.New(out)
		}
		return err
	})
	eventually(t, "the cluster's id is asked for", func() error {
		_, err := node.CLI("accept-loss", "-yes")
		if err == nil || exitCode(err) == 3 {
			return fmt.Errorf("accept-loss: %v", err)
		}
		require.Equal(t, 1, exitCode(err))
		require.ErrorContains(t, err, "write "+id+" into "+filepath.Join(node.Data(), "clusterid"))
		return nil
	})
	require.NoError(t, os.WriteFile(filepath.Join(node.Data(), "clusterid"), []byte(id), 0o600))
	require.NoError(t, node.LiteFS().Kill())
	require.NoError(t, node.StartLiteFS())
	eventually(t, "it is shown what would be lost", func() error {
		var plan struct {
			Primary string
			Lost    []struct{ Name, From, Had string }
		}
		out, err := node.CLI("accept-loss", "-json")
		if err != nil {
			return err
		}
		require.NoError(t, json.Unmarshal([]byte(out), &plan))
		require.Equal(t, old.Name, plan.Primary)
		require.Len(t, plan.Lost, 1)
		require.Equal(t, "app.db", plan.Lost[0].Name)
		require.Equal(t, old.Name, plan.Lost[0].From)
		return nil
	})
	out, err = node.CLI("accept-loss") // nobody types the node's name
	require.Equal(t, 1, exitCode(err), "%v", err)
	require.Contains(t, out, "app.db, all of it: "+old.Name+" had transactions up to ")
	for _, n := range others {
		s, err := n.Status()
		require.NoError(t, err)
		require.False(t, s.Writable)
	}
	_, err = node.CLI("accept-loss", "-yes")
	require.NoError(t, err)
	require.Same(t, node, writable(t, others...))

	var entries []struct{ ID, Kind, Why, Primary string }
	for _, args := range [][]string{{"-json"}, {"-json", "list"}, {"list", "-json"}} {
		out, err = node.CLI("lost", args...)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(out), &entries))
		require.Len(t, entries, 1)
		require.Equal(t, "known-lost", entries[0].Kind)
		require.Contains(t, entries[0].Why, "accept-loss")
	}
	out, err = node.CLI("lost", "show", entries[0].ID)
	require.NoError(t, err)
	require.Contains(t, out, "app.db: "+old.Name+" had ")
	_, err = node.CLI("lost", "show", "nothing")
	require.Equal(t, 1, exitCode(err))

	createDB(t, &cluster.Cluster{Nodes: others}, node, "wal")
	insert(t, node, "after")
	require.NoError(t, old.Start())
	allInStep(t, c)
	require.Equal(t, map[string]bool{"after": true}, rowsOf(t, old), "it follows, and its rows are gone with the rest")
	integrity(t, c.Nodes...)
}

// save and restore copy LiteFS's directory, marker and all. Nobody writes
// meanwhile.
func save(t *testing.T, n *cluster.Node, as string) {
	t.Helper()
	require.NoError(t, os.CopyFS(filepath.Join(n.Dir, as), os.DirFS(n.Data())))
}

func restore(t *testing.T, n *cluster.Node, from string) {
	t.Helper()
	require.NoError(t, n.WipeLiteFS())
	require.NoError(t, os.CopyFS(n.Data(), os.DirFS(filepath.Join(n.Dir, from))))
}

// startAfresh starts nodes that have never run litefence, over LiteFS's data:
// without a raft store, and without the mark that a primary leaves.
func startAfresh(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		require.NoError(t, os.RemoveAll(n.RaftData()))
		require.NoError(t, os.RemoveAll(filepath.Join(n.Data(), "litefence.marker")))
		require.NoError(t, n.Start())
	}
}

// TestFirstStartOverOldData: litefence is started for the first time over LiteFS
// data of different age: the most advanced node becomes primary. Over data of
// which no node's continues the others', nobody does, until an operator says
// whose it shall be.
func TestFirstStartOverOldData(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	n1, n2, n3 := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	step := func(row string, save func()) {
		insert(t, writable(t, c.Nodes...), row)
		allInStep(t, c)
		if save != nil {
			save()
		}
	}
	off := func() {
		for _, n := range c.Nodes {
			require.NoError(t, n.PowerOff())
		}
	}
	createDB(t, c, writable(t, c.Nodes...), "wal")
	step("a", func() { save(t, n1, "a"); save(t, n3, "a") })
	step("b", func() { save(t, n2, "ab") })
	step("c", func() { save(t, n1, "abc") })
	off()
	restore(t, n1, "a")
	restore(t, n2, "ab")
	restore(t, n3, "a")
	startAfresh(t, c)
	require.Same(t, n2, writable(t, c.Nodes...))
	allInStep(t, c)
	for _, n := range c.Nodes {
		require.Equal(t, map[string]bool{"a": true, "b": true}, rowsOf(t, n))
	}

	step("d", nil)
	off()
	restore(t, n1, "abc") // as many transactions as a, b, d
	startAfresh(t, c)
	eventually(t, "the conflict is told everywhere", func() error {
		for _, n := range c.Nodes {
			s, err := n.Status()
			switch {
			case err != nil:
				return err
			case s.Writable:
				t.Fatalf("%s is writable", n.Name)
			case s.State != "failed":
				return fmt.Errorf("%s: state %s, reason %s", n.Name, s.State, s.Reason)
			case !strings.Contains(s.Problem, "app.db has contents on n1 and n") || !strings.Contains(s.Problem, "accept-loss"):
				return fmt.Errorf("%s: problem %q", n.Name, s.Problem)
			}
		}
		return nil
	})
	eventually(t, "the operator decides", func() error { _, err := n2.CLI("accept-loss", "-yes"); return err })
	require.Same(t, n2, writable(t, c.Nodes...))
	allInStep(t, c)
	for _, n := range c.Nodes {
		require.Equal(t, map[string]bool{"a": true, "b": true, "d": true}, rowsOf(t, n))
	}
	out, err := n2.CLI("lost", "list", "-json")
	require.NoError(t, err)
	require.Contains(t, out, `"from":"n1"`)
	integrity(t, c.Nodes...)
}
