package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestInitStartsANode: what init writes into an empty directory, and nothing else,
// is a node: the doctor finds nothing but what was asked for, `run` starts LiteFS
// with it, and SQLite writes through the fence.
func TestInitStartsANode(t *testing.T) {
	c := prepare(t, cluster.Options{Nodes: 1})
	n := c.Nodes[0]
	dir := filepath.Join(n.Dir, "inited")
	at := func(name string) string { return filepath.Join(dir, name) }
	out, err := exec.Command(litefenceBin, "init", "-json", "-node", "n1", "-peers", "n1="+n.Addr(), "-dir", dir, "-insecure",
		"-lower", at("lower"), "-mount", at("fenced"), "-data-dir", at("raft"), "-litefs-data-dir", at("litefs"),
		"-socket", at("s"), "-start-litefs", "-litefs", litefsBin).Output()
	require.NoError(t, err)
	var is struct {
		Config string
		Next   []string
	}
	require.NoError(t, json.Unmarshal(out, &is))
	written, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, written, 2)

	// What it says comes next: the commands as they stand there.
	require.Len(t, is.Next, 3, is.Next)
	require.True(t, strings.HasPrefix(is.Next[0], "mkdir -p "), is.Next)
	msg, err := exec.Command("sh", "-c", is.Next[0]).CombinedOutput()
	require.NoError(t, err, string(msg))
	bin := filepath.Dir(litefenceBin)
	code, said := runToEnd(t, n, []string{"env", "PATH=" + bin + ":" + os.Getenv("PATH"), "sh", "-c", is.Next[1]})
	require.Zero(t, code, said)
	require.Equal(t, 1, strings.Count(said, "\n"), said)
	require.Contains(t, said, "warning: config: quorum.insecure: true")
	p, err := n.Spawn("inited", nil, nil, n.Command("env", "PATH="+bin+":"+os.Getenv("PATH"), "sh", "-c", "exec "+is.Next[2])...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop(patience)) })
	run := func(args ...string) {
		t.Helper()
		code, said := runToEnd(t, n, append([]string{litefenceBin}, args...))
		require.Zero(t, code, said)
	}
	run("wait", "-config", is.Config, "-for", "writable", "-timeout", patience.String())
	rows, err := n.SQL(at("fenced/app.db"), "PRAGMA journal_mode=wal", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)", "SELECT x FROM t")
	require.NoError(t, err)
	require.Equal(t, "1", rows[len(rows)-1])
	eventually(t, "the doctor", func() error {
		_, err := n.Exec(litefenceBin, "check", "-config", is.Config)
		return err
	})
	code, said = runToEnd(t, n, []string{litefenceBin, "check", "-config", is.Config})
	require.Zero(t, code, said)
	require.Equal(t, 1, strings.Count(said, "\n"), said)
}
