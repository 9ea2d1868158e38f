// Package cluster runs litefence and real LiteFS on several nodes of one
// machine: a network namespace for each, a switch between them, everything
// under one temporary directory. It owns their life and their clean-up; it
// knows nothing of what is asserted about them, and never opens a database
// itself (that is package workload, in a process of its own).
package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a cluster. The zero value of a field is its default.
type Options struct {
	Nodes     int      // 3
	Witnesses int      // how many of them, the last ones, are witnesses
	Litefence string   // binary; "" = no litefence may be started
	LiteFS    string   // binary
	RunFlags  []string // more of `litefence run`
	Heartbeat time.Duration
	Lease     time.Duration
	Confirm   string        // lease
	TTL       time.Duration // of LiteFS's session; 200 ms
	TLS       bool          // nodes know each other by certificates that litefence issues
	// Supervised is how many nodes, the first ones, have their LiteFS started by
	// litefence (litefs.command).
	Supervised int
	Extra      string // appended to every litefence.yml
	// Disks, where not 0, is the size in bytes of a file system of its own for
	// each node's data directories, litefence's and LiteFS's.
	Disks int64
	Fence string // more keys of its fence section, as "enforce: false"

	// App, where given, is the application that litefence starts on a node.
	App func(*Node) []string

	// OwnLease, where given, is the lease section of a node's litefs.yml: LiteFS
	// elects and streams by itself, and litefence follows.
	OwnLease func(*Node) string
}

// Cluster is a set of nodes. Close it, whatever happened.
type Cluster struct {
	Nodes []*Node
	Dir   string

	opts Options
	id   string // prefix of every name that the kernel knows

	mu     sync.Mutex
	procs  []*Process
	closed bool
}

// ErrUnable is wrapped by New where this machine or user cannot run a cluster.
var ErrUnable = errors.New("cannot run a cluster here")

var (
	serial  atomic.Int64
	openMu  sync.Mutex
	openSet = map[*Cluster]bool{}
)

// New makes the network and the nodes' directories and configs. It starts no
// process. What earlier runs left behind, killed before they could clean up,
// is removed first.
func New(opts Options) (*Cluster, error) {
	if err := able(opts); err != nil {
		return nil, err
	}
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	if opts.TTL == 0 {
		opts.TTL = 200 * time.Millisecond
	}
	Sweep()
	dir, err := os.MkdirTemp("", tempPrefix(os.Getpid()))
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, opts: opts, id: fmt.Sprintf("%s%d", namePrefix(os.Getpid()), serial.Add(1))}
	openMu.Lock()
	openSet[c] = true
	openMu.Unlock()
	for i := 1; i <= opts.Nodes; i++ {
		c.Nodes = append(c.Nodes, newNode(c, i))
	}
	if err := c.setUp(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func able(opts Options) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: it needs root", ErrUnable)
	}
	for _, p := range []string{"ip", "nsenter", "iptables-restore", "fusermount3"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%w: %s is missing; run `make deps`", ErrUnable, p)
		}
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("%w: %v", ErrUnable, err)
	}
	for _, bin := range []string{opts.Litefence, opts.LiteFS} {
		if _, err := os.Stat(bin); bin != "" && err != nil {
			return fmt.Errorf("%w: %v; run `make build`", ErrUnable, err)
		}
	}
	return nil
}

func (c *Cluster) setUp() error {
	for _, n := range c.Nodes {
		if err := n.writeFiles(); err != nil {
			return err
		}
	}
	if c.opts.TLS {
		if err := c.issueCertificates(); err != nil {
			return err
		}
	}
	return c.makeNetwork()
}

// Start starts litefence and LiteFS on every node.
func (c *Cluster) Start() error {
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Data lists the nodes that are no witnesses.
func (c *Cluster) Data() []*Node { return c.Nodes[:len(c.Nodes)-c.opts.Witnesses] }

// Others lists the nodes that are not among skip.
func (c *Cluster) Others(skip ...*Node) (out []*Node) {
next:
	for _, n := range c.Nodes {
		for _, s := range skip {
			if n == s {
				continue next
			}
		}
		out = append(out, n)
	}
	return out
}

// Close kills every process, detaches every mount, and removes namespaces and
// files. It may be called again; the error names what could not be removed.
func (c *Cluster) Close() error {
	c.mu.Lock()
	procs := c.procs
	again := c.closed
	c.closed, c.procs = true, nil
	c.mu.Unlock()
	if again {
		return nil
	}
	// The daemons last: an application that waits in a FUSE request can only
	// die once somebody answers it or the connection ends.
	for i := len(procs) - 1; i >= 0; i-- {
		procs[i].kill()
	}
	var errs []error
	errs = append(errs, detachAll(c.Dir))
	for _, p := range procs {
		if !p.waitFor(10 * time.Second) {
			errs = append(errs, fmt.Errorf("%s (pid %d) does not die", p.Name, p.Pid()))
		}
	}
	errs = append(errs, detachAll(c.Dir), removeNamespaces(c.id), os.RemoveAll(c.Dir))
	openMu.Lock()
	delete(openSet, c)
	openMu.Unlock()
	return errors.Join(errs...)
}

// CloseAll closes every cluster of this process, for signal handlers.
func CloseAll() error {
	openMu.Lock()
	var all []*Cluster
	for c := range openSet {
		all = append(all, c)
	}
	openMu.Unlock()
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// DumpLogs writes the end of every process's log, for failures.
func (c *Cluster) DumpLogs(w io.Writer, lines int) {
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "*", "*.log"))
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			continue
		}
		all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
		rel, _ := filepath.Rel(c.Dir, path)
		fmt.Fprintf(w, "--- %s (last %d of %d lines)\n", rel, min(lines, len(all)), len(all))
		for _, l := range all[max(0, len(all)-lines):] {
			fmt.Fprintln(w, l)
		}
	}
}
