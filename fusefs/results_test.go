package fusefs

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

var updateResults = flag.Bool("update", false, "write docs/sqlite-results.md instead of comparing with it")

const resultsFile = "../docs/sqlite-results.md"

// TestSQLiteResults measures what an application is told, and keeps the table
// of it in the documentation true.
func TestSQLiteResults(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	var doc strings.Builder
	doc.WriteString(resultsIntro)
	for _, v := range resultVariants {
		doc.WriteString("\n## " + v.title + "\n\n" + v.text + "\n")
		all := v.measure(t)
		for _, m := range v.moments() {
			m.render(&doc, all[m.title])
		}
	}
	if t.Failed() {
		return
	}
	if *updateResults {
		require.NoError(t, os.WriteFile(resultsFile, []byte(doc.String()), 0o644))
		return
	}
	want, err := os.ReadFile(resultsFile)
	require.NoError(t, err)
	require.Equal(t, string(want), doc.String(), "go test ./fusefs -run TestSQLiteResults -update writes the file anew")
}

// A variant is one setting of the mount.
type variant struct {
	name, title, text string
	set               func(*Config)
	only              []string // titles of moments; nil = all
	confirms          bool     // commits are asked for, and not confirmed
}

func (v variant) moments() (list []*moment) {
	for _, m := range resultMoments {
		wanted := v.only == nil
		for _, title := range v.only {
			wanted = wanted || title == m.title
		}
		if wanted {
			list = append(list, m)
		}
	}
	return list
}

// drivers are the programs that the results are taken from.
var resultDrivers = []struct {
	name  string
	start func(*testing.T) *app
}{
	{"Go", startApp},
	{"Python", func(t *testing.T) *app { return startCommand(t, exec.Command("python3", "testdata/app.py")) }},
}

// measured are results by moment, journal mode and driver.
type measured map[string]map[string]map[string]result

func (all measured) add(m *moment, mode, driver string, res result) {
	if all[m.title] == nil {
		all[m.title] = map[string]map[string]result{}
	}
	if all[m.title][mode] == nil {
		all[m.title][mode] = map[string]result{}
	}
	all[m.title][mode][driver] = res
}

func (v variant) measure(t *testing.T) measured {
	all := measured{}
	for _, mode := range journalModes {
		for _, driver := range resultDrivers {
			t.Run(strings.Join([]string{v.name, mode, driver.name}, "/"), func(t *testing.T) {
				s := newScene(t, v, mode, driver.start)
				for _, m := range v.moments() {
					if !m.walOnly || mode == "WAL" {
						s.prepare()
						all.add(m, mode, driver.name, m.measure(s))
						s.clear()
					}
				}
			})
		}
	}
	return all
}

// A scene is a mount with three applications. For each moment it has a database
// of its own with one row, open as "c" in the first of them.
type scene struct {
	*rig
	mode           string
	a, late, later *app
	n              int // of the database
	epoch          uint64

	over   atomic.Pointer[func() bool] // says that the lease has run out
	isOver atomic.Bool
}

func newScene(t *testing.T, v variant, mode string, start func(*testing.T) *app) *scene {
	s := &scene{mode: mode, epoch: 1}
	s.rig = newRig(t, v.set, func(c *Config) {
		c.Gate.now = s.now
		if !v.confirms {
			c.Confirm = nil
		}
	})
	s.a, s.late, s.later = start(t), start(t), start(t)
	return s
}

func (s *scene) name() string { return "db" + itoa(s.n) }

func (s *scene) prepare() {
	s.n++
	s.a.open("c", s.path(s.name()))
	s.must("PRAGMA journal_mode=" + s.mode)
	s.must("PRAGMA busy_timeout=5000")
	s.must("CREATE TABLE t (x)")
	s.must("INSERT INTO t VALUES ('before')")
}

// clear closes what the moment has left open.
func (s *scene) clear() {
	for _, a := range []*app{s.a, s.late, s.later} {
		a.do(order{Op: "close", Conn: "c"})
	}
	s.eventually(func() bool { return s.fs.Stats().LocksHeld == 0 }, "all is closed")
}

func (s *scene) must(stmt string) {
	s.t.Helper()
	require.Empty(s.t, s.a.query(stmt).Err, stmt)
}

// query runs a statement to its end.
func (a *app) query(stmt string) answer { return a.do(order{Op: "query", Conn: "c", Arg: stmt}) }

// now is the gate's clock.
func (s *scene) now() int64 {
	if fn := s.over.Load(); fn != nil && (s.isOver.Load() || (*fn)()) {
		s.isOver.Store(true)
		return forever + 1
	}
	return BootNow()
}

// endLeaseOnce ends the lease as soon as the database below contains text: at a
// commit of a rollback mode, after the last page and before the journal goes.
func (s *scene) endLeaseOnce(text string) {
	// Kept open until the end: a close would drop the mount's own locks.
	f, err := os.Open(filepath.Join(s.lower, s.name()))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = f.Close() })
	fn := func() bool {
		b := make([]byte, 1<<16)
		n, _ := f.ReadAt(b, 0)
		return bytes.Contains(b[:n], []byte(text))
	}
	s.over.Store(&fn)
}

// lift ends the fence by a new grant.
func (s *scene) lift() {
	s.over.Store(nil)
	s.isOver.Store(false)
	s.onConfirm(func() error { return nil })
	s.fs.hooks.afterCommitFrame.set(func(string) {})
	s.fs.hooks.afterCommit.set(func(string) {})
	s.epoch++
	s.reopen(s.epoch)
}

func (s *scene) hasHotJournal() bool {
	b, err := os.ReadFile(filepath.Join(s.lower, s.name()+"-journal"))
	return err == nil && len(b) > 0 && b[0] != 0
}

// measure plays m and notes what the application is told.
func (m *moment) measure(s *scene) (res result) {
	const count, insert = "SELECT count(*) FROM t", "INSERT INTO t VALUES ('after')"
	m.before(s)
	a := s.a
	if m.open {
		a = s.late
		a.open("c", s.path(s.name()))
	}
	for _, stmt := range m.attempt {
		if res.statement, res.told = word(stmt), a.query(stmt); res.told.Err != "" {
			break
		}
	}
	s.fence() // where the lease has ended the fence follows
	if m.inTransaction {
		res.ended = a.query("ROLLBACK").Err != ""
	}
	s.eventually(func() bool { return !s.hasHotJournal() }, "no hot journal")
	res.reads = a.query(count)
	s.later.open("c", s.path(s.name()))
	res.readsNew = s.later.query(count)
	s.lift()
	res.row = a.query("SELECT count(*) > 0 FROM t WHERE x LIKE 'fenced%'")
	res.writes = a.query(insert)
	s.later.do(order{Op: "close", Conn: "c"})
	s.later.open("c", s.path(s.name()))
	res.writesNew = s.later.query(insert)
	require.Equal(s.t, [][]string{{"ok"}}, s.later.query("PRAGMA integrity_check").Rows)
	return res
}

// word is the verb of a statement.
func word(stmt string) string {
	w, _, _ := strings.Cut(stmt, " ")
	if w == "WITH" {
		return "INSERT"
	}
	return w
}
