// Package policy decides, and does nothing else: an observation goes in, a
// verdict comes out. It has no clock, no goroutine and no I/O, so that a rule
// can be read, proved and replayed. It owns the words that the rest of the
// program speaks (observation, verdict, position, the ports of the split-brain
// analysis) and imports nothing of the project.
package policy

import "time"

// Role is what the local LiteFS is, as far as the lease endpoint knows. The
// endpoint knows first: the role is RolePrimary from before it answers
// acquire=true, because LiteFS may act on that answer at once.
type Role int

const (
	RoleUnknown Role = iota
	RolePrimary
	RoleReplica
)

func (r Role) String() string {
	switch r {
	case RolePrimary:
		return "primary"
	case RoleReplica:
		return "replica"
	}
	return "unknown"
}

// Reason says in one word why writes are refused; it is a metric label and
// part of every log line of a transition. ReasonNone means they pass.
type Reason string

const (
	ReasonNone        Reason = ""
	ReasonStarting    Reason = "starting"     // nothing is known yet
	ReasonManual      Reason = "manual"       // `litefence fence`
	ReasonCommand     Reason = "command"      // .primary was moved to .primary.blocked
	ReasonStale       Reason = "stale-leader" // elected and not quorum
	ReasonNoLeader    Reason = "no-leader"    // no leader is known
	ReasonReplica     Reason = "replica"      // another node is leader
	ReasonNoRole      Reason = "no-role"      // leader, but LiteFS is not primary yet
	ReasonNotOpen     Reason = "not-open"     // LiteFS is primary, the Open is not committed yet
	ReasonIneligible  Reason = "out-of-step"  // leader, but not in step with the newest primary
	ReasonConflict    Reason = "conflict"     // positions exclude each other: for the operator
	ReasonFailed      Reason = "failed"       // a step against its last split brain has failed
	ReasonHandoff     Reason = "handoff"      // the role is being handed to another node
	ReasonShutdown    Reason = "shutdown"     // the daemon is stopping
	ReasonLeaving     Reason = "leaving"      // the node is to be removed from the cluster
	ReasonWitness     Reason = "witness"      // a voter without LiteFS and mount: there is nothing to write to
	ReasonLowerAbsent Reason = "lower-absent" // LiteFS does not answer
	ReasonUnhealthy   Reason = "unhealthy"    // a primary that gives way to a healthy node
)

// Observation is all that a decision rests on, taken at one instant.
type Observation struct {
	Node       string // this node's name
	Started    bool   // false until this node has heard of any term
	RaftLeader bool   // this node is raft's leader in Term
	Leader     string // name of the leader this node follows or is; "" = unknown
	Term       uint64
	Role       Role // of the local LiteFS
	LeaseValid bool // a majority vouches for this node, by the clock
	Opened     bool // the Open record of this very grant is committed
	Ineligible bool // leader, but not in step with the newest Open
	Conflict   bool // nodes in step disagree at the same TXID
	// ConflictHeard: the leader that this node follows has found a Conflict.
	ConflictHeard bool
	Failed        bool // a step of the last resolution has failed and was not made good
	ManualFence   bool
	BlockedFile   bool // fenced by way of .primary.blocked
	Stopping      bool
	// Arriving: LiteFS has become primary by a lease of its own, and leadership
	// is on its way here.
	Arriving bool
	Handoff  bool // the gate is shut for a planned change of the primary
	Witness  bool // a voter without a LiteFS
}

// HasQuorum reports whether the lease is valid.
func (o Observation) HasQuorum() bool { return o.LeaseValid }

// Elected reports whether this node holds an office: it is raft's leader, or
// its LiteFS claims to be primary. A node that raft has demoted while its
// LiteFS clings to the role is elected too.
func (o Observation) Elected() bool { return o.RaftLeader || o.Role == RolePrimary }

// DetectStaleLeadership reports elected and not quorum. Before anything is
// known a node is fenced but not stale: it pages nobody.
func (o Observation) DetectStaleLeadership() bool {
	return o.Started && o.Elected() && !o.HasQuorum() && !o.Arriving && !o.Witness
}

// CanCommitWrites reports elected and quorum, the analysis's question. Whether
// this node's gate is open is the stricter Verdict.Admit.
func (o Observation) CanCommitWrites() bool { return o.Elected() && o.HasQuorum() && !o.Witness }

// Verdict is what follows from an observation.
type Verdict struct {
	Admit  bool   // the gate may be open
	Reason Reason // why it is not
	Stale  bool   // split brain, seen from the node that must give way
	Quorum bool
}

// Decide gives the verdict on o. Writes pass in exactly one case; whatever is
// unknown refuses them.
func Decide(o Observation) Verdict {
	v := Verdict{Stale: o.DetectStaleLeadership(), Quorum: o.HasQuorum()}
	switch {
	case o.Stopping:
		v.Reason = ReasonShutdown
	case o.Witness:
		v.Reason = ReasonWitness
	case o.ManualFence:
		v.Reason = ReasonManual
	case o.BlockedFile:
		v.Reason = ReasonCommand
	case !o.Started:
		v.Reason = ReasonStarting
	case v.Stale:
		v.Reason = ReasonStale
	case o.Failed:
		v.Reason = ReasonFailed
	case !o.RaftLeader && o.Leader == "":
		v.Reason = ReasonNoLeader
	case !o.RaftLeader && o.Leader == o.Node:
		v.Reason = ReasonNoRole // just elected
	case !o.RaftLeader:
		v.Reason = ReasonReplica
	case o.Handoff:
		v.Reason = ReasonHandoff
	case o.Conflict:
		v.Reason = ReasonConflict
	case o.Role == RolePrimary && o.Opened:
		v.Admit = true
	case o.Role == RolePrimary:
		v.Reason = ReasonNotOpen
	case o.Ineligible:
		v.Reason = ReasonIneligible
	default:
		v.Reason = ReasonNoRole
	}
	return v
}

// FenceState is what the fenced mount shows of a verdict, in .primary and
// .primary.blocked.
type FenceState struct {
	Fenced  bool
	Reason  Reason
	Since   time.Time // of the last change of Fenced or Reason, wall clock
	Term    uint64
	Node    string // this node's name
	Primary string // hostname of the elected primary; "" = none known
}
