package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/litefence/litefence/policy"
)

// LostDB is what one database had and has not any more.
type LostDB struct {
	Name string     `json:"name"`
	From string     `json:"from"` // node that had it
	Had  policy.Pos `json:"had"`
	Have policy.Pos `json:"have"` // of the primary that goes on; TXID 0 = it lacks the database
}

// Lost is one entry of `litefence lost`: transactions that were set aside, or
// are known to be lost. It is written once and never changed.
type Lost struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"` // known-lost, set-aside, rolled-back
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`    // that wrote this down
	Primary   string    `json:"primary"` // that goes on without them
	Open      uint64    `json:"open"`    // raft index of its Open
	Why       string    `json:"why"`
	Databases []LostDB  `json:"databases"`
	Path      string    `json:"path,omitempty"` // where the data lies, if it was set aside
}

const (
	kindKnownLost = "known-lost"
	kindSetAside  = "set-aside"
	// KindRolledBack: single transactions, as LTX files with a manifest in Path.
	KindRolledBack = "rolled-back"
)

// stamp gives the entry its time and, from that and an Open's random id, its ID.
func (e *Lost) stamp(open string) {
	e.Time = time.Now().UTC()
	e.ID = e.Time.Format("20060102T150405.000Z") + "-" + open[:min(8, len(open))]
}

const lostDir = "lost" // under quorum.data-dir

// SaveLost writes an entry under dataDir and returns when it is on disk.
func SaveLost(dataDir string, e Lost) error {
	dir := filepath.Join(dataDir, lostDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, e.ID+".json")
	if err := writeSync(path+".tmp", append(b, '\n')); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(dataDir))
}

// ListLost returns the entries under dataDir, oldest first. It needs no running
// daemon. A damaged entry is an error that names it, beside the others.
func ListLost(dataDir string) (all []Lost, err error) {
	files, err := os.ReadDir(filepath.Join(dataDir, lostDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range files { // sorted by name, which begins with the time
		if !strings.HasSuffix(f.Name(), ".json") {
			continue // a write that a crash cut short
		}
		path := filepath.Join(dataDir, lostDir, f.Name())
		var e Lost
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		all = append(all, e)
	}
	return all, errors.Join(errs...)
}

// noteLost says, in the log and durably, which transactions are known to have
// been there and are not in what this new primary begins with: LiteFS
// replicates after the commit. Failing to write it down holds nothing up.
func (n *Node) noteLost(was state, open Record, index uint64) {
	n.mu.Lock()
	reports := n.lastReports
	n.mu.Unlock()
	others := map[string]policy.Positions{}
	for _, r := range reports {
		if r.HasLiteFS && r.Node != n.cfg.Name && r.Node != was.Open.Node && r.InStep(was.lineage()) {
			others[r.Node] = r.Positions
		}
	}
	lost := lostOf(open.Positions, n.newestKnown(was, reports), was.Open.Node, others)
	if len(lost) == 0 {
		return
	}
	e := Lost{
		Kind: kindKnownLost,
		Node: n.cfg.Name, Primary: n.cfg.Name, Open: index, Databases: lost,
		Why: "known of the last primary or of a node in step, and not on the new primary: LiteFS replicates after the commit",
	}
	e.stamp(open.ID)
	if was.Accept.Node == n.cfg.Name {
		e.Why = "an operator accepted their loss (accept-loss)"
	}
	n.log.Warn("transactions are missing on the new primary and lost; see `litefence lost`", "id", e.ID, "databases", lost)
	if err := SaveLost(n.cfg.DataDir, e); err != nil {
		n.log.Error("lost transactions not written down", "err", err)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
