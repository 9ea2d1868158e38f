package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
	"github.com/litefence/litefence/quorum/litefs"
)

// keeper is policy.strategy: rollback-to-checkpoint on LiteFS's files.
type keeper struct{ dataDir string }

var _ quorum.Keeper = keeper{}

// rollback lets the node set transactions aside, where that is the strategy.
func (d *daemon) rollback(q quorum.Config) quorum.Config {
	if d.cfg.Policy.Strategy == strategyRollback && d.cfg.Fence.Enforce && !d.witness {
		q.Rollback = keeper{d.cfg.LiteFS.DataDir}
	}
	return q
}

func (k keeper) Joints(db string, skip, n int) []policy.Pos {
	return litefs.Joints(k.dataDir, db, skip, n)
}

func (k keeper) Hold(above policy.Positions) error { return litefs.HoldAbove(k.dataDir, above) }
func (k keeper) Release() error                    { return litefs.ReleaseHeld(k.dataDir) }

func (k keeper) Keep(e quorum.Lost) (string, error) {
	kept := litefs.Kept{ID: e.ID, Time: e.Time, Node: e.Node, Primary: e.Primary, Open: e.Open}
	for _, db := range e.Databases {
		kept.Databases = append(kept.Databases, litefs.KeptDB{Name: db.Name, From: db.Have, To: db.Had})
	}
	return litefs.Keep(k.dataDir, kept)
}

// showKept lists the files of a rolled-back entry.
func showKept(w io.Writer, path string) error {
	k, err := litefs.ReadKept(path)
	if err != nil {
		return fmt.Errorf("lost: the manifest is not there any more: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, db := range k.Databases {
		if !db.Complete {
			fmt.Fprintf(t, "  %s: not all of them: LiteFS had discarded the others before (data.retention), or had none to begin with\n", db.Name)
		}
		for _, f := range db.Files {
			fmt.Fprintf(t, "  %s/%s\t%d bytes\t%s\n", db.Name, f.Name, f.Size, f.Time.Format(time.RFC3339))
		}
	}
	return t.Flush()
}
