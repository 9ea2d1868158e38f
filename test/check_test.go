package test

import (
	"fmt"
	"net/http"
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

// planted is one fault of a node that does not run, and the line by which the
// doctor must tell it.
type planted struct {
	name   string
	edit   func(config string) string // of litefence.yml
	litefs func(config string) string // of litefs.yml
	run    bool                       // LiteFS runs
	plant  func(t *testing.T, n *cluster.Node)
	prefix []string // in front of the command
	args   []string // behind it
	code   int
	want   []string
}

var plantedFaults = []planted{
	{name: "unknown key", edit: add("nodes: 3\n"), code: 1, want: []string{"error: config: ", "nodes: unknown key; allowed here: node, fence,"}},

	{name: "old kernel", prefix: []string{"setarch", "--uname-2.6"}, code: 1, want: []string{"error: host: kernel 2.6", "came with Linux 6.9; boot a newer one"}},
	{name: "no /dev/fuse", prefix: inMounts("mount -t tmpfs none /dev"), code: 1, want: []string{"error: host: /dev/fuse is missing; load the module fuse"}},
	{name: "no right to /dev/fuse", prefix: inMounts("mount -t tmpfs -o nodev none /dev && mknod /dev/fuse c 10 229"), code: 1, want: []string{"error: host: /dev/fuse cannot be opened (open /dev/fuse: permission denied); start litefence as root"}},
	{name: "not root", prefix: []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, plant: readableConfigs, code: 1, want: []string{"error: host: not root"}},
	{name: "no fusermount3", prefix: []string{"env", "PATH=/nowhere"}, want: []string{"warning: host: fusermount3 is not on the PATH"}},
	{name: "no such litefs.command", edit: replace("litefs: {", "litefs: {command: [litefs-is-not-here], "), code: 1, want: []string{"error: host: litefs.command: exec: \"litefs-is-not-here\""}},

	{name: "lower is something else", plant: tmpfsOn((*cluster.Node).Lower), code: 1, want: []string{"error: lower: fence.lower ", " is a mount of tmpfs (tmpfs), not of LiteFS; make fence.lower equal to fuse.dir"}},
	{name: "LiteFS is mounted elsewhere", run: true, edit: replace("/lower\"", "/elsewhere\""), code: 1, want: []string{"error: lower: LiteFS runs (process ", "/elsewhere; make fuse.dir", "error: litefs-config: ", " but fence.lower is "}},
	{name: "LiteFS is stopped", run: true, plant: signalLiteFS(syscall.SIGSTOP), code: 1, want: []string{"error: lower: LiteFS's mount ", " does not answer within 3s; see whether it is stopped", "error: litefs: LiteFS on litefs.url http://127.0.0.1:20202 does not answer within 3s"}},
	{name: "LiteFS was killed", run: true, plant: signalLiteFS(syscall.SIGKILL), code: 1, want: []string{"error: lower: fence.lower ", " is the dead mount of a LiteFS that is gone; umount -l "}},
	{name: "another LiteFS", run: true, edit: replace("/litefs\"}", "/other\"}"), code: 1, want: []string{"error: litefs: the LiteFS on litefs.url http://127.0.0.1:20202 keeps its data in "}},
	{name: "no LiteFS at all", plant: listensAs("env", "LITEFS_CLOUD_TOKEN=secret", "127.0.0.1", "20202"), code: 1, want: []string{
		"error: litefs: what answers on litefs.url http://127.0.0.1:20202 is no LiteFS", "error: litefs-config: LITEFS_CLOUD_TOKEN is set for process "}},

	{name: "lease is static", litefs: replace("type: consul", "type: static"), code: 1, want: []string{"error: litefs-config: ", `lease.type: is "static", set it to consul`}},
	{name: "another Consul", litefs: replace("127.0.0.1:20201", "127.0.0.1:8500"), code: 1, want: []string{"error: litefs-config: ", "lease.consul.url: is \"http://127.0.0.1:8500\", set it to http://127.0.0.1:20201"}},
	{name: "backup", litefs: add("backup: {type: file, path: /tmp/b}\n"), code: 1, want: []string{"error: litefs-config: ", "backup: remove it"}},
	{name: "promote", litefs: replace("candidate: true", "candidate: true\n  promote: true"), code: 1, want: []string{"error: litefs-config: ", "lease.promote: set it to false"}},
	{name: "cloud token", prefix: []string{"env", "LITEFS_CLOUD_TOKEN=secret"}, code: 1, want: []string{"error: litefs-config: ", "LITEFS_CLOUD_TOKEN: unset it"}},
	{name: "everything at once", litefs: func(string) string { return "backup: {type: file, path: /tmp/b}\n" }, code: 1, want: []string{
		"backup: remove it", "http.addr: ", "lease.type: is \"\"", "mounts on /litefs, but fence.lower is"}},
	{name: "config of LiteFS missing", plant: func(t *testing.T, n *cluster.Node) {
		require.NoError(t, os.Remove(filepath.Join(n.Dir, "litefs-check.yml")))
	}, code: 1, want: []string{"error: litefs-config: ", "no such file or directory; correct litefs.config"}},
	{name: "config of LiteFS unknown", edit: noLiteFSConfig, want: []string{"warning: litefs-config: LiteFS's config is not known"}},
	{name: "no candidate", run: true, litefs: replace("candidate: true", "candidate: false"), code: 1, want: []string{"error: litefs: LiteFS is no candidate"}},
	{name: "public by its config", litefs: replace("127.0.0.1:20202\"", ":20202\""), code: 1, want: []string{"error: litefs-config: ", "http.addr: "}},
	{name: "public, config unknown", run: true, edit: noLiteFSConfig, litefs: replace("127.0.0.1:20202\"", ":20202\""), code: 1, want: []string{"error: litefs: LiteFS listens on [::]:20202, beyond loopback", "(process ", "(litefs)); set http.addr to 127.0.0.1:20202"}},

	{name: "everybody reaches the lower", run: true, plant: chmodAbove(0o755, 0), code: 1, want: []string{"error: lower-reach: LiteFS's mount ", " can be entered by every user, past the fence; delete fuse.allow-other from LiteFS's config"}},
	{name: "everybody will reach the lower", plant: chmodAbove(0o755, 0), code: 1, want: []string{"error: lower-reach: LiteFS's mount ", " can be entered by every user"}},
	{name: "a group reaches the lower", run: true, plant: chmodAbove(0o710, 12), want: []string{"warning: lower-reach: LiteFS's mount ", " can be entered by the group man"}},
	{name: "a bind mount of the lower", run: true, plant: bindLower, code: 1, want: []string{"error: lower-reach: LiteFS's files at /", "another mount of ", "can be entered by every user"}},
	{name: "the application's user reaches the lower", run: true, plant: chmodAbove(0o710, 12), args: []string{"-user", "man"}, code: 1, want: []string{"error: user: the user man can enter LiteFS's mount ", ", past the fence; delete fuse.allow-other"}},
	{name: "the application is root", args: []string{"-user", "0"}, want: []string{"warning: user: root can always open LiteFS's mount "}},
	{name: "data can be written by all", plant: func(t *testing.T, n *cluster.Node) { chmod(t, n.Data(), 0o777) }, code: 1, want: []string{"error: lower-reach: litefs.data-dir ", " can be written by every user, past the fence; chmod 0700 "}},
	{name: "a program writes past the fence", run: true, plant: opens("3>>$LOWER/app.db"), code: 1, want: []string{"error: bypass: process ", "(sleep) may write ", "/lower/app.db past the fence; have it open ", "/fenced/app.db instead"}},
	{name: "a program reads past the fence", run: true, plant: opens("3<$LOWER"), want: []string{"warning: bypass: process ", "(sleep) reads ", "/lower past the fence"}},

	{name: "mount point missing", plant: func(t *testing.T, n *cluster.Node) {
		require.NoError(t, os.Remove(n.Fenced()))
		t.Cleanup(func() { require.NoError(t, os.Mkdir(n.Fenced(), 0o755)) })
	}, code: 1, want: []string{"error: mount: fence.mount ", " does not exist; mkdir -p "}},
	{name: "mount point not empty", plant: file((*cluster.Node).Fenced, "x"), code: 1, want: []string{"error: mount: fence.mount ", " is not empty"}},
	{name: "mount point in use", plant: tmpfsOn((*cluster.Node).Fenced), code: 1, want: []string{"error: mount: fence.mount ", " is in use by a mount of tmpfs"}},

	{name: "a second daemon", plant: spawns("flock", "flock -x $DATA sh -c ': >$READY; sleep 1000'"), code: 1, want: []string{"error: data-dir: a second daemon: process ", " has quorum.data-dir ", "stop it, or give this node"}},
	{name: "raft store garbled", plant: file((*cluster.Node).RaftData, "raft.db"), code: 1, want: []string{"error: data-dir: ", "raft.db is damaged: ", "; restore it, or move "}},
	{name: "fence garbled", plant: file((*cluster.Node).RaftData, "fence.json"), code: 1, want: []string{"error: data-dir: ", "fence.json: it is damaged", "; remove the file if no manual fence is wanted"}},
	{name: "data directory for all", plant: func(t *testing.T, n *cluster.Node) { chmod(t, n.RaftData(), 0o777) }, code: 1, want: []string{"error: data-dir: quorum.data-dir ", "can be written by others"}},
	{name: "data directory read-only", plant: func(t *testing.T, n *cluster.Node) { t.Cleanup(readOnly(t, n)) }, code: 1, want: []string{"error: data-dir: ", "cannot be written: read-only file system; mount it writable"}},

	{name: "port in use", plant: listensAs("10.213.7.1", "7400"), code: 1, want: []string{"error: ports: quorum.listen 10.213.7.1:7400 is in use by process ", "(python3)"}},
	{name: "lease port in use on all addresses", plant: listensAs("0.0.0.0", "20201"), code: 1, want: []string{"error: ports: litefs.lease-listen 127.0.0.1:20201 is in use by process "}},
	{name: "address of nobody", edit: replace("10.213.7.1:7400\n", "10.99.99.99:7400\n"), code: 1, want: []string{"error: ports: quorum.listen 10.99.99.99:7400: this machine has no address 10.99.99.99"}},

	{name: "a socket left over", plant: spawnsToEnd(`import socket; socket.socket(socket.AF_UNIX).bind("$DIR/admin.sock")`), want: []string{"warning: daemon: admin.socket ", " was left by a litefence that was killed; nothing: "}},
	{name: "no socket but a file", plant: file(func(n *cluster.Node) string { return n.Dir }, "admin.sock"), code: 1, want: []string{"error: daemon: admin.socket ", " exists and is no socket; remove it"}},
	{name: "a socket that does not answer", plant: spawns("deaf", `python3 -c 'import socket,time; s=socket.socket(socket.AF_UNIX); s.bind("$DIR/admin.sock"); s.listen(); open("$READY","w"); time.sleep(1000)'`),
		code: 1, want: []string{"error: daemon: process ", " does not answer within 3s; see whether it is stopped (kill -CONT "}},

	{name: "observing only", edit: replace("fence: {", "fence: {enforce: false, "), want: []string{"warning: config: fence.enforce: false"}},
	{name: "insecure", want: []string{"warning: config: quorum.insecure: true"}},
	{name: "drift too small", edit: replace("insecure: true", "insecure: true\n  clock-drift: 0.01%"), want: []string{"warning: config: quorum.clock-drift: 0.01% is less than"}},
	{name: "no clock", prefix: inMounts("echo jiffies >/tmp/clocksource-$$ && mount --bind /tmp/clocksource-$$ /sys/devices/system/clocksource/clocksource0/current_clocksource && rm -f /tmp/clocksource-$$ || exit 77"), want: []string{"warning: clock: the clock source is jiffies"}},

	{name: "a clock that may be slewed hard", plant: spawns("chronyd", "cp $(command -v sleep) $DIR/chronyd; $DIR/chronyd 1000 & "+named("chronyd")), want: []string{"warning: clock: chronyd may slew this clock by ", "; write maxslewrate 5000 or less into chrony.conf"}},
	{name: "a peer that is not there", edit: replace("n1=10.213.7.1:7400", "n1=10.213.7.1:7400,n2=10.213.7.99:7400"), want: []string{"warning: peers: n2 does not answer: 10.213.7.99:7400: ", "; see whether it runs, and whether the network lets 10.213.7.99:7400 through"}},

	{name: "a HALT lock left over", run: true, plant: haltLock, want: []string{"warning: halt-lock: app.db is locked in LiteFS, against readers too, and no litefence runs"}},
}

// TestCheckFindsPlantedFaults: each fault, and nothing else that would be an error.
func TestCheckFindsPlantedFaults(t *testing.T) {
	c := prepare(t, cluster.Options{Nodes: 1})
	n := c.Nodes[0]
	for _, p := range plantedFaults {
		t.Run(p.name, func(t *testing.T) {
			code, out := p.check(t, n)
			require.Equal(t, p.code, code, out)
			for _, w := range p.want {
				require.Contains(t, out, w)
			}
			for line := range strings.Lines(out) {
				require.Regexp(t, `^(error|warning): [a-z-]+: .*\n$`, line, "one line for each")
			}
			// With only warnings it is exit 0, and an error never comes alone.
			require.Equal(t, p.code == 1, strings.Contains(out, "error: "), out)
		})
	}
}

func (p planted) check(t *testing.T, n *cluster.Node) (code int, out string) {
	path, litefs := filepath.Join(n.Dir, "check.yml"), filepath.Join(n.Dir, "litefs-check.yml")
	own, err := os.ReadFile(filepath.Join(n.Dir, "litefs.yml"))
	require.NoError(t, err)
	same := func(s string) string { return s }
	if p.edit == nil {
		p.edit = same
	}
	if p.litefs == nil {
		p.litefs = same
	}
	text := strings.Replace(n.Config(), "/litefs.yml", "/litefs-check.yml", 1)
	require.NoError(t, os.WriteFile(path, []byte(p.edit(text)), 0o600))
	require.NoError(t, os.WriteFile(litefs, []byte(p.litefs(string(own))), 0o600))
	if p.run {
		// LiteFS itself gets what was planted in its config.
		require.NoError(t, os.Rename(filepath.Join(n.Dir, "litefs.yml"), litefs+".kept"))
		require.NoError(t, os.WriteFile(filepath.Join(n.Dir, "litefs.yml"), []byte(p.litefs(string(own))), 0o600))
		t.Cleanup(func() { require.NoError(t, os.Rename(litefs+".kept", filepath.Join(n.Dir, "litefs.yml"))) })
		t.Cleanup(func() { _ = syscall.Unmount(n.Lower(), syscall.MNT_DETACH) }) // its dead mount, for the next one
		runLiteFS(t, n)
	}
	if p.plant != nil {
		p.plant(t, n)
	}
	if len(p.prefix) > 0 {
		if _, err := exec.LookPath(p.prefix[0]); err != nil {
			t.Skip(err)
		}
	}
	before := filesOf(t, n)
	began := time.Now()
	code, out = runToEnd(t, n, append(p.prefix, append([]string{litefenceBin, "check", "-config", path}, p.args...)...))
	if code == 77 {
		t.Skip("cannot be planted here: " + out)
	}
	require.Less(t, time.Since(began), 20*time.Second, "it does not hang")
	require.Equal(t, before, filesOf(t, n), "it changes nothing")
	return code, out
}

// filesOf are the names, sizes and times of what the node has on disk.
func filesOf(t *testing.T, n *cluster.Node) (all []string) {
	for _, dir := range []string{n.Dir, n.RaftData()} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			if e.IsDir() { // a mount among them may hang
				all = append(all, e.Name())
			} else if fi, err := e.Info(); err == nil && !strings.HasSuffix(e.Name(), ".log") {
				all = append(all, fmt.Sprint(e.Name(), fi.Size(), fi.Mode(), fi.ModTime()))
			}
		}
	}
	return all
}

