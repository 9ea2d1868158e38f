package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/litefence/litefence/test/cluster"
)

// commitSite is one running cluster in which commits are measured. All of them
// run at once, so that they can take turns.
type commitSite struct {
	name    string
	c       *cluster.Cluster
	node    *cluster.Node // the writers run there
	daemons []*cluster.Process

	writer  func(db string) []string // what makes an application a writer of a database
	settled func(dbs []string) error // nil once all nodes have what was written
	same    func() error             // nil while it is as it was started
}

// siteOf names the cluster that a variant is measured in.
func siteOf(variant string) string {
	if variant == alone || variant == "again" {
		return alone
	}
	return variant
}

// startSite starts the cluster of a variant: LiteFS alone, rqlite, or litefence
// with the mode of quorum.confirm that the variant is named after. What has been
// made is s's, also after an error.
func startSite(ctx context.Context, o options, s *commitSite, dbs []string) error {
	switch s.name {
	case "rqlite":
		return startRqlite(ctx, o, s)
	case alone:
		if err := startAlone(ctx, o, s); err != nil {
			return err
		}
	default:
		if err := startFenced(ctx, o, s); err != nil {
			return err
		}
	}
	for _, db := range dbs {
		a, err := startApp(ctx, s.node, append(s.writer(db), "-op", "create")...)
		if err == nil {
			err = a.end(ctx)
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", db, err)
		}
	}
	return s.wait(ctx, func() error { return s.settled(dbs) })
}

// startAlone starts LiteFS as it is without litefence: the first node has a static
// lease, the others stream from it directly, the application uses LiteFS's mount.
func startAlone(ctx context.Context, o options, s *commitSite) (err error) {
	s.c, err = cluster.New(cluster.Options{Nodes: o.commitNodes, LiteFS: o.litefs, OwnLease: func(n *cluster.Node) string {
		return fmt.Sprintf(`{type: static, hostname: n1, advertise-url: "http://10.213.7.1:20202", candidate: %t, reconnect-delay: 50ms}`, n.Name == "n1")
	}})
	if err != nil {
		return err
	}
	for _, n := range s.c.Nodes {
		if err := n.StartLiteFS(); err != nil {
			return err
		}
		s.daemons = append(s.daemons, n.LiteFS())
	}
	s.node = s.c.Nodes[0]
	s.onLiteFS((*cluster.Node).Lower)
	s.same = s.alive // a static lease does not move
	return s.wait(ctx, func() error { return isPrimary(s.node) })
}

// isPrimary asks LiteFS. Its mount lets root create a database before it is.
func isPrimary(n *cluster.Node) error {
	body, err := get(n, "http://127.0.0.1:20202/info")
	if err != nil {
		return err
	}
	var info struct{ IsPrimary bool }
	if err := json.Unmarshal(body, &info); err != nil || !info.IsPrimary {
		return fmt.Errorf("LiteFS on %s says %s (%v)", n.Name, body, err)
	}
	return nil
}

func startFenced(ctx context.Context, o options, s *commitSite) (err error) {
	s.c, err = cluster.New(cluster.Options{
		Nodes: o.commitNodes, Litefence: o.litefence, LiteFS: o.litefs,
		Heartbeat: o.heartbeat, Lease: o.lease, TTL: o.lease, Confirm: s.name,
	})
	if err != nil {
		return err
	}
	if err := s.c.Start(); err != nil {
		return err
	}
	for _, n := range s.c.Nodes {
		s.daemons = append(s.daemons, n.Litefence(), n.LiteFS())
	}
	var term uint64
	err = s.wait(ctx, func() error {
		for _, n := range s.c.Nodes {
			if st, err := n.Status(); err == nil && st.Writable {
				s.node, term = n, st.Term
				return nil
			}
		}
		return errors.New("no node is writable")
	})
	s.onLiteFS((*cluster.Node).Fenced)
	s.same = func() error {
		st, err := s.node.Status()
		if err == nil && (!st.Writable || st.Term != term) {
			err = fmt.Errorf("%s is %s, %s, in term %d, and was primary in term %d; is the machine too busy? A longer -heartbeat and -lease may do", s.node.Name, st.Role, st.Reason, st.Term, term)
		}
		return err
	}
	return err
}

// onLiteFS is what all ways to a LiteFS have in common.
func (s *commitSite) onLiteFS(mount func(*cluster.Node) string) {
	s.writer = func(db string) []string {
		return []string{"-op", "write", "-sync", "FULL", "-db", filepath.Join(mount(s.node), db)}
	}
	s.settled = func(dbs []string) error {
		for _, db := range dbs {
			want, err := os.ReadFile(filepath.Join(s.node.Lower(), db+"-pos"))
			if err != nil {
				return err
			}
			for _, n := range s.c.Others(s.node) {
				if got, err := os.ReadFile(filepath.Join(n.Lower(), db+"-pos")); err != nil || string(got) != string(want) {
					return fmt.Errorf("%s: %s stands at %q, %s at %q (%v)", db, n.Name, got, s.node.Name, want, err)
				}
			}
		}
		return nil
	}
}

// wait waits for a condition; a daemon that has ended ends the wait.
func (s *commitSite) wait(ctx context.Context, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var dead error
	err := cluster.WaitFor(ctx, func() error {
		if dead = s.alive(); dead != nil {
			return nil
		}
		return cond()
	})
	return errors.Join(dead, err)
}

func (s *commitSite) alive() error {
	for _, p := range s.daemons {
		if !p.Running() {
			return fmt.Errorf("%s has ended, exit code %d", p.Name, p.ExitCode())
		}
	}
	return nil
}

// startSites starts the clusters of all variants, side by side.
func startSites(ctx context.Context, o options, dbsOf map[string][]string) (map[string]*commitSite, error) {
	sites := map[string]*commitSite{}
	var mu sync.Mutex
	var errs []error
	var wait sync.WaitGroup
	for name, dbs := range dbsOf {
		s := &commitSite{name: name}
		sites[name] = s
		wait.Go(func() {
			if err := startSite(ctx, o, s, dbs); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	wait.Wait()
	return sites, errors.Join(errs...)
}
