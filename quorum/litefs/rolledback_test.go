package litefs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

func at(txid, checksum uint64) policy.Pos { return policy.Pos{TXID: txid, Checksum: checksum | flag} }

// newDeposed has a snapshot up to 5, and then a file for each of 6, 7 and 8.
func newDeposed(t *testing.T) *ltxDir {
	d := newLTXDir(t)
	d.add(1, 5, 0, 105)
	d.add(6, 6, 105, 106)
	d.add(7, 7, 106, 107)
	d.add(8, 8, 107, 108)
	return d
}

func TestJoints(t *testing.T) {
	d := newDeposed(t)
	require.Equal(t, []policy.Pos{at(8, 108), at(7, 107), at(6, 106), at(5, 105)}, Joints(d.data, "db", 0, 10))
	require.Equal(t, []policy.Pos{at(8, 108), at(7, 107)}, Joints(d.data, "db", 0, 2))
	require.Equal(t, []policy.Pos{at(6, 106), at(5, 105)}, Joints(d.data, "db", 2, 2))
	require.Empty(t, Joints(d.data, "db", 4, 2))
	require.Empty(t, Joints(d.data, "other", 0, 2))
	require.Empty(t, Joints(d.data, "../dbs/db", 0, 2))
	require.NoError(t, os.Remove(filepath.Join(d.path(), "0000000000000001-0000000000000005.ltx"))) // retention
	require.Equal(t, []policy.Pos{at(7, 107), at(6, 106), at(5, 105)}, Joints(d.data, "db", 1, 10), "what the oldest file was applied to")
}

// What a snapshot replaced, and a crash left there, is no history.
func TestJointsOfAnotherLineage(t *testing.T) {
	d := newDeposed(t)
	d.remove(6)
	d.add(6, 6, 105, 206)
	require.Equal(t, []policy.Pos{at(8, 108), at(7, 107), at(6, 106)}, Joints(d.data, "db", 0, 10))
	require.Zero(t, NewestOf(d.data, "db", []policy.Pos{at(6, 206), at(5, 105)}))
}

func TestNewestOf(t *testing.T) {
	d := newDeposed(t)
	require.Equal(t, at(7, 107), NewestOf(d.data, "db", []policy.Pos{at(9, 109), at(8, 999), at(7, 107), at(6, 106)}))
	require.Equal(t, at(5, 105), NewestOf(d.data, "db", []policy.Pos{at(5, 105)}))
	require.Zero(t, NewestOf(d.data, "db", []policy.Pos{at(7, 999), {}}))
	require.Zero(t, NewestOf(d.data, "../dbs/db", []policy.Pos{at(7, 107)}))
}

func TestKeep(t *testing.T) {
	d := newDeposed(t)
	k := Kept{ID: "x", Time: time.Unix(9, 0).UTC(), Node: "n1", Primary: "n2", Open: 7, Databases: []KeptDB{{Name: "db", From: at(6, 106), To: at(8, 108)}}}
	path, err := Keep(d.data, k)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(d.path()), "LiteFS discards them")
	got, err := ReadKept(path)
	require.NoError(t, err)
	require.Equal(t, []any{"n1", "n2", uint64(7), "x", k.Time}, []any{got.Node, got.Primary, got.Open, got.ID, got.Time})
	require.Len(t, got.Databases, 1)
	db := got.Databases[0]
	require.True(t, db.Complete)
	require.Len(t, db.Files, 2)
	for i, f := range db.Files {
		l, err := readLTX(filepath.Join(path, "db", f.Name))
		require.NoError(t, err)
		require.Equal(t, at(uint64(7+i), uint64(107+i)), l.post, "in the order in which they are applied")
		require.Equal(t, KeptFile{
			Name: f.Name, Min: f.Name[:16], Max: f.Name[17:33], Time: time.UnixMilli(0).UTC(), Size: ltxHeaderSize + ltxTrailerSize,
		}, f)
	}
}

func TestKeepSaysWhatIsMissing(t *testing.T) {
	d := newDeposed(t)
	require.NoError(t, os.Remove(filepath.Join(d.path(), "0000000000000007-0000000000000007.ltx")))
	for name, from := range map[string]policy.Pos{"a gap": at(6, 106), "unknown": {}} {
		path, err := Keep(d.data, Kept{ID: name, Databases: []KeptDB{{Name: "db", From: from, To: at(8, 108)}}})
		require.NoError(t, err)
		got, err := ReadKept(path)
		require.NoError(t, err)
		require.False(t, got.Databases[0].Complete, name)
		require.Len(t, got.Databases[0].Files, 1, name)
	}
}

// Retention goes by age: what is held outlives it, and is found there.
func TestHeldOutlivesRetention(t *testing.T) {
	d := newDeposed(t)
	require.NoError(t, HoldAbove(d.data, policy.Positions{"db": at(6, 106)}))
	require.NoError(t, HoldAbove(d.data, policy.Positions{"db": at(6, 106)}), "again")
	for _, name := range []string{"0000000000000006-0000000000000006.ltx", "0000000000000007-0000000000000007.ltx"} {
		require.NoError(t, os.Remove(filepath.Join(d.path(), name))) // LiteFS keeps the newest
	}
	require.Equal(t, []policy.Pos{at(8, 108), at(7, 107), at(6, 106)}, Joints(d.data, "db", 0, 10))
	path, err := Keep(d.data, Kept{ID: "x", Databases: []KeptDB{{Name: "db", From: at(6, 106), To: at(8, 108)}}})
	require.NoError(t, err)
	require.NoError(t, ReleaseHeld(d.data))
	require.NoError(t, ReleaseHeld(d.data), "again")
	got, err := ReadKept(path)
	require.NoError(t, err)
	require.True(t, got.Databases[0].Complete)
	require.FileExists(t, filepath.Join(path, "db", "0000000000000007-0000000000000007.ltx"))
	require.NoDirExists(t, AsidePath(d.data, heldDir))
}

// What is held of an earlier lineage gives way to what is there now.
func TestHeldIsReplaced(t *testing.T) {
	d := newDeposed(t)
	require.NoError(t, HoldAbove(d.data, policy.Positions{"db": at(6, 106)}))
	d.remove(8)
	d.add(8, 8, 107, 208)
	require.NoError(t, HoldAbove(d.data, policy.Positions{"db": at(6, 106)}))
	l, err := readLTX(filepath.Join(AsidePath(d.data, heldDir), "db", "0000000000000008-0000000000000008.ltx"))
	require.NoError(t, err)
	require.Equal(t, at(8, 208), l.post)
}

func (d *ltxDir) remove(txid uint64) {
	files, _, err := readLTXDir(d.path())
	require.NoError(d.t, err)
	require.NoError(d.t, os.Remove(filepath.Join(d.path(), files[txid])))
}
