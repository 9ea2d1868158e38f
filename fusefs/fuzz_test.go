package fusefs

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Whatever is parsed comes from outside: names and writes from applications,
// indexes from the memory that they share, mountinfo with names that anybody
// gave. Each target has a dumb second implementation to be compared with.

func FuzzParseName(f *testing.F) {
	for _, name := range []string{"", "db", "db-wal", "db-shm", "db-journal", "db-pos", "db-lock", "-wal", "db-wal-wal", "db-wal-journal", "x-journalist",
		primaryName, blockedName, lagName, ".primary-wal", ".primary.blocked-shm", "DB-WAL", "db-\x00wal", "\xff-wal"} {
		f.Add(name)
	}
	suffix := map[Kind]string{KindDatabase: "", KindJournal: "-journal", KindWAL: "-wal", KindSHM: "-shm", KindPos: "-pos", KindLock: "-lock"}
	whole := map[Kind]string{KindPrimary: ".primary", KindBlocked: ".primary.blocked", KindLag: ".lag"}
	f.Fuzz(func(t *testing.T, name string) {
		db, k := parseName(name)
		if text, ok := whole[k]; ok {
			require.Equal(t, text, name)
			require.Empty(t, db)
			return
		}
		end, ok := suffix[k]
		require.True(t, ok, "kind %d", k)
		require.Equal(t, name, db+end)
		for kind, s := range suffix {
			if k == KindDatabase && kind != KindDatabase {
				require.False(t, strings.HasSuffix(name, s), "%q is taken for a database", name)
			}
		}
	})
}

// dumbSum is the checksum of sqlite.org/walformat.html, word by word.
func dumbSum(b []byte) (s1, s2 uint32) {
	for i := 0; i+8 <= len(b); i += 8 {
		s1 = s1 + native.Uint32(b[i:i+4]) + s2
		s2 = s2 + native.Uint32(b[i+4:i+8]) + s1
	}
	return s1, s2
}

func dumbValid(b []byte) bool {
	for i := range 48 {
		if b[i] != b[48+i] {
			return false
		}
	}
	s1, s2 := dumbSum(b[0:40])
	return b[12] != 0 && native.Uint32(b[40:44]) == s1 && native.Uint32(b[44:48]) == s2
}

