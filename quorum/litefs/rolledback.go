package litefs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/litefence/litefence/policy"
)

// Transactions that a deposed primary has and the majority never saw are
// replaced by LiteFS when it connects to the next one (store.go,
// processLTXStreamFrame: a snapshot comes, and every older file goes). Before
// that their LTX files get a second name here. No byte is copied where that can
// be avoided, and LiteFS never writes into a file that bears its name already.

// heldDir has what may have to be kept, from the split brain on: LiteFS's
// retention goes by age and asks nobody (db.go, EnforceRetention).
const heldDir = "held"

const keptManifest = "manifest.json"

// Kept is the manifest of transactions that were set aside. Applied in their
// order to a copy of the database as it stood at From, its files lead to To.
type Kept struct {
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`
	Primary   string    `json:"primary"` // that went on without them
	Open      uint64    `json:"open"`
	Databases []KeptDB  `json:"databases"`
}

// KeptDB is what was set aside of one database.
type KeptDB struct {
	Name     string     `json:"name"`
	From     policy.Pos `json:"from"`     // the last position that the primary had too; TXID 0 = unknown
	To       policy.Pos `json:"to"`       // where this node stood
	Complete bool       `json:"complete"` // the files lead from From to To without a gap
	Files    []KeptFile `json:"files"`
}

// KeptFile is one LTX file.
type KeptFile struct {
	Name string    `json:"name"`
	Min  string    `json:"min_txid"` // 16 hex digits, as LiteFS writes them
	Max  string    `json:"max_txid"`
	Time time.Time `json:"time"` // of the transaction
	Size int64     `json:"size"` // bytes
}

// link is one LTX file of a chain, newest first.
type link struct {
	ltxFile
	path string
}

// chain goes back from where db stands, file by file, as far as each file's
// beginning is the end of the one before. For its own files LiteFS's directory
// comes first; what retention took from there may be held.
func chain(dataDir, db string) iter.Seq[link] {
	return func(yield func(link) bool) {
		if !isName(db) {
			return
		}
		own := filepath.Join(dataDir, "dbs", db, "ltx")
		files, newest, err := readLTXDir(own)
		if err != nil {
			return
		}
		held := filepath.Join(AsidePath(dataDir, heldDir), db)
		more, _, _ := readLTXDir(held)
		var joint policy.Pos
		for txid := newest; txid != 0; txid = joint.TXID {
			path := filepath.Join(own, files[txid])
			if files[txid] == "" {
				if path = filepath.Join(held, more[txid]); more[txid] == "" {
					return
				}
			}
			f, err := readLTX(path)
			if err != nil || joint.TXID != 0 && f.post != joint || !yield(link{f, path}) {
				return
			}
			joint = f.pre()
		}
	}
}

// Joints returns up to n positions at which db stood here, the newest first and
// without the first skip.
func Joints(dataDir, db string, skip, n int) (all []policy.Pos) {
	last := policy.Pos{}
	for l := range chain(dataDir, db) {
		if skip > 0 {
			skip--
		} else {
			all = append(all, l.post)
		}
		if len(all) == n {
			return all
		}
		last = l.pre()
	}
	if last.TXID != 0 && skip == 0 {
		all = append(all, last)
	}
	return all
}

// NewestOf returns which of the positions of db lies in this LiteFS's history,
// as InHistory has it; the newest of several, the zero Pos for none.
func NewestOf(dataDir, db string, of []policy.Pos) policy.Pos {
	wanted := map[policy.Pos]bool{}
	for _, pos := range of {
		wanted[pos] = pos.TXID != 0
	}
	for l := range chain(dataDir, db) {
		if wanted[l.post] {
			return l.post
		}
		if pre := l.pre(); wanted[pre] {
			return pre
		}
	}
	return policy.Pos{}
}

// HoldAbove keeps LiteFS's retention from what leads beyond above, until
// ReleaseHeld.
func HoldAbove(dataDir string, above policy.Positions) error {
	dbs, err := os.ReadDir(filepath.Join(dataDir, "dbs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, db := range dbs {
		_, err := linkAbove(dataDir, db.Name(), above[db.Name()].TXID, AsidePath(dataDir, heldDir))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ReleaseHeld ends HoldAbove.
func ReleaseHeld(dataDir string) error { return os.RemoveAll(AsidePath(dataDir, heldDir)) }

// Keep sets aside the LTX files that lead each database of k from its From to
// its To, and returns where they lie. All is on disk when it returns.
func Keep(dataDir string, k Kept) (path string, err error) {
	path = AsidePath(dataDir, k.ID)
	for i := range k.Databases {
		db := &k.Databases[i]
		links, err := linkAbove(dataDir, db.Name, db.From.TXID, path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", db.Name, err)
		}
		if err := db.describe(links); err != nil {
			return "", err
		}
	}
	b, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", err
	}
	if err := writeSynced(filepath.Join(path, keptManifest), append(b, '\n')); err != nil {
		return "", err
	}
	return path, errors.Join(syncDir(path), syncDir(filepath.Dir(path)), syncDir(dataDir))
}

// describe takes links, newest first, into the manifest.
func (db *KeptDB) describe(links []link) error {
	if len(links) > 0 {
		db.Complete = links[0].post == db.To && db.From.TXID != 0 && links[len(links)-1].pre() == db.From
	}
	for _, l := range slices.Backward(links) {
		fi, err := os.Stat(l.path)
		if err != nil {
			return err
		}
		db.Files = append(db.Files, KeptFile{
			Name: filepath.Base(l.path), Min: fmt.Sprintf("%016x", l.min), Max: fmt.Sprintf("%016x", l.max),
			Time: time.UnixMilli(l.timestamp).UTC(), Size: fi.Size(),
		})
	}
	return nil
}

// ReadKept reads the manifest at path, which Keep returned.
func ReadKept(path string) (k Kept, err error) {
	b, err := os.ReadFile(filepath.Join(path, keptManifest))
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	return k, err
}

// linkAbove gives every file of db's chain that leads beyond txid a name under
// to as well, and returns them with it.
func linkAbove(dataDir, db string, txid uint64, to string) (links []link, err error) {
	dir := filepath.Join(to, db)
	for l := range chain(dataDir, db) {
		if l.max <= txid {
			break
		}
		if len(links) == 0 {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return nil, err
			}
		}
		name := filepath.Join(dir, filepath.Base(l.path))
		if err := errors.Join(linkFile(l.path, name), syncFile(name)); err != nil {
			return nil, err
		}
		l.path = name
		links = append(links, l)
	}
	if len(links) == 0 {
		return nil, nil
	}
	return links, errors.Join(syncDir(dir), syncDir(to))
}

func syncFile(path string) error { return syncDir(path) } // the same call

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// linkFile copies only where a second name is impossible, as between two file
// systems.
func linkFile(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, fs.ErrExist) {
		if sameFile(from, to) {
			return nil
		}
		if err = os.Remove(to); err == nil { // of an earlier lineage
			err = os.Link(from, to)
		}
	}
	if err == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Sync(), dst.Close()); err != nil {
		return err
	}
	return os.Rename(to+".tmp", to)
}
