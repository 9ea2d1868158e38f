package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

// site is the running cluster with a database for every variant.
type site struct {
	o        options
	c        *cluster.Cluster
	primary  *cluster.Node
	replica  *cluster.Node // nil where there is one node only
	term     uint64        // in which primary is it
	variants []variant
}

func setUp(ctx context.Context, o options, todo []workload) (*site, error) {
	c, err := cluster.New(cluster.Options{
		Nodes: o.nodes, Litefence: o.litefence, LiteFS: o.litefs,
		Heartbeat: o.heartbeat, Lease: o.lease, TTL: o.lease,
	})
	if err != nil {
		return nil, err
	}
	s := &site{o: o, c: c, variants: variants}
	return s, s.run(ctx, todo)
}

// tearDown removes the clusters, and shows the logs where the bench went wrong.
func tearDown(ctx context.Context, err error, clusters ...*cluster.Cluster) error {
	interrupted := ctx.Err() != nil
	var left error
	for _, c := range clusters {
		if err != nil && !interrupted {
			c.DumpLogs(os.Stderr, 20)
		}
		left = errors.Join(left, c.Close())
	}
	if l := cluster.Leaks(); len(l) > 0 {
		left = errors.Join(left, fmt.Errorf("left behind: %s", strings.Join(l, ", ")))
	}
	if interrupted {
		err = fmt.Errorf("interrupted (%w)", context.Cause(ctx))
	}
	return errors.Join(err, left)
}

func (s *site) run(ctx context.Context, todo []workload) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := s.c.Start(); err != nil {
		return err
	}
	var err error
	if s.primary, err = cluster.WaitWritable(ctx, s.c.Nodes...); err != nil {
		return fmt.Errorf("no primary: %w", err)
	}
	st, err := s.primary.Status()
	if err != nil {
		return err
	}
	s.term = st.Term
	others := s.c.Others(s.primary)
	if len(others) > 0 {
		s.replica = others[0]
	}
	if err := s.startBindfs(ctx); err != nil {
		return err
	}
	if err := s.createDatabases(ctx, todo); err != nil {
		return err
	}
	if err := cluster.WaitInStep(ctx, s.primary, others...); err != nil {
		return fmt.Errorf("the replicas do not follow: %w", err)
	}
	return nil
}

func bindfsThere() bool { _, err := exec.LookPath("bindfs"); return err == nil }

func bindfsMount(n *cluster.Node) string { return filepath.Join(n.Dir, "bindfs") }

// startBindfs mounts bindfs over LiteFS wherever something is measured. Without
// the program the bench goes on without it.
func (s *site) startBindfs(ctx context.Context) error {
	if !bindfsThere() {
		s.variants = variants[:len(variants)-1]
		return nil
	}
	for _, n := range []*cluster.Node{s.primary, s.replica} {
		if n == nil {
			continue
		}
		dir := bindfsMount(n)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		p, err := n.Spawn("bindfs", nil, nil, "bindfs", "-f", "--multithreaded", "--enable-lock-forwarding", n.Lower(), dir)
		if err != nil {
			return err
		}
		err = cluster.WaitFor(ctx, func() error {
			table, err := os.ReadFile("/proc/self/mountinfo")
			if err == nil && !bytes.Contains(table, []byte(" "+dir+" ")) {
				err = fmt.Errorf("bindfs on %s has not mounted (running: %v)", n.Name, p.Running())
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// createDatabases makes every database that todo asks for, each through the
// mount that will write it.
func (s *site) createDatabases(ctx context.Context, todo []workload) error {
	made := map[string]bool{}
	for _, w := range todo {
		for _, v := range s.variants {
			name := w.database(v)
			if made[name] {
				continue
			}
			made[name] = true
			args := []string{"-op", "create", "-mode", w.mode(), "-sync", "NORMAL", "-db", filepath.Join(v.writerMount(s.primary), name)}
			if w.op != "write" {
				args = append(args, "-rows", fmt.Sprint(s.o.rows))
			}
			a, err := startApp(ctx, s.primary, args...)
			if err == nil {
				err = a.end(ctx)
			}
			if err != nil {
				return fmt.Errorf("create %s: %w", name, err)
			}
		}
	}
	return nil
}
