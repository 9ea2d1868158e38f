package policy

import (
	"slices"
	"sort"
)

// OpenRef names one Open record: its index in raft's log and the random id it
// carries, so that an index of another cluster's log is never taken for it.
type OpenRef struct {
	Index uint64
	ID    string
}

// IsZero reports whether no Open is named.
func (r OpenRef) IsZero() bool { return r.Index == 0 }

// Lineage is what raft's log says about the newest primary.
type Lineage struct {
	Open OpenRef // newest Open; zero = there never was a primary
	// Held is the Open's positions, or the newest ones that a majority is
	// known to hold since. An old copy of the data must not pass for current.
	Held Positions
	// Opened is the Open's positions as committed with it.
	Opened Positions
	// Used says that a gate may have opened under Open. Until then nothing can
	// have been written under it.
	Used bool
	// Known, where the operator requires it, is the newest positions that
	// anybody heard of under this Open. Nobody who lacks one of them may become
	// primary.
	Known Positions
	// Accepted is the node whose data the operator takes instead of the last
	// primary's.
	Accepted Acceptance
	// Copies, where Copied is set, are by identity the nodes that have every
	// transaction that was acknowledged under Open. Opener has them too.
	Copied bool
	Copies []string
	Opener string
}

// Has reports whether the node with this identity is known to have every
// transaction that was acknowledged under l.Open, as far as anybody saw to that
// (Copied).
func (l Lineage) Has(id string) bool {
	return !l.Copied || id == l.Opener || slices.Contains(l.Copies, id)
}

// Acceptance is an operator's word, given after this Open: if nobody in step
// can become primary, Node may, with the data that it had then.
type Acceptance struct {
	Node string // "" = none was given
	// ID is the node's identity: one that was wiped and came back under the same
	// name has another.
	ID        string
	Positions Positions
}

// Covers reports whether r is the very data that was accepted.
func (a Acceptance) Covers(r Report) bool {
	return a.Node != "" && r.Node == a.Node && r.ID == a.ID && r.HasLiteFS && r.Positions.Equal(a.Positions)
}

// Report is what one voter says of its LiteFS, read after its stream had ended.
type Report struct {
	Node      string
	ID        string // the node's identity, lost with its voting state
	HasLiteFS bool   // false for a witness
	Eligible  bool   // candidate, not fenced by hand, not skipped
	Positions Positions
	Marker    OpenRef // Open that this node's data is marked as following
	Cold      bool    // this process has not been primary, nor followed one, yet
	// Known is the newest positions of the last primary that this node heard of
	// under the Open KnownOf.
	Known   Positions
	KnownOf OpenRef
	Health  Health
}

// InStep reports whether r's data is on the lineage of the newest Open.
func (r Report) InStep(l Lineage) bool {
	if l.Open.IsZero() || r.Marker == l.Open {
		return true
	}
	if l.Copied {
		// Held may lack what was acknowledged. Those who have it are marked, unless
		// their data is gone and what they stand at now is a part of it.
		return false
	}
	if l.Used && r.Positions.Sum() == 0 {
		// No data equals no data: after an Open of an empty primary, whatever it
		// has written since, a wiped node would pass for one that is in step.
		return false
	}
	return r.Positions.Equal(l.Held) || r.Positions.Equal(l.Opened)
}

// Qualifies reports whether r's node may become primary: eligible, in step
// with the newest Open, not behind what a majority is known to hold, and one of
// those that have what was acknowledged, where that is known.
func (r Report) Qualifies(l Lineage) bool {
	return r.HasLiteFS && r.Eligible && r.Current(l) && l.Has(r.ID) && !r.Positions.Behind(l.Known)
}

// Current reports whether r's data is what a new primary needs: in step, and
// not behind what a majority is known to hold.
func (r Report) Current(l Lineage) bool {
	return r.InStep(l) && !r.Positions.Behind(l.Held)
}

// ElectionResult is who shall become primary.
type ElectionResult struct {
	Winner   string    // "" = nobody may
	Conflict string    // database whose contents exclude each other; nobody may
	Between  [2]string // the nodes that have them
	Missing  bool      // no Open yet and not every voter has reported
	Unsynced bool      // somebody in step is there, but lacks what is known of the last primary
	Uncopied bool      // somebody in step is there, but may lack what was acknowledged (Lineage.Copies)
	Accepted bool      // Winner is not in step: the operator has accepted the loss
}

