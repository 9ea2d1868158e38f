package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// badInputs are mistakes of an operator. LiteFS runs on the node unless the
// case says otherwise; `litefence run` must end by itself.
var badInputs = []struct {
	name     string
	noLiteFS bool
	prepare  func(t *testing.T, n *cluster.Node) (undo func())
	edit     func(config string) string
	prefix   []string // in front of the command
	codes    []int
	want     string
}{
	{name: "unknown key", edit: add("nodes: 3\n"), codes: []int{2}, want: "nodes: unknown key"},
	{name: "impossible timing", edit: replace("insecure: true", "insecure: true\n  lease: 10s"), codes: []int{2}, want: "quorum.lease"},
	{name: "not in peers", edit: replace("node: n1", "node: n7"), codes: []int{2}, want: `"n7" is not in quorum.peers`},
	{name: "no config", edit: func(string) string { return "" }, codes: []int{2}, want: "config"},
	{name: "lower is not mounted", noLiteFS: true, codes: []int{2, 3}, want: "lower"},
	{name: "mount point not empty", prepare: func(t *testing.T, n *cluster.Node) func() {
		require.NoError(t, os.WriteFile(filepath.Join(n.Fenced(), "file"), nil, 0o600))
		return func() { os.Remove(filepath.Join(n.Fenced(), "file")) }
	}, codes: []int{2, 3}, want: "not empty"},
	{name: "mount point in use", prepare: func(t *testing.T, n *cluster.Node) func() {
		require.NoError(t, syscall.Mount("tmpfs", n.Fenced(), "tmpfs", 0, ""))
		return func() { _ = syscall.Unmount(n.Fenced(), syscall.MNT_DETACH) }
	}, codes: []int{2, 3}, want: "mount"},
	{name: "mount point missing", prepare: func(t *testing.T, n *cluster.Node) func() {
		require.NoError(t, os.Remove(n.Fenced()))
		return func() { _ = os.Mkdir(n.Fenced(), 0o755) }
	}, codes: []int{2, 3}, want: "fenced"},
	{name: "port in use", edit: replace("10.213.7.1:7400\n", "127.0.0.1:20202\n  advertise: 10.213.7.1:7400\n"), codes: []int{2, 3}, want: "127.0.0.1:20202"},
	{name: "port of nobody", edit: replace("10.213.7.1:7400\n", "10.99.99.99:7400\n"), codes: []int{2, 3}, want: "10.99.99.99:7400"},
	{name: "raft store garbled", prepare: state("raft.db", strings.Repeat("not a raft store", 4096)), codes: []int{3}, want: "raft.db is damaged"},
	{name: "raft store emptied", prepare: state("raft.db", ""), codes: []int{3}, want: "raft.db is damaged: it is empty; restore it, or move"},
	{name: "fence garbled", prepare: state("fence.json", "{"), codes: []int{3}, want: "fence.json: it is damaged"},
	{name: "data-dir is a file", edit: replace("/raft\"", "/litefs.yml\""), codes: []int{2}, want: "quorum.data-dir"},
	{name: "data-dir read-only", prepare: readOnly, codes: []int{3}, want: "read-only file system; mount it writable"},
	{name: "no certificate", edit: replace("insecure: true", "tls: {ca: tls/ca.pem, cert: tls/n2.pem, key: tls/n2-key.pem}"), codes: []int{2}, want: "quorum.tls.ca: open"},
	{name: "certificate of another node", prepare: certificates, edit: replace("insecure: true", "tls: {ca: tls/ca.pem, cert: tls/n2.pem, key: tls/n2-key.pem}"), codes: []int{2}, want: "n2.pem is for n2, not for this node, n1"},
	{name: "not root", prefix: []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, prepare: readable, codes: []int{2, 3}, want: "root"},
	{name: "no /dev/fuse", prefix: []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /dev && exec "$@"`, "sh"}, codes: []int{2, 3}, want: "/dev/fuse"},
}

func add(text string) func(string) string { return func(c string) string { return c + text } }

func replace(old, text string) func(string) string {
	return func(c string) string { return strings.Replace(c, old, text, 1) }
}

// state puts a file into the data directory, and sees that it is kept.
func state(name, content string) func(*testing.T, *cluster.Node) func() {
	return func(t *testing.T, n *cluster.Node) func() {
		require.NoError(t, os.RemoveAll(n.RaftData()))
		require.NoError(t, os.Mkdir(n.RaftData(), 0o700))
		path := filepath.Join(n.RaftData(), name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return func() {
			all, err := os.ReadDir(n.RaftData())
			require.NoError(t, err)
			require.Len(t, all, 1, "nothing beside it")
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, content, string(b))
			require.NoError(t, os.Remove(path))
		}
	}
}

func readOnly(t *testing.T, n *cluster.Node) func() {
	require.NoError(t, syscall.Mount(n.RaftData(), n.RaftData(), "", syscall.MS_BIND, ""))
	require.NoError(t, syscall.Mount("", n.RaftData(), "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	return func() { _ = syscall.Unmount(n.RaftData(), syscall.MNT_DETACH) }
}

func certificates(t *testing.T, n *cluster.Node) func() {
	ca, out := filepath.Join(n.Dir, "ca"), filepath.Join(n.Dir, "tls")
	for _, args := range [][]string{{"ca", "init", "-dir", ca}, {"ca", "issue", "n2", "-dir", ca, "-out", out}} {
		msg, err := exec.Command(litefenceBin, args...).CombinedOutput()
		require.NoError(t, err, string(msg))
	}
	return func() {}
}

// readable lets an ordinary user get as far as the daemon's own check.
func readable(t *testing.T, n *cluster.Node) func() {
	for _, dir := range []string{filepath.Dir(n.Dir), filepath.Dir(litefenceBin)} {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	for _, f := range []string{"litefs.yml", "bad.yml"} {
		require.NoError(t, os.Chmod(filepath.Join(n.Dir, f), 0o644))
	}
	return func() {}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	c := prepare(t, cluster.Options{Nodes: 1})
	n := c.Nodes[0]
	for _, tc := range badInputs {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(n.Dir, "bad.yml")
			if tc.edit == nil {
				tc.edit = func(c string) string { return c }
			}
			edited := tc.edit(n.Config())
			require.NoError(t, os.WriteFile(path, []byte(edited), 0o600))
			if edited == "" {
				require.NoError(t, os.Remove(path))
			}
			if !tc.noLiteFS {
				runLiteFS(t, n)
			}
			if tc.prepare != nil {
				defer tc.prepare(t, n)()
			}
			code, out := runToEnd(t, n, append(tc.prefix, litefenceBin, "run", "-config", path))
			require.Contains(t, tc.codes, code, out)
			require.Contains(t, out, tc.want)
			last := lastLine(out)
			require.NotContains(t, last, "panic")
			require.NotContains(t, last, "goroutine")
			left := mountedAt(t, n.Fenced())
			for range left { // the cases that follow are not to blame
				_ = syscall.Unmount(n.Fenced(), syscall.MNT_DETACH)
			}
			require.NotContains(t, left, "litefence", "left mounted")
			require.LessOrEqual(t, len(left), 1, "the guard, or what was in its place")
		})
	}
}

func runLiteFS(t *testing.T, n *cluster.Node) {
	t.Helper()
	require.NoError(t, n.StartLiteFS())
	t.Cleanup(func() { require.NoError(t, n.LiteFS().Kill()) })
	eventually(t, "LiteFS's mount", func() error {
		mounts, err := os.ReadFile("/proc/mounts")
		if err == nil && !strings.Contains(string(mounts), " "+n.Lower()+" ") {
			err = fmt.Errorf("%s is not mounted", n.Lower())
		}
		return err
	})
}

// runToEnd runs a command that should end by itself and returns its exit code
// and everything that it said.
func runToEnd(t *testing.T, n *cluster.Node, args []string) (int, string) {
	t.Helper()
	line := n.Command(args...)
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(patience, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	require.True(t, timer.Stop(), "it did not end within %v; it said:\n%s", patience, out.String())
	if err == nil {
		return 0, out.String()
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// TestPeerWithOtherTimings: two nodes that disagree on the lease never work
// together; each side says why.
func TestPeerWithOtherTimings(t *testing.T) {
	t.Parallel()
	c := prepare(t, cluster.Options{Nodes: 2})
	a, b := c.Nodes[0], c.Nodes[1]
	text := strings.Replace(b.Config(), "insecure: true", "insecure: true\n  lease: 400ms", 1)
	require.NoError(t, os.WriteFile(b.ConfigPath(), []byte(text), 0o600))
	require.NoError(t, c.Start())
	eventually(t, "somebody says why", func() error {
		for _, n := range []*cluster.Node{a, b} {
			log, err := os.ReadFile(n.Litefence().Log)
			if err == nil && strings.Contains(string(log), "400ms") && strings.Contains(string(log), "300ms") {
				return nil
			}
		}
		return fmt.Errorf("neither log names both leases")
	})
	for _, n := range []*cluster.Node{a, b} {
		if s, err := n.Status(); err == nil {
			require.False(t, s.Writable, n.Name)
		}
	}
}
