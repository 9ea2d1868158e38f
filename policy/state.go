package policy

// State is the split-brain analysis's state of a node.
type State string

const (
	StateHealthy    State = "healthy"
	StateSplitBrain State = "split_brain_detected" // elected and not quorum, until the node has given way
	StateResolved   State = "resolved"             // it has given way, and nobody leads yet
	StateFailed     State = "failed"               // a step failed, or positions exclude each other
)

// next moves the state on an observation. resolving says that steps are being
// taken, which hold the state until they have ended; failed that one of them
// has failed and has not been made good.
//
// A split brain that ends before any step was taken, because the majority
// answers again, leaves nothing to resolve.
func (s State) next(o Observation, resolving, failed bool) State {
	switch {
	case failed || o.Conflict:
		return StateFailed
	case resolving || o.DetectStaleLeadership():
		return StateSplitBrain
	case o.ConflictHeard:
		return StateFailed // it is the whole cluster's
	case s == StateSplitBrain && !o.Elected():
		return StateResolved
	case s == StateResolved && o.Leader == "":
		return StateResolved
	}
	return StateHealthy
}
