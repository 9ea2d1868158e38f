package test

import (
	"encoding/json"
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

// doctor runs `check` on a node, with its config or a variation of it.
func doctor(t *testing.T, n *cluster.Node, edit func(string) string) (code int, out string) {
	t.Helper()
	path := n.ConfigPath()
	if edit != nil {
		path = filepath.Join(n.Dir, "edited.yml")
		require.NoError(t, os.WriteFile(path, []byte(edit(n.Config())), 0o600))
	}
	return runToEnd(t, n, []string{litefenceBin, "check", "-config", path})
}

// finds waits until the doctor says all that is wanted, with this exit code: some
// of it is what a daemon notices in its own time.
func finds(t *testing.T, n *cluster.Node, code int, edit func(string) string, want ...string) {
	t.Helper()
	eventually(t, "the doctor on "+n.Name, func() error {
		got, out := doctor(t, n, edit)
		if got != code {
			return fmt.Errorf("exit %d; it says:\n%s", got, out)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				return fmt.Errorf("nothing of %q in:\n%s", w, out)
			}
		}
		return nil
	})
}

// silent waits until the doctor finds nothing: it prints nothing then.
func silent(t *testing.T, nodes ...*cluster.Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, "the doctor is silent on "+n.Name, func() error {
			if code, out := doctor(t, n, nil); code != 0 || out != "" {
				return fmt.Errorf("exit %d: %s", code, out)
			}
			return nil
		})
	}
}

// TestCheckOnARunningCluster: silent on good nodes, before the first start, when all
// run, and before one starts again; and what it finds when something happens to
// them.
func TestCheckOnARunningCluster(t *testing.T) {
	long(t)
	c := prepare(t, cluster.Options{TLS: true})
	n1, n2, n3 := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	for _, n := range c.Nodes {
		code, out := doctor(t, n, nil)
		require.Zero(t, code, out)
		require.Empty(t, out, "before the first start")
	}
	require.NoError(t, c.Start())
	createDB(t, c, writable(t, c.Nodes...), "wal")
	silent(t, c.Nodes...)

	// n3's daemon is about to be started again, with a config that does not fit.
	require.NoError(t, n3.Litefence().Stop(patience))
	silent(t, n3)
	finds(t, n3, 1, replace("  data-dir", "  lease: 400ms\n  data-dir"), "error: peers: quorum.lease: 400ms here, 300ms on n1; make them equal on all nodes", "error: peers: quorum.lease: 400ms here, 300ms on n2")
	finds(t, n3, 1, replace("  data-dir", "  heartbeat-timeout: 700ms\n  lease: 300ms\n  data-dir"), "error: peers: quorum.heartbeat-timeout: 700ms here, 600ms on n2")
	finds(t, n3, 0, replace("n1="+n1.Addr(), "n1="+n1.Addr()+",n4=10.213.7.4:7400"), "warning: peers: quorum.peers: n1 does not know n4; make quorum.peers equal on all nodes")
	finds(t, n3, 0, replace("n2="+n2.Addr(), "n2=10.213.7.2:7401"), "warning: peers: quorum.peers: n2 is at 10.213.7.2:7401 here, at 10.213.7.2:7400 for n1")
	require.NoError(t, n3.StartLitefence())
	silent(t, c.Nodes...)
	out, err := n1.CLI("check", "-json", "-v")
	require.NoError(t, err)
	var said struct {
		Node     string
		Running  bool
		Errors   int
		Findings []any
		Checks   []struct{ Check, Skipped string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &said))
	require.Equal(t, "n1", said.Node)
	require.True(t, said.Running)
	require.NotNil(t, said.Findings)
	require.GreaterOrEqual(t, len(said.Checks), 15)

	t.Run("the daemon of another node", func(t *testing.T) {
		finds(t, n1, 1, replace(`n1/admin.sock`, `n2/admin.sock`), "is that of node n2, not of n1; give each node's daemon a socket of its own", "error: data-dir: a second daemon: process ")
	})
	t.Run("a config that was changed", func(t *testing.T) {
		finds(t, n1, 0, replace("fence: {", "fence: {enforce: false, "), "warning: daemon: the daemon was started with another config than ")
	})
	t.Run("the application's user", func(t *testing.T) {
		// /tmp's directory of the test is closed: to LiteFS, and to the application.
		code, out := runToEnd(t, n1, []string{litefenceBin, "check", "-config", n1.ConfigPath(), "-user", "man"})
		require.Equal(t, 1, code, out)
		require.Contains(t, out, "error: user: the user man cannot enter the fenced mount ")
		require.NotContains(t, out, "LiteFS's mount")
	})
	t.Run("fenced by hand", func(t *testing.T) {
		_, err := n3.CLI("fence", "-reason", "a new disk")
		require.NoError(t, err)
		finds(t, n3, 0, nil, "warning: daemon: fenced by hand: a new disk; `litefence unfence`")
		_, err = n3.CLI("unfence")
		require.NoError(t, err)
		silent(t, n3)
	})
	t.Run("LiteFS dies", func(t *testing.T) {
		require.NoError(t, n3.LiteFS().Kill())
		finds(t, n3, 1, nil, "error: lower: LiteFS is not mounted on fence.lower ", "the daemon waits for it; start LiteFS with fuse.dir: ", "error: litefs: no LiteFS answers on litefs.url ")
		require.NoError(t, n3.StartLiteFS())
		silent(t, n3)
	})
	t.Run("the daemon is stopped", func(t *testing.T) {
		require.NoError(t, n3.Pause())
		finds(t, n3, 1, nil, "error: daemon: process ", " holds admin.socket ", " does not answer within 3s", "error: mount: fence.mount ")
		require.NoError(t, n3.Resume())
		silent(t, n3)
	})
	t.Run("the daemon is killed", func(t *testing.T) {
		require.NoError(t, n3.Litefence().Kill())
		finds(t, n3, 0, nil, "warning: mount: fence.mount ", "is the dead mount of a litefence that was killed; nothing: `litefence run` takes it away", "warning: daemon: admin.socket ", " was left by a litefence that was killed")
		finds(t, writable(t, n1, n2), 0, nil, "warning: peers: n3 does not answer: 10.213.7.3:7400: ")
		require.NoError(t, n3.StartLitefence())
		silent(t, c.Nodes...)
	})
	t.Run("a certificate is lost", func(t *testing.T) {
		path := filepath.Join(n3.Dir, "tls", "n3.pem")
		require.NoError(t, os.Rename(path, path+".away"))
		finds(t, n3, 1, nil, "error: tls: quorum.tls.cert: open ")
		require.NoError(t, os.Rename(path+".away", path))
	})
	t.Run("no majority", func(t *testing.T) {
		require.NoError(t, errors.Join(n1.Litefence().Signal(syscall.SIGSTOP), n2.Litefence().Signal(syscall.SIGSTOP)))
		finds(t, n3, 1, nil, "error: daemon: no majority is known", "warning: peers: n1 does not answer: ", "warning: peers: n2 does not answer: ")
		require.NoError(t, errors.Join(n1.Resume(), n2.Resume()))
		silent(t, c.Nodes...)
	})
}

