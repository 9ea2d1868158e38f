package litefs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// asideDir holds databases that were set aside. It lies in LiteFS's data
// directory, so that a database gets there by a rename; LiteFS looks at nothing
// there but its own names (store.go, Open).
const asideDir = "litefence-set-aside"

// The file that says what an Aside is about, by how far it has come.
const (
	asidePlan = "plan.json" // to be carried out, or finished after a crash
	asideDone = "done.json"
	asideVoid = "void.json" // given up; what has been moved stays where it is
)

// Aside is one setting aside: databases that leave dbs/ together.
type Aside struct {
	ID        string          `json:"id"`
	Databases []string        `json:"databases"`
	Note      json.RawMessage `json:"note"` // the caller's; it gets it back after a crash
}

// AsidePath is where the databases of the Aside of that id lie, each in a
// directory of its own as under dbs/.
func AsidePath(dataDir, id string) string { return filepath.Join(dataDir, asideDir, id) }

// SetAside moves the databases of a from dbs/ to AsidePath. LiteFS must be
// stopped: it has its databases in memory. The marker goes first, for what is
// left is not the data that it speaks of. record writes a down where people
// look for it; it is called, and has to return, before anything is moved, and
// again where a crash came between.
//
// Whatever step a crash follows, FinishAsides brings it to the same end, or
// nothing has happened.
func SetAside(dataDir string, a Aside, record func(Aside) error) error {
	return asider{dataDir: dataDir, record: record}.start(a)
}

// FinishAsides carries out what a crash has cut off, and returns it. LiteFS must
// be stopped. Where there is a marker again, LiteFS has followed a primary
// since, and what lies in dbs/ is not what was to be moved: such a plan is void.
func FinishAsides(dataDir string, record func(Aside) error) (done []Aside, err error) {
	return asider{dataDir: dataDir, record: record}.finish()
}

type asider struct {
	dataDir string
	record  func(Aside) error
	// after, where set, is told every step that is on disk; tests end it there.
	after func(step string) error
}

func (s asider) step(name string) error {
	if s.after == nil {
		return nil
	}
	return s.after(name)
}

func (s asider) start(a Aside) error {
	if err := s.check(a); err != nil {
		return err
	}
	if err := RemoveMarker(s.dataDir); err != nil {
		return err
	}
	if err := s.step("marker"); err != nil {
		return err
	}
	// What an earlier one left is decided anew, by a.
	old, err := s.plans()
	if err != nil {
		return err
	}
	for _, o := range old {
		if err := s.rename(o, asideVoid); err != nil {
			return err
		}
	}
	if err := s.plan(a); err != nil {
		return err
	}
	return s.carryOut(a)
}

// check refuses what is no name of a database here before anything is touched.
func (s asider) check(a Aside) error {
	if !isName(a.ID) || len(a.Databases) == 0 {
		return fmt.Errorf("set aside %q: no id, or no database", a.ID)
	}
	for _, db := range a.Databases {
		if !isName(db) {
			return fmt.Errorf("set aside: %q is no database's name", db)
		}
		if _, err := os.Stat(s.live(db)); err != nil {
			return fmt.Errorf("set aside: %w", err)
		}
	}
	if here, there := device(s.dataDir), device(s.live("")); here != there {
		return fmt.Errorf("set aside: %s is a mount of its own, from which nothing can be renamed to %s; move the databases by hand, with LiteFS stopped", s.live(""), s.dataDir)
	}
	if _, err := os.Lstat(AsidePath(s.dataDir, a.ID)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set aside: %s is there already (%v)", AsidePath(s.dataDir, a.ID), err)
	}
	return nil
}

// device is the file system that path is on; 0 = unknown.
func device(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Dev
}

func (s asider) live(db string) string { return filepath.Join(s.dataDir, "dbs", db) }

func (s asider) plan(a Aside) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	dir := AsidePath(s.dataDir, a.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := errors.Join(syncDir(s.dataDir), syncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	tmp := filepath.Join(dir, asidePlan+".tmp")
	if err := writeSynced(tmp, append(b, '\n')); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, asidePlan)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return s.step("plan")
}

func (s asider) carryOut(a Aside) error {
	if err := s.record(a); err != nil {
		return err
	}
	if err := s.step("record"); err != nil {
		return err
	}
	for _, db := range a.Databases {
		if err := s.move(a, db); err != nil {
			return err
		}
		if err := s.step("move " + db); err != nil {
			return err
		}
	}
	if err := s.rename(a, asideDone); err != nil {
		return err
	}
	return s.step("done")
}

// move does nothing where it was done before the crash.
func (s asider) move(a Aside, db string) error {
	to := filepath.Join(AsidePath(s.dataDir, a.ID), db)
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	if err := os.Rename(s.live(db), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Join(s.dataDir, "dbs")))
}

// rename says how far a has come.
func (s asider) rename(a Aside, to string) error {
	dir := AsidePath(s.dataDir, a.ID)
	if err := os.Rename(filepath.Join(dir, asidePlan), filepath.Join(dir, to)); err != nil {
		return err
	}
	return syncDir(dir)
}

func (s asider) finish() (done []Aside, err error) {
	plans, err := s.plans()
	if err != nil || len(plans) == 0 {
		return nil, err
	}
	m, err := ReadMarker(s.dataDir)
	if err != nil {
		return nil, err
	}
	for _, a := range plans {
		if m != (Marker{}) {
			err = s.rename(a, asideVoid)
		} else if err = s.carryOut(a); err == nil {
			done = append(done, a)
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// plans returns what is neither done nor void. A directory in which a crash
// came before the plan is taken away.
func (s asider) plans() (all []Aside, err error) {
	dirs, err := os.ReadDir(filepath.Join(s.dataDir, asideDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range dirs {
		dir := filepath.Join(s.dataDir, asideDir, d.Name())
		path := filepath.Join(dir, asidePlan)
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(path + ".tmp")
			_ = os.Remove(dir) // only where it is empty
			continue
		}
		if err != nil {
			return nil, err
		}
		var a Aside
		if err := json.Unmarshal(b, &a); err != nil || a.ID != d.Name() {
			return nil, fmt.Errorf("%s is damaged (%v): move it away; databases in %s are set aside, those in dbs/ are not", path, err, dir)
		}
		all = append(all, a)
	}
	return all, nil
}

// isName refuses what would lead out of a directory.
func isName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}
