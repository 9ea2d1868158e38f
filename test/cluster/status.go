package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Copies is what commits wait for, with quorum.confirm: replicated.
type Copies struct {
	On       []string `json:"on"`
	Waiting  int      `json:"waiting"`
	OldestMS int64    `json:"oldest_ms"`
	HeldUpBy []string `json:"held_up_by"`
}

// Status is what litefence says of itself at /v1/status.
type Status struct {
	Node              string `json:"node"`
	Term              uint64 `json:"term"`
	Leader            string `json:"leader"`
	IsLeader          bool   `json:"is_leader"`
	Role              string `json:"role"` // primary, replica, unknown
	Fenced            bool   `json:"fenced"`
	Reason            string `json:"reason"`
	Writable          bool   `json:"writable"`
	LeaseLeftMS       int64  `json:"lease_left_ms"`
	HasQuorum         bool   `json:"has_quorum"`
	CanCommitWrites   bool   `json:"can_commit_writes"`
	StaleLeadership   bool   `json:"stale_leadership"`
	State             string `json:"state"`
	StateError        string `json:"state_error"`
	FenceReason       string `json:"fence_reason"` // of a manual fence
	Resolutions       struct{ Resolved, Failed int }
	LastHeartbeatFrom map[string]*float64 `json:"last_heartbeat_from"`
	Positions         map[string]string   `json:"positions"`   // database -> txid/checksum
	InStep            bool                `json:"in_step"`     // with the newest Open that this node knows
	OutOfStep         string              `json:"out_of_step"` // what keeps it from it, and the mend
	Open              uint64              `json:"open"`        // raft index of that Open
	Held              map[string]string   `json:"held"`        // recorded as held by a majority since
	Problem           string              `json:"problem"`     // why there is no primary
	Copies            *Copies             `json:"copies"`
	Peers             []json.RawMessage   `json:"peers"`
	Member            string              `json:"member"`        // voter, nonvoter, none
	Membership        string              `json:"membership"`    // what is wrong with it, and the mend
	HealthStatus      string              `json:"health_status"` // healthy, degraded, unhealthy
	Health            struct {
		Reason string `json:"reason"`
	} `json:"health"`
	Enforce bool `json:"enforce"`
	Writes  struct {
		Refused, Suspended map[string]uint64 // by kind of file
	} `json:"writes"`
}

// Check is POST /v1/check: one CheckAndResolve.
func (n *Node) Check() (state, failed string, err error) {
	var a struct{ State, Error string }
	err = n.admin("POST", "/v1/check", &a)
	return a.State, a.Error, err
}

// Status asks litefence's admin socket.
func (n *Node) Status() (s Status, err error) {
	err = n.admin("GET", "/v1/status", &s)
	return s, err
}

// Admin sends a request without a body to the admin socket.
func (n *Node) Admin(method, path string) error { return n.admin(method, path, nil) }

// Get returns what the admin socket answers to a GET.
func (n *Node) Get(path string) (string, error) {
	body, err := n.ask("GET", path)
	return string(body), err
}

func (n *Node) admin(method, path string, into any) error {
	body, err := n.ask(method, path)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(body, into)
}

func (n *Node) ask(method, path string) ([]byte, error) {
	timeout := 2 * time.Second
	if method != http.MethodGet {
		timeout = 20 * time.Second // it may wait for what it has done
	}
	client := http.Client{
		Timeout: timeout,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.socket())
		}},
	}
	req, err := http.NewRequest(method, "http://litefence"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s on %s: %s: %s", method, path, n.Name, resp.Status, body)
	}
	return body, nil
}

// WaitFor asks cond until it is nil; where ctx ends first, the error has the
// last answer.
func WaitFor(ctx context.Context, cond func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// WaitWritable waits until one of nodes admits writes, and returns it.
func WaitWritable(ctx context.Context, nodes ...*Node) (found *Node, err error) {
	err = WaitFor(ctx, func() error {
		var why []error
		for _, n := range nodes {
			s, err := n.Status()
			if err == nil && s.Writable {
				found = n
				return nil
			}
			why = append(why, fmt.Errorf("%s: role %q, leader %q, reason %q (%v)", n.Name, s.Role, s.Leader, s.Reason, err))
		}
		return errors.Join(append([]error{errors.New("no node is writable")}, why...)...)
	})
	return found, err
}

// WaitInStep waits until every one of nodes is a replica that stands where
// primary stands, and may become primary itself. It ends only when nobody
// writes for a moment.
func WaitInStep(ctx context.Context, primary *Node, nodes ...*Node) error {
	return WaitFor(ctx, func() error { return InStep(primary, nodes...) })
}

// InStep looks once for what WaitInStep waits for.
func InStep(primary *Node, nodes ...*Node) error {
	want, err := primary.Status()
	if err != nil {
		return err
	}
	if len(want.Positions) == 0 {
		return fmt.Errorf("%s has no database", primary.Name)
	}
	for _, n := range nodes {
		if n.Witness {
			continue
		}
		s, err := n.Status()
		if err != nil {
			return err
		}
		if n != primary {
			if err := follows(s, want); err != nil {
				return err
			}
		}
		for db, pos := range want.Positions {
			if s.Positions[db] != pos {
				return fmt.Errorf("%s: %s stands at %q, on %s at %q", n.Name, db, s.Positions[db], primary.Name, pos)
			}
		}
	}
	return nil
}

// Following looks once whether every one of nodes is a replica of primary that
// may become primary after it.
func Following(primary *Node, nodes ...*Node) error {
	want, err := primary.Status()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		s, err := n.Status()
		if err == nil {
			err = follows(s, want)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func follows(s, primary Status) error {
	if s.Role != "replica" || !s.InStep || s.Open != primary.Open {
		return fmt.Errorf("%s is %s (%s), in step %v with Open %d; want a replica in step with Open %d", s.Node, s.Role, s.Reason, s.InStep, s.Open, primary.Open)
	}
	return nil
}
