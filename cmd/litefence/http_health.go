package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

// What programs ask that were written against the split-brain analysis, or for
// litefs-py, under the names that they know. None of these asks LiteFS, so none
// waits for one that hangs.

// healthReply is GET /health/status. It is always a 200: a detector that reads
// is_leader from nothing else would take any other answer for silence.
type healthReply struct {
	NodeID             string            `json:"node_id"`
	IsLeader           bool              `json:"is_leader"`
	IsPrimary          bool              `json:"is_primary"`
	NodeState          string            `json:"node_state"` // PRIMARY, REPLICA
	HasQuorum          bool              `json:"has_quorum"`
	CanCommitWrites    bool              `json:"can_commit_writes"`
	SplitBrainDetected bool              `json:"split_brain_detected"`
	State              string            `json:"state"`
	HealthStatus       policy.Health     `json:"health_status"`
	Health             quorum.HealthView `json:"health"`
	Error              *string           `json:"error"` // null = none
}

type liveReply struct {
	IsLive bool    `json:"is_live"`
	Error  *string `json:"error"`
}

type readyReply struct {
	IsReady            bool          `json:"is_ready"`
	CanAcceptWrites    bool          `json:"can_accept_writes"`
	HealthStatus       policy.Health `json:"health_status"`
	SplitBrainDetected bool          `json:"split_brain_detected"`
	Error              *string       `json:"error"`
}

func (d *daemon) serveHealthStatus(w http.ResponseWriter, _ *http.Request) {
	replyJSON(w, http.StatusOK, healthOf(d.glance()))
}

func healthOf(s statusReply) healthReply {
	r := healthReply{
		NodeID: s.Node, IsLeader: s.IsLeader, IsPrimary: s.Role == policy.RolePrimary.String(), NodeState: "REPLICA",
		HasQuorum: s.HasQuorum, CanCommitWrites: s.CanCommitWrites, SplitBrainDetected: splitBrain(s),
		State: string(s.State), HealthStatus: s.HealthStatus, Health: s.Health, Error: orNull(s.trouble()),
	}
	if r.IsPrimary {
		r.NodeState = "PRIMARY"
	}
	return r
}

// serveLive answers for the process, which lives if it answers.
func (d *daemon) serveLive(w http.ResponseWriter, _ *http.Request) {
	replyJSON(w, http.StatusOK, liveReply{IsLive: true})
}

func (d *daemon) serveHealthReady(w http.ResponseWriter, _ *http.Request) {
	status, r := readyOf(d.glance())
	replyJSON(w, status, r)
}

func readyOf(s statusReply) (status int, r readyReply) {
	why := s.unready()
	status = http.StatusOK
	if why != "" {
		status = http.StatusServiceUnavailable
	}
	return status, readyReply{
		IsReady: why == "", CanAcceptWrites: s.Writable, HealthStatus: s.HealthStatus,
		SplitBrainDetected: splitBrain(s), Error: orNull(why),
	}
}

func (d *daemon) serveReady(w http.ResponseWriter, _ *http.Request) {
	if why := d.glance().unready(); why != "" {
		refuse(w, http.StatusServiceUnavailable, "not ready: "+why)
		return
	}
	fmt.Fprintln(w, "ready")
}

// splitBrain reports that one was detected and is not resolved yet.
func splitBrain(s statusReply) bool { return s.StaleLeadership || s.State == quorum.StateSplitBrain }

// unready says why s's node cannot serve, "" where it can. A replica can.
func (s statusReply) unready() string {
	var why []string
	if !s.Mounted && !s.Witness {
		why = append(why, "the fenced mount is not there yet")
	}
	if s.LowerGone {
		why = append(why, "LiteFS's mount is gone")
	}
	if !s.HasQuorum && !s.FollowsLeader {
		why = append(why, "no majority is known to this node")
	}
	if s.HealthStatus == policy.Unhealthy {
		why = append(why, "unhealthy: "+s.Health.Reason)
	}
	return strings.Join(why, "; ")
}

// trouble is what an operator should know of, "" for nothing. That a replica
// refuses writes is none.
func (s statusReply) trouble() string {
	var all []string
	switch {
	case splitBrain(s):
		all = append(all, "split-brain: this node is a stale leader; writes are refused")
	case s.StateError != "":
		all = append(all, "the split-brain could not be resolved: "+s.StateError)
	}
	for _, t := range []string{s.Problem, s.Membership, s.unready()} {
		if t != "" {
			all = append(all, t)
		}
	}
	return strings.Join(all, "; ")
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func replyJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