func noLiteFSConfig(config string) string {
	before, after, _ := strings.Cut(config, "config: ")
	_, after, _ = strings.Cut(after, ", ")
	return before + after
}

// inMounts runs the command in a mount namespace of its own, after a shell command.
func inMounts(command string) []string {
	return []string{"unshare", "--mount", "sh", "-c", command + ` && exec "$@"`, "sh"}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, mode))
	t.Cleanup(func() { require.NoError(t, os.Chmod(path, fi.Mode())) })
}

func readableConfigs(t *testing.T, n *cluster.Node) {
	chmod(t, filepath.Dir(n.Dir), 0o755)
	require.NoError(t, os.Chmod(filepath.Dir(litefenceBin), 0o755))
	for _, f := range []string{"check.yml", "litefs-check.yml"} {
		require.NoError(t, os.Chmod(filepath.Join(n.Dir, f), 0o644))
	}
}

func tmpfsOn(at func(*cluster.Node) string) func(*testing.T, *cluster.Node) {
	return func(t *testing.T, n *cluster.Node) {
		require.NoError(t, syscall.Mount("tmpfs", at(n), "tmpfs", 0, ""))
		t.Cleanup(func() { _ = syscall.Unmount(at(n), syscall.MNT_DETACH) })
	}
}

func signalLiteFS(sig syscall.Signal) func(*testing.T, *cluster.Node) {
	return func(t *testing.T, n *cluster.Node) {
		require.NoError(t, n.LiteFS().Signal(sig))
		if sig == syscall.SIGKILL {
			<-n.LiteFS().Done()
			return
		}
		t.Cleanup(func() { _ = n.LiteFS().Signal(syscall.SIGCONT) })
	}
}

