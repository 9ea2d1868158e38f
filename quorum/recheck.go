package quorum

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/litefence/litefence/policy"
)

// recheck compares what this node's LiteFS holds as primary with the report for
// which the node was chosen. In between LiteFS may have been wiped or restored;
// an Open on that data would make it the lineage, and take the acknowledged rows
// of all others along. The next choice is made from fresh reports.
func (n *Node) recheck(now policy.Positions) error {
	if n.follows() {
		return nil // chosen by its claim, whatever it holds
	}
	n.mu.Lock()
	reports := n.lastReports
	n.mu.Unlock()
	i := slices.IndexFunc(reports, func(r policy.Report) bool { return r.ID == string(n.raftID()) })
	if i < 0 {
		return errors.New("this node was chosen without a report of its own")
	}
	marker, err := n.cfg.LiteFS.Marker()
	if err != nil {
		return fmt.Errorf("in-step marker: %w", err)
	}
	return sameData(reports[i], marker, now)
}

// sameData wants the very data of the report, in every database. Nothing moves
// LiteFS on in between: no stream feeds it (the report waits for that), the gate
// is shut, and what LiteFS recovers when it leaves a role, before it asks for the
// key again, is no transaction (db.go, Recover). A later one may be of another
// lineage (a copy put in place, an import), or of a writer that goes round the
// gate; it was not among the reports when they were searched for conflicts, nor
// in what an operator has accepted. Should it be the last opener's own after all,
// as where LiteFS is started again over a frame that it had on disk and had not
// applied (db.go, Open), the next choice takes it into account.
func sameData(then policy.Report, marker policy.OpenRef, now policy.Positions) error {
	if marker != then.Marker {
		return fmt.Errorf("LiteFS's data is not what this node was chosen for: marked with Open %d then and %d now; was it wiped or restored?", then.Marker.Index, marker.Index)
	}
	for _, db := range slices.Sorted(maps.Keys(then.Positions.Newest(now))) {
		was, is := then.Positions[db], now[db]
		if is != was && max(was.TXID, is.TXID) != 0 {
			return fmt.Errorf("LiteFS's data is not what this node was chosen for: %s stood at %s then and stands at %s now; was it wiped or restored, or written round the fence?", db, was, is)
		}
	}
	return nil
}
