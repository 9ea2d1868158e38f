package litefs

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

const flag = uint64(ltxChecksumFlag)

// ltxBytes makes a file without pages.
func ltxBytes(min, max, pre, post uint64) []byte {
	b := make([]byte, ltxHeaderSize+ltxTrailerSize)
	copy(b, ltxMagic)
	binary.BigEndian.PutUint64(b[16:], min)
	binary.BigEndian.PutUint64(b[24:], max)
	binary.BigEndian.PutUint64(b[40:], pre)
	binary.BigEndian.PutUint64(b[ltxHeaderSize:], post)
	binary.BigEndian.PutUint64(b[ltxHeaderSize+8:], flag)
	return b
}

type ltxDir struct {
	t    *testing.T
	data string
}

func newLTXDir(t *testing.T) *ltxDir {
	d := &ltxDir{t, t.TempDir()}
	require.NoError(t, os.MkdirAll(d.path(), 0o755))
	return d
}

func (d *ltxDir) path() string { return filepath.Join(d.data, "dbs", "db", "ltx") }

func (d *ltxDir) add(min, max, pre, post uint64) string {
	if min > 1 {
		pre |= flag
	}
	name := filepath.Join(d.path(), fmt.Sprintf("%016x-%016x.ltx", min, max))
	require.NoError(d.t, os.WriteFile(name, ltxBytes(min, max, pre, post|flag), 0o600))
	return name
}

func (d *ltxDir) has(txid, checksum uint64) bool {
	ok, db := InHistory(d.data, policy.Positions{"db": {TXID: txid, Checksum: checksum | flag}})
	require.Equal(d.t, !ok, db == "db")
	return ok
}

func TestInHistoryLinks(t *testing.T) {
	d := newLTXDir(t)
	require.False(t, d.has(1, 1), "no files")
	d.add(1, 5, 0, 105) // a snapshot
	d.add(6, 6, 105, 106)
	d.add(7, 7, 106, 107)
	require.NoError(t, os.WriteFile(filepath.Join(d.path(), "0000000000000009-0000000000000009.ltx.17.tmp"), nil, 0o600))
	require.True(t, d.has(7, 107))
	require.True(t, d.has(6, 106))
	require.True(t, d.has(5, 105))
	require.False(t, d.has(5, 999))
	require.False(t, d.has(6, 107))
	require.False(t, d.has(3, 103), "inside the snapshot")
	require.False(t, d.has(8, 108), "not there yet")
	require.False(t, d.has(0, 0) == false, "TXID 0 is absent")
}

// What a snapshot replaced is no history, even if a crash left it there.
func TestInHistoryIgnoresTheReplaced(t *testing.T) {
	d := newLTXDir(t)
	d.add(6, 6, 105, 106) // the deposed primary's
	d.add(7, 7, 106, 107)
	d.add(1, 8, 0, 208) // the snapshot that replaced them
	d.add(9, 9, 208, 209)
	require.True(t, d.has(9, 209) && d.has(8, 208))
	require.False(t, d.has(7, 107))
	require.False(t, d.has(6, 106))
	require.False(t, d.has(5, 105))
}

// Beyond a link that does not fit, or a gap, nothing is known.
func TestInHistoryBrokenLinks(t *testing.T) {
	d := newLTXDir(t)
	d.add(4, 4, 103, 104)
	d.add(5, 5, 999, 105)
	d.add(6, 6, 105, 106)
	require.True(t, d.has(5, 105) && d.has(4, 999))
	require.False(t, d.has(4, 104))
	require.False(t, d.has(3, 103))

	d = newLTXDir(t)
	d.add(2, 2, 101, 102)
	gap := d.add(3, 3, 102, 103)
	d.add(4, 4, 103, 104)
	require.True(t, d.has(2, 102))
	require.NoError(t, os.WriteFile(gap, []byte("torn"), 0o600))
	require.True(t, d.has(3, 103), "by what follows")
	require.False(t, d.has(2, 102))
	require.NoError(t, os.Remove(gap))
	require.False(t, d.has(2, 102))
}

// Names come from another node.
func TestInHistoryNames(t *testing.T) {
	d := newLTXDir(t)
	d.add(1, 1, 0, 101)
	for _, name := range []string{"", ".", "..", "../dbs/db", "db/../db", "/etc", "d\x00b"} {
		ok, db := InHistory(d.data, policy.Positions{name: {TXID: 1, Checksum: 101 | flag}})
		require.False(t, ok)
		require.Equal(t, name, db)
	}
	ok, db := InHistory(d.data, policy.Positions{"zz": {TXID: 1}, "aa": {TXID: 1}, "db": {TXID: 1, Checksum: 101 | flag}})
	require.False(t, ok)
	require.Equal(t, "aa", db, "the first by name")
}

func FuzzLTX(f *testing.F) {
	f.Add("0000000000000001-0000000000000005.ltx", ltxBytes(1, 5, 0, flag|1)[:ltxHeaderSize], ltxBytes(1, 5, 0, flag|1)[ltxHeaderSize:])
	f.Add("0000000000000006-0000000000000006.ltx", ltxBytes(6, 6, flag, flag|1)[:ltxHeaderSize], ltxBytes(6, 6, flag, flag|1)[ltxHeaderSize:])
	f.Add("0000000000000006-0000000000000006.ltx.1.tmp", []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, name string, header, trailer []byte) {
		l, err := parseLTX(name, header, trailer)
		if err != nil {
			return
		}
		require.Equal(t, name, fmt.Sprintf("%016x-%016x.ltx", l.min, l.max))
		require.True(t, l.min >= 1 && l.min <= l.max && l.post.TXID == l.max)
		require.Equal(t, l.min == 1, l.pre() == policy.Pos{})
	})
}