// chmodAbove opens the one directory above the nodes that is closed to others.
func chmodAbove(mode os.FileMode, gid int) func(*testing.T, *cluster.Node) {
	return func(t *testing.T, n *cluster.Node) {
		dir := filepath.Dir(n.Dir)
		chmod(t, dir, mode)
		require.NoError(t, os.Chown(dir, 0, gid))
		t.Cleanup(func() { require.NoError(t, os.Chown(dir, 0, 0)) })
	}
}

func bindLower(t *testing.T, n *cluster.Node) {
	at, err := os.MkdirTemp("", "check-bind-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(at, 0o755))
	require.NoError(t, syscall.Mount(n.Lower(), at, "", syscall.MS_BIND, ""))
	t.Cleanup(func() {
		require.NoError(t, syscall.Unmount(at, syscall.MNT_DETACH))
		require.NoError(t, os.Remove(at))
	})
}

func file(dir func(*cluster.Node) string, name string) func(*testing.T, *cluster.Node) {
	return func(t *testing.T, n *cluster.Node) {
		path := filepath.Join(dir(n), name)
		require.NoError(t, os.WriteFile(path, []byte("{ not what it should be"), 0o600))
		t.Cleanup(func() { require.NoError(t, os.Remove(path)) })
	}
}

// spawns runs a shell command beside the node, in its network, until the test ends.
// What it is there for is done when the file $READY is there.
func spawns(name, command string) func(*testing.T, *cluster.Node) {
	return func(t *testing.T, n *cluster.Node) {
		ready := filepath.Join(n.Dir, "ready")
		command := strings.NewReplacer("$LOWER", n.Lower(), "$DATA", n.RaftData(), "$DIR", n.Dir, "$READY", ready).Replace(command)
		p, err := n.Spawn(name, nil, nil, n.Command("bash", "-c", command)...)
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, p.Kill())
			_ = os.Remove(filepath.Join(n.Dir, "admin.sock"))
			require.NoError(t, os.Remove(ready))
		})
		eventually(t, name+" is ready", func() error { _, err := os.Stat(ready); return err })
	}
}