// seal makes a header valid, or nearly: by is what is spoiled again.
func seal(x *index, spoil byte) {
	x[offIsInit] = 1
	s1, s2 := dumbSum(x[:offSum])
	native.PutUint32(x[offSum:], s1)
	native.PutUint32(x[offSum+4:], s2)
	copy(x[indexHeader:], x[:indexHeader])
	if spoil != 0 {
		x[int(spoil)%indexSize] ^= 1 << (spoil % 8)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(make([]byte, indexSize), make([]byte, indexSize), true, byte(0), uint32(0))
	f.Add([]byte{0, 0xe2, 0x2d, 0}, []byte{}, false, byte(0), uint32(7))
	f.Add(bytes.Repeat([]byte{0xff}, indexSize), bytes.Repeat([]byte{0xff}, indexSize), true, byte(0), ^uint32(0))
	f.Add(bytes.Repeat([]byte{1, 2, 3}, 45), bytes.Repeat([]byte{9}, 100), true, byte(50), uint32(3))
	fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
	require.NoError(f, err)
	f.Cleanup(func() { _ = unix.Close(fd) })
	f.Fuzz(func(t *testing.T, ours, theirs []byte, sealed bool, spoil byte, carried uint32) {
		var x, y index
		copy(x[:], ours)
		copy(y[:], theirs)
		if sealed {
			seal(&x, spoil)
		}
		require.Equal(t, dumbValid(x[:]), x.valid())

		d := &database{fs: &FS{}, shm: &memory{fd: fd}, carry: carryState{change: carried}}
		_, err := pwrite(fd, x[:], 0)
		require.NoError(t, err)
		require.NoError(t, d.carryIndex(&y))
		got, ok := d.shm.read()
		require.True(t, ok)
		if !x.valid() {
			require.Equal(t, x, got, "a header that is not valid is SQLite's to recover")
			return
		}
		require.True(t, dumbValid(got[:]), "what was carried is not valid")
		require.Zero(t, got.u32(16), "mxFrame")
		require.Equal(t, y.u32(20), got.u32(20), "nPage")
		require.Equal(t, y[14:16], got[14:16], "szPage")
		for _, old := range []uint32{x.u32(8), y.u32(8), carried} {
			require.True(t, got.u32(8) > old || got.u32(8) == 0, "iChange goes on, and round") // 2^32 transactions
		}
		require.Zero(t, got.u32(96), "nBackfill")
		require.Equal(t, bytes.Repeat([]byte{0xff}, 12), got[108:120], "read marks 2 to 4")
	})
}

func FuzzJournalHeader(f *testing.F) {
	header := append(bytes.Clone(journalMagic), make([]byte, 20)...)
	page := make([]byte, 512)
	copy(page, "SQLite format 3\x00")
	page[18], page[19] = 1, 1
	f.Add(make([]byte, journalHeaderSize), int64(0), byte(2), true)
	f.Add(make([]byte, journalHeaderSize-1), int64(0), byte(1), true)
	f.Add(make([]byte, journalHeaderSize), int64(512), byte(2), true)
	f.Add(header, int64(0), byte(2), true)
	f.Add(header[:7], int64(0), byte(2), true)
	f.Add(page, int64(0), byte(2), false)
	f.Add(page, int64(0), byte(1), false)
	f.Add(page[:99], int64(0), byte(2), false)
	fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
	require.NoError(f, err)
	f.Cleanup(func() { _ = unix.Close(fd) })
	f.Fuzz(func(t *testing.T, data []byte, off int64, mode byte, journal bool) {
		zeros := true
		for _, b := range data {
			zeros = zeros && b == 0
		}
		require.Equal(t, zeros && off == 0 && len(data) == 28, commitsJournal(data, off))

		_, err := pwrite(fd, []byte{mode, mode}, 18)
		require.NoError(t, err)
		d := &database{file: &lowerFile{fd: fd}}
		h := &handle{node: &node{kind: KindDatabase, db: d}}
		leaves := len(data) >= 100 && data[18] == 1
		if journal {
			h.node.kind = KindJournal
			leaves = len(data) >= 8 && string(data[:8]) == "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
		}
		want := error(nil)
		if off == 0 && mode == 2 && leaves {
			want = syscall.EPERM
		}
		require.Equal(t, want, (&FS{log: slog.New(slog.DiscardHandler)}).keepsMode(h, data, off))
	})
}

// escapeMount is what the kernel does to names in mountinfo (fs/seq_file.c,
// mangle_path, with the characters of fs/proc_namespace.c).
func escapeMount(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch s[i] {
		case ' ':
			b.WriteString(`\040`)
		case '\t':
			b.WriteString(`\011`)
		case '\n':
			b.WriteString(`\012`)
		case '\\':
			b.WriteString(`\134`)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func FuzzMountinfo(f *testing.F) {
	f.Add("", "/litefs", "fuse", "litefs")
	f.Add("22 1 0:21 / /litefs rw shared:7 - tmpfs tmpfs rw\n", "/litefs", "fuse", "litefs")
	f.Add("22 1 0:21 / /a\\040b rw - fuse litefs rw", "/a b", "fuse.litefence", "litefence")
	f.Add("22 1 0:21 / /a\\134040b rw - fuse litefs", `/a\040b`, "fuse", "litefs")
	f.Add("\n - \n22 1 0:21 / /x - fuse\n", "/x", "fuse", "litefs")
	f.Add("", "/a\u00a0b\rc", "fuse", "litefs")
	f.Fuzz(func(t *testing.T, others, path, fstype, source string) {
		found := mountIn(others, path)
		if found != nil {
			require.Contains(t, others, " - "+found.fstype+" "+found.source)
		}
		if !strings.HasPrefix(path, "/") || fstype == "" || source == "" || strings.ContainsAny(fstype+source, " \n") || strings.ContainsRune(path, 0) {
			return // the kernel has no such mount
		}
		line := "36 35 98:0 / " + escapeMount(path) + " rw,noatime shared:1 master:2 - " + fstype + " " + source + " rw\n"
		require.Equal(t, &mountEntry{fstype: fstype, source: source, device: "98:0", options: "rw"}, mountIn(others+"\n"+line, path), "the topmost is the last")
		require.Equal(t, mountIn(others, path+"x"), mountIn(others+"\n"+line, path+"x"), "another's mount")
	})
}
