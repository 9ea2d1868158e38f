package quorum

import "github.com/litefence/litefence/policy"

// knownOf returns the newest positions of the opener that this node heard of
// under the Open st has. It is as fresh as the last answer of the opener to a
// question that is asked every peersEvery, and lives in memory alone: after a
// restart of every voter only the Held record is left.
func (n *Node) knownOf(st state) policy.Positions {
	n.mu.Lock()
	rec := n.peerStates[st.Open.Node].state
	n.mu.Unlock()
	if st.ref().IsZero() || rec.Marker != st.ref() || rec.RaftID != st.Open.RaftID {
		return nil
	}
	return rec.Positions
}

// newestKnown is the newest that anybody who reported knows of the last
// primary.
func (n *Node) newestKnown(st state, reports []policy.Report) policy.Positions {
	known := st.Held.Newest(n.knownOf(st))
	for _, r := range reports {
		if r.KnownOf == st.ref() {
			known = known.Newest(r.Known)
		}
		if r.Node == st.Open.Node && r.Marker == st.ref() {
			known = known.Newest(r.Positions)
		}
	}
	return known
}

// lineage is what the choice of a primary rests on, with what the operator
// requires.
func (n *Node) lineage(st state, reports []policy.Report) policy.Lineage {
	l := st.lineage()
	if n.cfg.RequireSynced && !l.Open.IsZero() {
		l.Known = n.newestKnown(st, reports)
	}
	return l
}
