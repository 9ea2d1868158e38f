package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

func rqliteHTTP(n *cluster.Node) string { return n.IP + ":4001" }
func rqliteRaft(n *cluster.Node) string { return n.IP + ":4002" }

// startRqlite starts rqlite on the nodes of a cluster that has nothing else, with
// its defaults: every node syncs its raft log before it answers. The writers talk
// to the leader, from the leader's node.
func startRqlite(ctx context.Context, o options, s *commitSite) (err error) {
	if s.c, err = cluster.New(cluster.Options{Nodes: o.commitNodes}); err != nil {
		return err
	}
	var join []string
	for _, n := range s.c.Nodes {
		join = append(join, rqliteRaft(n))
	}
	for _, n := range s.c.Nodes {
		p, err := n.Spawn("rqlited", nil, nil, n.Command(o.rqlite, "-node-id", n.Name,
			"-http-addr", rqliteHTTP(n), "-raft-addr", rqliteRaft(n),
			"-bootstrap-expect", fmt.Sprint(len(join)), "-join", strings.Join(join, ","),
			filepath.Join(n.Dir, "rqlite"))...)
		if err != nil {
			return err
		}
		s.daemons = append(s.daemons, p)
	}
	err = s.wait(ctx, func() (err error) {
		s.node, err = rqliteLeader(s.c)
		return errors.Join(err, rqliteSynced(s.c))
	})
	if err != nil {
		return err
	}
	leader, url := s.node, "http://"+rqliteHTTP(s.node)
	s.writer = func(string) []string { return []string{"-op", "post", "-url", url} }
	s.settled = func([]string) error { return rqliteSynced(s.c) }
	s.same = func() error {
		now, err := rqliteLeader(s.c)
		if err == nil && now != leader {
			err = fmt.Errorf("%s leads now, and not %s", now.Name, leader.Name)
		}
		return err
	}
	return execute(nodeClient(s.node), url, createSQL)
}

// nodeClient asks from within a node's network.
func nodeClient(n *cluster.Node) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, _, addr string) (net.Conn, error) { return n.Dial(addr) },
	}}
}

// rqliteLeader is who leads, once all nodes are voters.
func rqliteLeader(c *cluster.Cluster) (leader *cluster.Node, err error) {
	body, err := get(c.Nodes[0], "http://"+rqliteHTTP(c.Nodes[0])+"/nodes")
	if err != nil {
		return nil, err
	}
	var nodes map[string]struct{ Leader, Voter, Reachable bool }
	if err := json.Unmarshal(body, &nodes); err != nil {
		return nil, fmt.Errorf("rqlite says %q: %w", body, err)
	}
	for _, n := range c.Nodes {
		if !nodes[n.Name].Voter || !nodes[n.Name].Reachable {
			return nil, fmt.Errorf("rqlite on %s is not there yet: %s", n.Name, body)
		}
		if nodes[n.Name].Leader {
			leader = n
		}
	}
	if leader == nil {
		return nil, fmt.Errorf("rqlite has no leader: %s", body)
	}
	return leader, nil
}

// rqliteSynced looks whether every node knows of all that the leader has
// committed.
func rqliteSynced(c *cluster.Cluster) error {
	var errs []error
	for _, n := range c.Nodes {
		_, err := get(n, "http://"+rqliteHTTP(n)+"/readyz?sync")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func get(n *cluster.Node, url string) ([]byte, error) {
	resp, err := nodeClient(n).Get(url)
	if err != nil {
		return nil, err
	}
	return answerOf(resp)
}

func answerOf(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", resp.Request.URL, resp.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// execute has rqlite carry out one statement. It tells of an error in SQL with
// status 200.
func execute(client *http.Client, url, statement string) error {
	ask, err := json.Marshal([]string{statement})
	if err != nil {
		return err
	}
	resp, err := client.Post(url+"/db/execute", "application/json", bytes.NewReader(ask))
	if err != nil {
		return err
	}
	body, err := answerOf(resp)
	if err != nil {
		return err
	}
	var told struct{ Results []struct{ Error string } }
	if err := json.Unmarshal(body, &told); err != nil || len(told.Results) != 1 {
		return fmt.Errorf("rqlite says %q (%v)", body, err)
	}
	if e := told.Results[0].Error; e != "" {
		return errors.New(e)
	}
	return nil
}

// rqliteMissing says why the bench goes without rqlite; "" = it is there.
func (o options) rqliteMissing() string {
	if _, err := os.Stat(o.rqlite); err != nil {
		return fmt.Sprintf("not there (%v)", err)
	}
	return ""
}
