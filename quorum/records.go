package quorum

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// Kind is what a record in raft's log says.
type Kind string

const (
	KindNone      Kind = ""
	KindOpen      Kind = "open"      // from now on Node admits writes
	KindClose     Kind = "close"     // Node has drained and admits none
	KindHeld      Kind = "held"      // positions that a majority holds under the newest Open
	KindClusterID Kind = "clusterid" // LiteFS's cluster id, put by its primary
	KindAccept    Kind = "accept"    // an operator takes Node's data where the newest Open's is gone
	KindConfirmed Kind = "confirmed" // the cluster id is on that LiteFS's disk
	KindCopies    Kind = "copies"    // from now on nothing is acknowledged under the newest Open that these nodes do not have
)

// Record is one command in raft's log, as JSON. A record counts only if the
// log's term is the one it was made for: an Apply that raft carries into a
// later term must not open anything.
type Record struct {
	Kind      Kind             `json:"kind"`
	Term      uint64           `json:"term"`
	RaftID    string           `json:"raft_id,omitempty"` // Open, Close: who made it; Accept: whose data is taken
	Node      string           `json:"node,omitempty"`
	Hostname  string           `json:"hostname,omitempty"` // as LiteFS advertises it
	ID        string           `json:"id,omitempty"`       // Open: random; Close, Held, Accept: the Open's
	Lease     time.Duration    `json:"lease,omitempty"`
	Positions policy.Positions `json:"positions,omitempty"`
	ClusterID string           `json:"cluster_id,omitempty"`
	To        string           `json:"to,omitempty"`     // Close: raft ID of the node that has all that Node has, Positions
	Copies    []string         `json:"copies,omitempty"` // Copies: their raft IDs
}

func (r Record) encode() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("record %v does not encode: %v", r.Kind, err)) // plain data
	}
	return b
}

// state is what the records add up to. It is a value: snapshots copy it.
type state struct {
	// Newest is the newest Open or Close, which decides how long a leader waits.
	Newest Record `json:"newest"`
	// Open is the newest Open and Index its place in the log; Held are its
	// positions or newer ones. They decide who may become primary.
	Open   Record           `json:"open"`
	Index  uint64           `json:"index"`
	Accept Record           `json:"accept"` // the newest since Open
	Held   policy.Positions `json:"held"`
	// Used: Held was recorded since Open. An opener without data records it
	// before its gate opens (used).
	Used      bool   `json:"used"`
	ClusterID string `json:"cluster_id"`
	Confirmed bool   `json:"confirmed"`
	// Voters is the index of the newest committed raft configuration.
	Voters uint64 `json:"voters"`
	// Copied: nothing was acknowledged under Open that one of Copies, by raft ID,
	// did not have.
	Copied bool     `json:"copied"`
	Copies []string `json:"copies,omitempty"`
}

// creditable reports whether what the voters say of older leaders counts. The
// newest opener's lease and another leader's first majority share a voter only
// while the voters are the same; a change since may have removed it.
func (s state) creditable() bool { return s.Voters < s.Index }

func (s state) ref() policy.OpenRef { return policy.OpenRef{Index: s.Index, ID: s.Open.ID} }

func (s state) lineage() policy.Lineage {
	return policy.Lineage{
		Open: s.ref(), Held: s.Held, Opened: s.Open.Positions, Used: s.Used,
		Accepted: policy.Acceptance{Node: s.Accept.Node, ID: s.Accept.RaftID, Positions: s.Accept.Positions},
		Copied:   s.Copied, Copies: s.Copies, Opener: s.Open.RaftID,
	}
}

// apply returns the state after record r at index, written in term logTerm.
// A record that does not fit changes nothing and says why: every node must come
// to the same state, so nothing but the log may decide.
func (s state) apply(r Record, index, logTerm uint64) (state, error) {
	if r.Term != logTerm {
		return s, fmt.Errorf("%s record made in term %d, logged in term %d: ignored", r.Kind, r.Term, logTerm)
	}
	switch r.Kind {
	case KindOpen:
		s.Newest, s.Open, s.Index, s.Held, s.Accept, s.Used = r, r, index, r.Positions, Record{}, false
		// Nobody is in step with r who does not have what was acknowledged before it.
		s.Copied, s.Copies = false, nil
	case KindClose:
		if r.ID != s.Open.ID || r.RaftID != s.Open.RaftID {
			return s, fmt.Errorf("close of %s by %s: the newest open is %s by %s", r.ID, r.RaftID, s.Open.ID, s.Open.RaftID)
		}
		s.Newest = r
		if r.To != "" {
			// Nobody who lacks an acknowledged transaction may come next.
			s.Held = r.Positions
			s.Copied, s.Copies = false, nil // Held says it better
		}
	case KindHeld:
		if r.ID != s.Open.ID || s.Newest.Kind == KindClose {
			// One that was on its way while the role was handed on must not take
			// back what that Close holds.
			return s, fmt.Errorf("held positions of %s: the newest open is %s (%s)", r.ID, s.Open.ID, s.Newest.Kind)
		}
		s.Held, s.Used = r.Positions, true
	case KindCopies:
		if r.ID != s.Open.ID || s.Newest.Kind == KindClose {
			return s, fmt.Errorf("copies of %s: the newest open is %s (%s)", r.ID, s.Open.ID, s.Newest.Kind)
		}
		s.Copied, s.Copies = true, r.Copies
	case KindAccept:
		if r.ID != s.Open.ID {
			return s, fmt.Errorf("loss accepted on %q after open %q: the newest open is %q", r.Node, r.ID, s.Open.ID)
		}
		if r.Node == "" || nodeName(raft.ServerID(r.RaftID)) != r.Node {
			return s, fmt.Errorf("loss accepted on %q under raft ID %q", r.Node, r.RaftID)
		}
		s.Accept = r
	case KindClusterID:
		if s.Confirmed && s.ClusterID != r.ClusterID {
			return s, fmt.Errorf("cluster id is %s; %s is refused", s.ClusterID, r.ClusterID)
		}
		if s.ClusterID != r.ClusterID {
			s.ClusterID, s.Confirmed = r.ClusterID, false
		}
	case KindConfirmed:
		if r.ClusterID != s.ClusterID {
			return s, fmt.Errorf("confirmation of cluster id %s; it is %s", r.ClusterID, s.ClusterID)
		}
		s.Confirmed = true
	default:
		return s, fmt.Errorf("unknown record kind %q: written by a newer version?", r.Kind)
	}
	return s, nil
}
