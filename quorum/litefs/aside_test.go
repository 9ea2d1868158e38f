package litefs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// records is what the caller keeps of asides, in a file each.
func records(dir string) func(Aside) error {
	return func(a Aside) error { return os.WriteFile(filepath.Join(dir, a.ID), a.Note, 0o600) }
}

// asideData makes a marked data directory with the databases given.
func asideData(t *testing.T, dbs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, db := range dbs {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "dbs", db, "ltx"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "dbs", db, "database"), []byte(db), 0o600))
	}
	require.NoError(t, WriteMarker(dir, Marker{7, "old"}))
	return dir
}

var (
	errCrash  = errors.New("the power is gone")
	testAside = Aside{ID: "a1", Databases: []string{"x", "y"}, Note: json.RawMessage(`{"why":"x"}`)}
)

// crashAfter stops at the step of that number, from 1; 0 = never.
func crashAfter(n int) (func(string) error, *[]string) {
	var seen []string
	return func(step string) error {
		if seen = append(seen, step); len(seen) == n {
			return fmt.Errorf("after %s: %w", step, errCrash)
		}
		return nil
	}, &seen
}

func requireMoved(t *testing.T, dir, id string, moved, left []string) {
	t.Helper()
	for _, db := range moved {
		b, err := os.ReadFile(filepath.Join(AsidePath(dir, id), db, "database"))
		require.NoError(t, err)
		require.Equal(t, db, string(b))
		require.DirExists(t, filepath.Join(AsidePath(dir, id), db, "ltx"))
		require.NoDirExists(t, filepath.Join(dir, "dbs", db))
	}
	for _, db := range left {
		require.FileExists(t, filepath.Join(dir, "dbs", db, "database"))
		require.NoDirExists(t, filepath.Join(AsidePath(dir, id), db))
	}
}

// A crash after any step, and another one after any step of what the next start
// does: everything is where it would be without them. Until the plan is on disk
// nothing has been moved, and the follower decides anew.
func TestSetAsideSurvivesCrashes(t *testing.T) {
	clean, steps := crashAfter(0)
	dir, lost := asideData(t, "app", "x", "y"), t.TempDir()
	require.NoError(t, asider{dir, records(lost), clean}.start(testAside))
	require.Equal(t, []string{"marker", "plan", "record", "move x", "move y", "done"}, *steps)
	requireMoved(t, dir, "a1", []string{"x", "y"}, []string{"app"})

	for first := 1; first <= len(*steps); first++ {
		for second := 0; second <= len(*steps); second++ {
			t.Run(fmt.Sprintf("%s, then %d", (*steps)[first-1], second), func(t *testing.T) {
				dir, lost := asideData(t, "app", "x", "y"), t.TempDir()
				after, _ := crashAfter(first)
				require.ErrorIs(t, asider{dir, records(lost), after}.start(testAside), errCrash)
				m, err := ReadMarker(dir)
				require.NoError(t, err)
				require.Zero(t, m, "the marker goes before everything else")

				again, _ := crashAfter(second)
				if _, err := (asider{dir, records(lost), again}).finish(); err != nil {
					require.ErrorIs(t, err, errCrash)
				}
				_, err = FinishAsides(dir, records(lost))
				require.NoError(t, err)
				if (*steps)[first-1] == "marker" {
					requireMoved(t, dir, "a1", nil, []string{"app", "x", "y"})
					require.NoError(t, SetAside(dir, testAside, records(lost)))
				}
				requireMoved(t, dir, "a1", []string{"x", "y"}, []string{"app"})
				require.FileExists(t, filepath.Join(AsidePath(dir, "a1"), asideDone))
				b, err := os.ReadFile(filepath.Join(lost, "a1"))
				require.NoError(t, err)
				require.JSONEq(t, string(testAside.Note), string(b))

				// What comes back under the name is another database.
				require.NoError(t, os.Mkdir(filepath.Join(dir, "dbs", "x"), 0o700))
				require.NoError(t, os.RemoveAll(filepath.Join(AsidePath(dir, "a1"), "x")))
				done, err := FinishAsides(dir, records(lost))
				require.NoError(t, err)
				require.Empty(t, done)
				require.DirExists(t, filepath.Join(dir, "dbs", "x"))
			})
		}
	}
}

// Nothing moves that is not written down.
func TestSetAsideIsWrittenDownFirst(t *testing.T) {
	dir := asideData(t, "x", "y")
	full := errors.New("disk full")
	require.ErrorIs(t, SetAside(dir, testAside, func(Aside) error { return full }), full)
	requireMoved(t, dir, "a1", nil, []string{"x", "y"})
}

// A directory that a primary was followed with since is not touched, and an old
// plan gives way to a new one.
func TestOldPlanIsVoid(t *testing.T) {
	for _, followed := range []bool{true, false} {
		dir, lost := asideData(t, "x", "y"), t.TempDir()
		after, _ := crashAfter(4) // x is moved
		require.ErrorIs(t, asider{dir, records(lost), after}.start(testAside), errCrash)
		if followed {
			require.NoError(t, WriteMarker(dir, Marker{9, "new"}))
			done, err := FinishAsides(dir, records(lost))
			require.NoError(t, err)
			require.Empty(t, done)
			requireMoved(t, dir, "a1", []string{"x"}, []string{"y"})
		} else {
			require.NoError(t, SetAside(dir, Aside{ID: "a2", Databases: []string{"y"}}, records(lost)))
			requireMoved(t, dir, "a1", []string{"x"}, nil)
			requireMoved(t, dir, "a2", []string{"y"}, nil)
		}
		require.FileExists(t, filepath.Join(AsidePath(dir, "a1"), asideVoid))
		done, err := FinishAsides(dir, records(lost))
		require.NoError(t, err)
		require.Empty(t, done)
	}
}

func TestSetAsideRefuses(t *testing.T) {
	dir := asideData(t, "x")
	for name, a := range map[string]Aside{
		"no database":           {ID: "a1"},
		"no id":                 {Databases: []string{"x"}},
		"id of another place":   {ID: "../a1", Databases: []string{"x"}},
		"another place":         {ID: "a1", Databases: []string{"../dbs/x"}},
		"dot":                   {ID: "a1", Databases: []string{"."}},
		"a database not there":  {ID: "a1", Databases: []string{"x", "z"}},
		"what is there already": {ID: "taken", Databases: []string{"x"}},
	} {
		require.NoError(t, os.MkdirAll(AsidePath(dir, "taken"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(AsidePath(dir, "taken"), asideDone), nil, 0o600))
		require.Error(t, SetAside(dir, a, func(Aside) error { return nil }), name)
		m, err := ReadMarker(dir)
		require.NoError(t, err)
		require.NotZero(t, m, "%s: nothing is touched", name)
	}
	if unix.Mount("tmpfs", filepath.Join(dir, "dbs"), "tmpfs", 0, "") == nil { // root
		defer unix.Unmount(filepath.Join(dir, "dbs"), 0)
		require.NoError(t, os.Mkdir(filepath.Join(dir, "dbs", "x"), 0o700))
		require.ErrorContains(t, SetAside(dir, testAside, nil), "y: no such file")
		require.ErrorContains(t, SetAside(dir, Aside{ID: "a1", Databases: []string{"x"}}, nil), "a mount of its own")
	}
	require.NoError(t, os.WriteFile(filepath.Join(AsidePath(dir, "taken"), asidePlan), []byte("{"), 0o600))
	_, err := FinishAsides(dir, nil)
	require.ErrorContains(t, err, "plan.json is damaged")
}