// TestCheckIsSilentOnOtherKinds: witnesses, and a LiteFS with a lease of its own.
func TestCheckIsSilentOnOtherKinds(t *testing.T) {
	long(t)
	for name, opts := range map[string]cluster.Options{
		"witness": {TLS: true, Witnesses: 1},
		"follow":  {TLS: true, OwnLease: staticLease},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, opts)
			makeTable(t, writable(t, c.Nodes...))
			silent(t, c.Nodes...)
		})
	}
}

// TestCommandsAsJSON: what a running node shows as JSON, under names that stay.
func TestCommandsAsJSON(t *testing.T) {
	c := start(t, cluster.Options{Nodes: 1})
	n := writable(t, c.Nodes...)
	keys := func(command string, args ...string) map[string]any {
		t.Helper()
		out, err := n.CLI(command, append(args, "-json")...)
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(out), &m), out)
		return m
	}
	for _, tc := range []struct {
		command string
		args    []string
		want    map[string]any
	}{
		{"wait", []string{"-for", "writable"}, map[string]any{"for": "writable", "reached": true}},
		{"fence", []string{"-reason", "a test"}, map[string]any{"node": "n1", "fence_reason": "a test", "fenced": true, "reason": "manual", "writable": false}},
		{"wait", []string{"-for", "fenced"}, map[string]any{"for": "fenced", "reached": true}},
		{"unfence", nil, map[string]any{"node": "n1", "fence_reason": ""}},
		{"status", nil, map[string]any{"node": "n1", "mounted": true}},
	} {
		got := keys(tc.command, tc.args...)
		for k, v := range tc.want {
			require.Equal(t, v, got[k], "%s: %s", tc.command, k)
		}
	}
	writable(t, n)
	out, err := n.CLI("wait", "-for", "fenced", "-timeout", "100ms", "-json")
	require.Error(t, err)
	require.Contains(t, out, `"reached": false`)
	out, err = n.CLI("peers", "-json")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(out, `[{"node":"n1"`), out)
	out, err = n.CLI("lost", "-json")
	require.NoError(t, err)
	require.Equal(t, "[]\n", out)
	out, err = n.CLI("handoff", "n9", "-json")
	require.Error(t, err)
	require.Contains(t, out, `"error":"`, "the answer is shown, the exit code says the rest")
}
