package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Node is one machine of the cluster.
type Node struct {
	Name string
	IP   string
	Dir  string
	// Witness: litefence without LiteFS and mount.
	Witness bool
	// Supervised: litefence starts LiteFS.
	Supervised bool

	c  *Cluster
	ns string // network namespace

	litefs    *Process
	litefence *Process
}

func newNode(c *Cluster, i int) *Node {
	name := fmt.Sprintf("n%d", i)
	return &Node{
		Name: name, IP: fmt.Sprintf("10.213.7.%d", i), c: c,
		Dir: filepath.Join(c.Dir, name), ns: c.id + name,
		Witness:    i > c.opts.Nodes-c.opts.Witnesses,
		Supervised: i <= c.opts.Supervised,
	}
}

// Lower is the LiteFS mount, Fenced ours over it, Data LiteFS's directory.
func (n *Node) Lower() string  { return filepath.Join(n.Dir, "lower") }
func (n *Node) Fenced() string { return filepath.Join(n.Dir, "fenced") }
func (n *Node) Data() string   { return filepath.Join(n.Dir, "litefs") }

// RaftData is litefence's data directory.
func (n *Node) RaftData() string { return filepath.Join(n.Dir, "raft") }

// ConfigPath is litefence.yml.
func (n *Node) ConfigPath() string { return filepath.Join(n.Dir, "litefence.yml") }

func (n *Node) liteFSConfigPath() string { return filepath.Join(n.Dir, "litefs.yml") }
func (n *Node) socket() string           { return filepath.Join(n.Dir, "admin.sock") }
func (n *Node) addr() string             { return n.IP + ":7400" }

// LiteFS and Litefence are the running processes, nil before the first start.
func (n *Node) LiteFS() *Process    { return n.litefs }
func (n *Node) Litefence() *Process { return n.litefence }

// Command is a command line that runs in the node's network. Not `ip netns
// exec`: that makes a mount namespace, which would hide the FUSE mounts.
func (n *Node) Command(args ...string) []string {
	return append([]string{"nsenter", "--net=" + n.nsPath()}, args...)
}

// Exec runs a command in the node's network to its end.
func (n *Node) Exec(args ...string) (string, error) {
	line := n.Command(args...)
	cmd := exec.Command(line[0], line[1:]...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), err
}

// Start starts both daemons: litefence first, since LiteFS asks it for its
// lease; litefence waits for LiteFS's mount.
func (n *Node) Start() error {
	if n.Witness || n.Supervised {
		return n.StartLitefence()
	}
	return errors.Join(n.StartLitefence(), n.StartLiteFS())
}

// StartLitefence starts `litefence run`, or `litefence witness`.
func (n *Node) StartLitefence() (err error) {
	if n.litefence != nil && n.litefence.Running() {
		return fmt.Errorf("litefence runs on %s already", n.Name)
	}
	command := "run"
	if n.Witness {
		command = "witness"
	}
	args := []string{n.c.opts.Litefence, command, "-config", n.ConfigPath()}
	if !n.Witness {
		args = append(args, n.c.opts.RunFlags...)
	}
	if n.c.opts.App != nil && !n.Witness {
		args = append(append(args, "--"), n.c.opts.App(n)...)
	}
	n.litefence, err = n.c.spawn(n.Name+" litefence", filepath.Join(n.Dir, "litefence.log"), nil, nil, n.Command(args...)...)
	return err
}

// StartLiteFS starts LiteFS; the corpse of a killed one's mount is taken away
// first, as LiteFS cannot do that itself.
func (n *Node) StartLiteFS() (err error) {
	if n.litefs != nil && n.litefs.Running() {
		return fmt.Errorf("LiteFS runs on %s already", n.Name)
	}
	if err := detachAll(n.Lower()); err != nil {
		return err
	}
	n.litefs, err = n.c.spawn(n.Name+" litefs", filepath.Join(n.Dir, "litefs.log"), nil, nil, n.Command(n.liteFSCommand()...)...)
	return err
}

func (n *Node) liteFSCommand() []string {
	return []string{n.c.opts.LiteFS, "mount", "-config", n.liteFSConfigPath()}
}

// PowerOff kills both daemons at once.
func (n *Node) PowerOff() error {
	for _, p := range []*Process{n.litefence, n.litefs} {
		if p != nil {
			p.kill()
		}
	}
	var errs []error
	for _, p := range []*Process{n.litefence, n.litefs} {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(errs...)
}

// Pause stops litefence as a frozen machine would, Resume lets it go on.
func (n *Node) Pause() error  { return n.litefence.Signal(syscall.SIGSTOP) }
func (n *Node) Resume() error { return n.litefence.Signal(syscall.SIGCONT) }

// WipeLiteFS removes LiteFS's data; LiteFS must not run.
func (n *Node) WipeLiteFS() error {
	if n.litefs != nil && n.litefs.Running() {
		return fmt.Errorf("LiteFS runs on %s", n.Name)
	}
	return empty(n.Data())
}

// WipeRaft removes litefence's data; litefence must not run.
func (n *Node) WipeRaft() error {
	if n.litefence != nil && n.litefence.Running() {
		return fmt.Errorf("litefence runs on %s", n.Name)
	}
	return empty(n.RaftData())
}

// empty removes what is in dir; dir itself may be a file system of its own.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// Addr is where the other nodes reach litefence.
func (n *Node) Addr() string { return n.addr() }

// CLI runs a subcommand of litefence against this node.
func (n *Node) CLI(command string, args ...string) (string, error) {
	return n.Exec(append([]string{n.c.opts.Litefence, command, "-config", n.ConfigPath()}, args...)...)
}
