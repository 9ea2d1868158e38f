package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

func statusOf(edit func(*statusReply)) statusReply {
	s := statusReply{Mounted: true, Enforce: true}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.Node, s.State, s.Role = "n1", quorum.StateHealthy, "replica"
	s.FollowsLeader, s.HealthStatus = true, policy.Healthy
	s.Health = quorum.HealthView{IsHealthy: true, LastCheck: &at}
	edit(&s)
	return s
}

// The very JSON that INTERFACE.md promises, key by key.
func TestHealthStatus(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*statusReply)
		want string
	}{
		"replica": {func(*statusReply) {}, `{"node_id":"n1","is_leader":false,"is_primary":false,"node_state":"REPLICA",
			"has_quorum":false,"can_commit_writes":false,"split_brain_detected":false,"state":"healthy","health_status":"healthy",
			"health":{"is_healthy":true,"last_check":"2026-01-02T03:04:05Z","reason":""},"error":null}`},
		"primary": {func(s *statusReply) {
			s.Role, s.IsLeader, s.HasQuorum, s.CanCommitWrites, s.Writable, s.FollowsLeader = "primary", true, true, true, true, false
		}, `{"node_id":"n1","is_leader":true,"is_primary":true,"node_state":"PRIMARY",
			"has_quorum":true,"can_commit_writes":true,"split_brain_detected":false,"state":"healthy","health_status":"healthy",
			"health":{"is_healthy":true,"last_check":"2026-01-02T03:04:05Z","reason":""},"error":null}`},
		"stale leader": {func(s *statusReply) {
			s.Role, s.StaleLeadership, s.State, s.FollowsLeader = "primary", true, quorum.StateSplitBrain, false
			s.HealthStatus = policy.Degraded
			s.Health = quorum.HealthView{IsHealthy: true, Reason: "lag: 12s"}
		}, `{"node_id":"n1","is_leader":false,"is_primary":true,"node_state":"PRIMARY",
			"has_quorum":false,"can_commit_writes":false,"split_brain_detected":true,"state":"split_brain_detected","health_status":"degraded",
			"health":{"is_healthy":true,"last_check":null,"reason":"lag: 12s"},
			"error":"split-brain: this node is a stale leader; writes are refused; no majority is known to this node"}`},
		"failed": {func(s *statusReply) { s.State, s.StateError = quorum.StateFailed, "step down: a write hangs" },
			`{"node_id":"n1","is_leader":false,"is_primary":false,"node_state":"REPLICA",
			"has_quorum":false,"can_commit_writes":false,"split_brain_detected":false,"state":"failed","health_status":"healthy",
			"health":{"is_healthy":true,"last_check":"2026-01-02T03:04:05Z","reason":""},
			"error":"the split-brain could not be resolved: step down: a write hangs"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(healthOf(statusOf(c.edit)))
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(got))
		})
	}
}

// A healthy replica is ready and takes no writes; only who is not ready gets 503.
func TestHealthReady(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(*statusReply)
		status int
		want   string
	}{
		"replica": {func(*statusReply) {}, 200,
			`{"is_ready":true,"can_accept_writes":false,"health_status":"healthy","split_brain_detected":false,"error":null}`},
		"primary": {func(s *statusReply) { s.HasQuorum, s.Writable = true, true }, 200,
			`{"is_ready":true,"can_accept_writes":true,"health_status":"healthy","split_brain_detected":false,"error":null}`},
		"not mounted": {func(s *statusReply) { s.Mounted = false }, 503,
			`{"is_ready":false,"can_accept_writes":false,"health_status":"healthy","split_brain_detected":false,"error":"the fenced mount is not there yet"}`},
		"a witness needs none": {func(s *statusReply) { s.Mounted, s.Witness = false, true }, 200,
			`{"is_ready":true,"can_accept_writes":false,"health_status":"healthy","split_brain_detected":false,"error":null}`},
		"LiteFS died": {func(s *statusReply) { s.LowerGone = true }, 503,
			`{"is_ready":false,"can_accept_writes":false,"health_status":"healthy","split_brain_detected":false,"error":"LiteFS's mount is gone"}`},
		"cut off": {func(s *statusReply) { s.FollowsLeader = false }, 503,
			`{"is_ready":false,"can_accept_writes":false,"health_status":"healthy","split_brain_detected":false,"error":"no majority is known to this node"}`},
		"unhealthy": {func(s *statusReply) {
			s.HealthStatus, s.Health = policy.Unhealthy, quorum.HealthView{Reason: "free disk: 0 bytes"}
		}, 503, `{"is_ready":false,"can_accept_writes":false,"health_status":"unhealthy","split_brain_detected":false,"error":"unhealthy: free disk: 0 bytes"}`},
	} {
		t.Run(name, func(t *testing.T) {
			status, r := readyOf(statusOf(c.edit))
			require.Equal(t, c.status, status)
			got, err := json.Marshal(r)
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(got))
		})
	}
}

// The same over the wire, of a real witness; /health/status is a 200 even where
// nothing is known yet.
func TestHealthEndpoints(t *testing.T) {
	d := startLive(t)
	for _, socket := range []bool{true, false} {
		status, text, header := d.ask(socket, "GET", "/health/status", "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "application/json", header.Get("Content-Type"))
		require.Equal(t, "w", fromJSON[healthReply](t, text).NodeID)
		status, text, _ = d.ask(socket, "GET", "/health/live", "")
		require.Equal(t, http.StatusOK, status)
		require.JSONEq(t, `{"is_live":true,"error":null}`, text)
		require.Eventually(t, func() bool {
			status, text, _ = d.ask(socket, "GET", "/health/ready", "")
			return status == http.StatusOK
		}, 20*time.Second, 20*time.Millisecond, "a quorum of one is known")
		require.True(t, fromJSON[readyReply](t, text).IsReady)
		status, text, _ = d.ask(socket, "GET", "/readyz", "")
		require.Equal(t, http.StatusOK, status, text)
		status, _, _ = d.ask(socket, "GET", "/healthz", "")
		require.Equal(t, http.StatusOK, status)
	}
	status, _, _ := d.ask(true, "POST", "/v1/health", `{"healthy":false,"reason":"a test"}`)
	require.Equal(t, http.StatusOK, status)
	status, text, _ := d.ask(false, "GET", "/health/ready", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, text, "unhealthy: a test")
	status, text, _ = d.ask(false, "GET", "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, text, "not ready: unhealthy: a test")
	status, text, _ = d.ask(false, "GET", "/health/status", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, policy.Unhealthy, fromJSON[healthReply](t, text).HealthStatus)
}
