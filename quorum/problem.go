package quorum

import (
	"fmt"
	"time"

	"github.com/litefence/litefence/policy"
)

// problemOf says why a choice of a primary came to nobody, and the mend; "" for
// a choice that did, and for one that only waits for reports.
func problemOf(res policy.ElectionResult) string {
	switch {
	case res.Conflict != "" && res.Between[0] != "":
		return fmt.Sprintf("no primary: %s has contents on %s and %s that exclude each other; run `litefence accept-loss` on the node whose data shall win", res.Conflict, res.Between[0], res.Between[1])
	case res.Conflict != "":
		return "no writes: " + res.Conflict + "; stop the wrong one"
	case res.Missing || res.Winner != "":
		return ""
	case res.Uncopied:
		return "no primary: quorum.confirm is replicated, and none of the nodes that have every acknowledged transaction answers (`litefence status` names them under copies); start one of them, or run `litefence accept-loss` on the node that shall go on without it"
	case res.Unsynced:
		return "no primary: policy.require-synced, and transactions known of the last primary are missing on all that answer; start the last primary, or run `litefence accept-loss` on the node that shall go on without them"
	}
	return "no primary: nobody that answers is in step with the last one; start a node that is, or run `litefence accept-loss` on the node that shall go on without it"
}

// problemLocked is what stands between this cluster and a primary, as its leader
// sees it.
func (n *Node) problemLocked() string {
	switch {
	case n.reigning != 0 && n.conflict != "" && n.conflict != n.lastResult.Conflict:
		return "no writes: " + n.conflict + " is not that of the peers; make them equal on all nodes"
	case n.reigning != 0 && (n.ineligible || n.conflict != ""):
		return problemOf(n.lastResult)
	case n.reigning != 0:
		return ""
	}
	return n.leaderSaysLocked().Problem
}

// leaderSaysLocked is what this node's leader last said of itself; nothing where
// this node leads, and where it is too long ago or of another term.
func (n *Node) leaderSaysLocked() PeerState {
	if n.reigning != 0 || n.followed.id == "" {
		return PeerState{}
	}
	rec := n.peerStates[nodeName(n.followed.id)]
	if rec.err != nil || rec.state.Term != n.followed.term || time.Since(rec.at) > 2*peerTimeout {
		return PeerState{}
	}
	return rec.state
}
