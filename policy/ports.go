package policy

import (
	"context"
	"errors"
	"time"
)

// The ports of the split-brain analysis, as small interfaces.

// SplitBrainDetector answers the analysis's questions about this node.
type SplitBrainDetector interface {
	// HasQuorum reports whether the lease is valid now.
	HasQuorum() bool
	// CanCommitWrites reports elected and quorum.
	CanCommitWrites() bool
	// LastHeartbeatFrom returns the age of the newest sign of life of a peer;
	// ok is false where there never was one.
	LastHeartbeatFrom(node string) (age time.Duration, ok bool)
	// DetectStaleLeadership reports elected and not quorum.
	DetectStaleLeadership() bool
}

// ConflictResolver takes a stale leader out of the way.
type ConflictResolver interface {
	// FenceWriteAccess shuts the gate and returns when no admitted write is in
	// flight. Idempotent. An error means that a write may still be under way;
	// the gate is shut all the same.
	FenceWriteAccess(ctx context.Context) error
	// ApplyResolutionStrategy does what the operator has chosen for a stale
	// leader (policy.strategy), after the fence and before the office is given
	// up. It is called again where it has failed. An error leaves the fence shut.
	ApplyResolutionStrategy(ctx context.Context) error
}

// Office is what a stale leader gives up: raft's leadership, and the role that
// its LiteFS has under it.
type Office interface {
	// StepDown returns when this node holds neither the key nor, where that
	// depends on it, the leadership. An error names what it holds still.
	StepDown(ctx context.Context) error
	// Follow returns when nothing here keeps LiteFS from following whoever
	// leads next; whether somebody does is not waited for.
	Follow(ctx context.Context) error
}

// HealthReporter says how a node is, and is told by whoever knows better.
type HealthReporter interface {
	// HealthStatus returns this node's health, its reason and its age.
	HealthStatus() HealthStatus
	// UpdateHealth has an operator or the application call this node unhealthy,
	// whatever its probes say, until the same call takes it back. It cannot make
	// an unhealthy node healthy.
	UpdateHealth(healthy bool, reason string)
}

// ErrSplitBrainDetected is wrapped by every error of a step taken against a
// stale leadership.
var ErrSplitBrainDetected = errors.New("split-brain detected")
