package policy

// Text says in words, for a person, why writes are refused; "" for ReasonNone.
func (r Reason) Text() string {
	switch r {
	case ReasonNone:
		return ""
	case ReasonStarting:
		return "this node has just started and knows nothing yet"
	case ReasonManual:
		return "fenced by hand, until unfence"
	case ReasonCommand:
		return ".primary was moved to .primary.blocked"
	case ReasonStale:
		return "this node is a stale leader: no majority vouches for it"
	case ReasonNoLeader:
		return "no leader is known"
	case ReasonReplica:
		return "another node is leader"
	case ReasonNoRole:
		return "this node leads, but its LiteFS is not primary yet"
	case ReasonNotOpen:
		return "LiteFS is primary, but the quorum has not recorded it yet"
	case ReasonIneligible:
		return "this node leads, but its data is not in step with the newest primary"
	case ReasonConflict:
		return "nodes hold contents that exclude each other"
	case ReasonFailed:
		return "a step against this node's last split brain has failed; it is tried again"
	case ReasonHandoff:
		return "the role is being handed to another node"
	case ReasonShutdown:
		return "litefence is stopping"
	case ReasonLeaving:
		return "this node is to be removed from the cluster"
	case ReasonWitness:
		return "a witness has nothing to write to"
	case ReasonLowerAbsent:
		return "LiteFS does not answer"
	case ReasonUnhealthy:
		return "an unhealthy primary gives way to a healthy node"
	}
	return string(r)
}