func opens(redirection string) func(*testing.T, *cluster.Node) {
	return spawns("bypass", "sleep 1000 "+redirection+" & "+named("sleep"))
}

// named waits until the process in the background is that program.
func named(program string) string {
	return "until grep -qx " + program + " /proc/$!/comm; do sleep 0.01; done; : >$READY; wait"
}

// listensAs has a program listen on an address, last two of args, with what stands
// before them in front of it.
func listensAs(args ...string) func(*testing.T, *cluster.Node) {
	host, port := args[len(args)-2], args[len(args)-1]
	const program = `python3 -c 'import http.server as h, sys; s=h.HTTPServer((sys.argv[1], int(sys.argv[2])), h.SimpleHTTPRequestHandler); open("$READY","w"); s.serve_forever()'`
	return spawns("listener", "exec "+strings.Join(append(args[:len(args)-2:len(args)-2], program, host, port), " "))
}

func spawnsToEnd(python string) func(*testing.T, *cluster.Node) {
	return func(t *testing.T, n *cluster.Node) {
		msg, err := exec.Command("python3", "-c", strings.ReplaceAll(python, "$DIR", n.Dir)).CombinedOutput()
		require.NoError(t, err, string(msg))
		t.Cleanup(func() { _ = os.Remove(filepath.Join(n.Dir, "admin.sock")) })
	}
}

// haltLock takes LiteFS's HALT lock on a database, as a litefence does that is then
// killed.
func haltLock(t *testing.T, n *cluster.Node) {
	f, err := os.OpenFile(filepath.Join(n.Lower(), "app.db"), os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = n.Exec("python3", "-c", `import urllib.request as u
u.urlopen(u.Request("http://127.0.0.1:20202/halt?name=app.db&id=77", method="`+http.MethodPost+`", headers={"Litefs-Id": "00000000000000AA"}))`)
	require.NoError(t, err)
}
