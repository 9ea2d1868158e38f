package litefs

import (
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/litefence/litefence/policy"
)

// InHistory reports whether every database of pos once stood at that very
// (TXID, checksum) on the way to where it stands now in this LiteFS, as far as
// its retained LTX files tell (data.retention); if not, db is the first by name
// that did not. A database at TXID 0 counts as absent, and as ok.
//
// It goes back from the newest file link by link, and does not merely look for
// a file with that TXID: a LiteFS that was killed between taking a snapshot in
// and removing what the snapshot replaces (store.go, processLTXStreamFrame) has
// both, and the replaced is no history of what it has now.
func InHistory(dataDir string, pos policy.Positions) (ok bool, db string) {
	for _, name := range slices.Sorted(maps.Keys(pos)) {
		if pos[name].TXID != 0 && !dbInHistory(dataDir, name, pos[name]) {
			return false, name
		}
	}
	return true, ""
}

func dbInHistory(dataDir, name string, want policy.Pos) bool {
	if !isName(name) {
		return false // stated by another node: no path of its choosing
	}
	dir := filepath.Join(dataDir, "dbs", name, "ltx")
	files, newest, err := readLTXDir(dir)
	if err != nil {
		return false
	}
	var joint policy.Pos // where the file before must end, as the one after it says
	for txid := newest; ; txid = joint.TXID {
		file, ok := files[txid]
		if !ok {
			return false // none at all, or retention has removed it
		}
		f, err := readLTX(filepath.Join(dir, file))
		if err != nil || joint.TXID != 0 && f.post != joint {
			return false
		}
		if joint = f.pre(); f.post == want || joint == want {
			return true
		}
		if f.min <= want.TXID || f.min == 1 {
			return false // inside a snapshot, or past the place where it would be
		}
	}
}

// readLTXDir returns the files by the TXID they lead to, and the highest. Of
// two with the same one the first by name counts, as for LiteFS itself when it
// starts (db.go, maxLTXFile).
func readLTXDir(dir string) (files map[uint64]string, newest uint64, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, 0, err
	}
	files = make(map[uint64]string, len(names))
	for _, name := range names {
		_, txid, err := parseLTXName(name)
		if err != nil {
			continue // LiteFS's temporary files
		}
		if old, ok := files[txid]; !ok || name < old {
			files[txid] = name
		}
		newest = max(newest, txid)
	}
	return files, newest, nil
}