// Elect chooses the next primary from the reports that self could gather.
// voters counts the voters that have a LiteFS. The most transactions win; among
// equals the healthiest, then self, which saves a transfer, then the first by
// name. Health does not come before transactions: an unhealthy primary hands
// over once a healthy node has them all, and a lost one never comes back.
//
// Positions of nodes that are not in step are ignored: their transactions are
// those the majority never saw. A node whose data the operator has accepted
// comes after everybody in step, unless those exclude each other.
func Elect(self string, voters int, l Lineage, reports []Report) ElectionResult {
	res := electInStep(self, voters, l, reports)
	if res.Winner != "" {
		return res
	}
	for _, r := range reports {
		if r.Eligible && l.Accepted.Covers(r) {
			return ElectionResult{Winner: r.Node, Accepted: true}
		}
	}
	return res
}

func electInStep(self string, voters int, l Lineage, reports []Report) (res ElectionResult) {
	if l.Open.IsZero() && withLiteFS(reports) < voters {
		return ElectionResult{Missing: true}
	}
	var instep []Report
	for _, r := range reports {
		if r.HasLiteFS && r.InStep(l) {
			instep = append(instep, r)
		}
	}
	sort.Slice(instep, func(i, j int) bool { return better(self, instep[i], instep[j]) })
	for i, a := range instep {
		for _, b := range instep[i+1:] {
			if db := excludes(a, b, l); db != "" {
				return ElectionResult{Conflict: db, Between: [2]string{min(a.Node, b.Node), max(a.Node, b.Node)}}
			}
		}
	}
	for _, r := range instep {
		if r.Qualifies(l) {
			return ElectionResult{Winner: r.Node}
		}
		res.Unsynced = res.Unsynced || r.Eligible && r.Current(l) && l.Has(r.ID)
		res.Uncopied = res.Uncopied || r.Eligible && r.Current(l) && !l.Has(r.ID)
	}
	return res
}

// excludes names a database of which a and b cannot both be right. With no Open
// nothing says that they were ever one cluster's: then each being ahead of the
// other somewhere is enough. Under an Open both are the opener's, some frames
// short.
func excludes(a, b Report, l Lineage) string {
	if db := a.Positions.Conflicts(b.Positions); db != "" || !l.Open.IsZero() {
		return db
	}
	if b.Positions.Behind(a.Positions) {
		return a.Positions.behindIn(b.Positions)
	}
	return ""
}

func better(self string, a, b Report) bool {
	if x, y := a.Positions.Sum(), b.Positions.Sum(); x != y {
		return x > y
	}
	if x, y := a.Health.rank(), b.Health.rank(); x != y {
		return x < y
	}
	if a.Node == self || b.Node == self {
		return a.Node == self
	}
	return a.Node < b.Node
}

func withLiteFS(reports []Report) (n int) {
	for _, r := range reports {
		if r.HasLiteFS {
			n++
		}
	}
	return n
}

// AllCold reports that nobody who reported has seen a primary since it started,
// and that the opener of the newest Open is not among them: a cluster that
// comes back from a power loss in some order. Its opener is worth a short wait,
// for nobody else may have its last transactions.
func AllCold(opener string, reports []Report) bool {
	for _, r := range reports {
		if r.Node == opener || r.HasLiteFS && !r.Cold {
			return false
		}
	}
	return opener != ""
}

// MajorityHolds returns, for every database of own, the newest position that
// at least k of the nodes hold (own included). others must be marked as
// following own; the caller checks that the result lies in own's history.
func MajorityHolds(own Positions, others []Positions, k int) Positions {
	held := Positions{}
	for db, pos := range own {
		at := []Pos{pos}
		for _, o := range others {
			if o[db].TXID > pos.TXID {
				at = append(at, pos) // read a moment after own
			} else {
				at = append(at, o[db])
			}
		}
		sort.Slice(at, func(i, j int) bool { return at[i].TXID > at[j].TXID })
		if len(at) >= k && at[k-1].TXID != 0 {
			held[db] = at[k-1]
		}
	}
	return held
}
