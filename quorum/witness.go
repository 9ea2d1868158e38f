package quorum

import (
	"slices"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// A witness is a voter without a LiteFS. It answers and votes as any other. Where
// raft elects it, it hands leadership on to the node that shall be primary
// (govern, handOn); it never offers a key, so it never has an Open, and its lease
// opens nothing.
//
// It has the same timeouts as all others. A longer one would make it win less
// often, but raft's PreVote has it refuse every candidate until it has itself
// missed the leader: a data node that needs its vote would wait for it.

// noGate is the gate of a witness.
type noGate struct{}

func (noGate) Open(uint64, int64) error { return errNoPrimary }
func (noGate) Extend(uint64, int64)     {}
func (noGate) Revoke()                  {}

// dataVoters counts the voters that have a LiteFS. A witness is known by its
// report or, where it is silent, by what it last said under the same raft ID.
func (n *Node) dataVoters(reports []policy.Report) int {
	ids, self := n.voters()
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(slices.DeleteFunc(ids, func(id raft.ServerID) bool {
		if self && id == n.raftID() {
			return n.cfg.LiteFS == nil
		}
		name := nodeName(id)
		for _, r := range reports {
			if r.Node == name {
				return !r.HasLiteFS
			}
		}
		s := n.peerStates[name].state
		return s.Witness && s.RaftID == string(id)
	}))
}
