package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// stale = elected and not quorum, over every combination.
func TestStaleTruthTable(t *testing.T) {
	for _, c := range []struct {
		leader bool
		role   Role
		lease  bool
		stale  bool
	}{
		{false, RoleUnknown, false, false},
		{false, RoleUnknown, true, false},
		{false, RoleReplica, false, false},
		{false, RoleReplica, true, false},
		{false, RolePrimary, false, true}, // raft has demoted it, LiteFS clings to the role
		{false, RolePrimary, true, false},
		{true, RoleUnknown, false, true},
		{true, RoleUnknown, true, false},
		{true, RoleReplica, false, true},
		{true, RoleReplica, true, false},
		{true, RolePrimary, false, true},
		{true, RolePrimary, true, false},
	} {
		o := Observation{Started: true, RaftLeader: c.leader, Role: c.role, LeaseValid: c.lease}
		require.Equal(t, c.stale, o.DetectStaleLeadership(), "%+v", c)
		o.Started = false
		require.False(t, o.DetectStaleLeadership(), "at start a node is fenced but not stale")
	}
}

func drawObservation(t *rapid.T) Observation {
	b := func(name string) bool { return rapid.Bool().Draw(t, name) }
	return Observation{
		Node: "n1", Started: b("started"), RaftLeader: b("leader"),
		Leader:     rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "name"),
		Role:       rapid.SampledFrom([]Role{RoleUnknown, RolePrimary, RoleReplica}).Draw(t, "role"),
		LeaseValid: b("lease"), Opened: b("opened"), Ineligible: b("ineligible"), Conflict: b("conflict"),
		ManualFence: b("manual"), BlockedFile: b("blocked"), Stopping: b("stopping"), Handoff: b("handoff"), Witness: b("witness"),
		Failed: b("failed"),
	}
}

// Writes pass in exactly one case; whatever is unknown refuses them.
func TestDecideAdmitsInOneCaseOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObservation(t)
		v := Decide(o)
		want := o.Started && o.RaftLeader && o.Role == RolePrimary && o.LeaseValid && o.Opened &&
			!o.Conflict && !o.ManualFence && !o.BlockedFile && !o.Stopping && !o.Handoff && !o.Witness && !o.Failed
		require.Equal(t, want, v.Admit)
		require.Equal(t, v.Admit, v.Reason == ReasonNone, "a refusal has a reason, an admission none")
		require.Equal(t, o.Started && (o.RaftLeader || o.Role == RolePrimary) && !o.LeaseValid && !o.Witness, v.Stale)
		if v.Admit {
			require.True(t, o.CanCommitWrites())
		}
	})
}

// A witness that leads is neither stale nor able to commit: it has no writes.
func TestWitnessHasNoWrites(t *testing.T) {
	o := Observation{Node: "w", Leader: "w", Started: true, RaftLeader: true, Witness: true}
	for _, o.LeaseValid = range []bool{false, true} {
		require.Equal(t, ReasonWitness, Decide(o).Reason)
		require.False(t, o.CanCommitWrites() || o.DetectStaleLeadership() || Decide(o).Stale)
	}
}

func TestZeroObservationIsFencedAndPagesNobody(t *testing.T) {
	require.Equal(t, Verdict{Reason: ReasonStarting}, Decide(Observation{}))
}
