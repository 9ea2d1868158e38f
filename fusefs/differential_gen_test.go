package fusefs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// What the differential test does: short phrases of calls, so that a random
// script gets further than to errors. Names are relative; "a" and "b" stand
// for two databases that no other script has.

type call struct {
	who int // application 0 or 1
	fileCall
	on      string // the name it is about, once known
	dropped bool   // its database was dropped in this script
	gone    bool   // it was unlinked, or dropped
}

func (c call) kind() Kind {
	_, k := parseName(c.on)
	return k
}

func (c call) String() string {
	s := fmt.Sprintf("app%d %s", c.who, c.Call)
	for k, v := range map[string]string{"": c.Path, "->": c.Path2} {
		if v != "" {
			s += fmt.Sprintf(" %s%.40q", k, v)
		}
	}
	return s + fmt.Sprintf(" slot=%d flags=%#x off=%d len=%d typ=%d data=%.12x(%d)", c.Slot, c.Flags, c.Off, c.Len, c.Typ, c.Data, len(c.Data))
}

// GoString keeps rapid from printing pages.
func (c call) GoString() string { return c.String() }

// The second database has an odd name; but orders are JSON, so it is UTF-8.
const (
	nameA = "a"
	nameB = "b c\n\u00e9"
)

var diffNames = []string{
	nameA, nameA, nameA, nameA + "-journal", nameA + "-journal", nameA + "-wal", nameA + "-shm", nameA + "-pos", nameA + "-lock",
	nameB, nameB + "-journal", nameB + "-wal", nameB + "-shm", nameB + "-pos",
	nameA + "-wal-shm", nameA + "-journal-wal", nameA + "-shm-journal", nameA + "-pos-shm", "missing", "missing-wal", "missing-shm", "missing-journal",
	".", "..", "../x", "a/b", "-wal", ".lag", ".lag-shm", strings.Repeat("n", 240), strings.Repeat("n", 300), strings.Repeat("n", 300) + "-shm",
}

// page1 is a database's first page: enough of a header for LiteFS.
func page1(wal bool, pages uint32) []byte {
	b := make([]byte, 4096)
	copy(b, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(b[16:], 4096)
	b[18], b[19] = 1, 1
	if wal {
		b[18], b[19] = 2, 2
	}
	binary.BigEndian.PutUint32(b[28:], pages)
	return b
}

func journalHeader() []byte {
	b := make([]byte, 512)
	copy(b, journalMagic)
	binary.BigEndian.PutUint32(b[20:], 512)
	binary.BigEndian.PutUint32(b[24:], 4096)
	return b
}

func walHeader() []byte {
	b := make([]byte, walHeaderSize)
	binary.BigEndian.PutUint32(b, 0x377f0682)
	binary.BigEndian.PutUint32(b[8:], 4096)
	return b
}

var diffData = [][]byte{
	page1(false, 1), page1(false, 2), page1(true, 1), bytes.Repeat([]byte{7}, 4096), bytes.Repeat([]byte{8}, 8192),
	make([]byte, 4096), []byte("short"), {}, journalHeader(), make([]byte, journalHeaderSize), walHeader(), make([]byte, frameHeaderSize),
	bytes.Repeat([]byte{9}, 6000), bytes.Repeat([]byte{6}, 200_000),
}

var diffOffsets = []int64{0, 0, 0, 1, 28, 32, 56, 100, 512, 4096, 4152, 8192, 1 << 20}

func genCall() *rapid.Generator[call] {
	return rapid.Custom(func(rt *rapid.T) call {
		c := call{who: rapid.IntRange(0, 1).Draw(rt, "who")}
		c.Slot = rapid.IntRange(0, 3).Draw(rt, "slot")
		switch rapid.IntRange(0, 9).Draw(rt, "class") {
		case 0, 1, 2:
			c.Call = "open"
			c.Path = rapid.SampledFrom(diffNames).Draw(rt, "name")
			c.Flags = rapid.SampledFrom([]int{
				unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR | unix.O_CREAT, unix.O_RDWR | unix.O_CREAT,
				unix.O_RDWR | unix.O_CREAT | unix.O_EXCL, unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC, unix.O_WRONLY | unix.O_TRUNC,
				unix.O_WRONLY | unix.O_APPEND, unix.O_RDONLY | unix.O_DIRECTORY, unix.O_RDONLY | unix.O_CREAT, unix.O_RDWR | unix.O_NOFOLLOW,
				unix.O_TMPFILE | unix.O_RDWR, unix.O_RDWR | unix.O_SYNC,
			}).Draw(rt, "flags")
		case 3, 4:
			genFd(rt, &c)
		case 5, 6:
			c.Call = rapid.SampledFrom([]string{"pread", "pwrite", "pwrite"}).Draw(rt, "call")
			c.Off = rapid.SampledFrom(diffOffsets).Draw(rt, "off")
			if c.Call == "pread" {
				c.Len = rapid.SampledFrom([]int64{0, 1, 16, 100, 4096, 10_000}).Draw(rt, "len")
			} else {
				c.Data = rapid.SampledFrom(diffData).Draw(rt, "data")
			}
		case 7:
			genLock(rt, &c)
		default:
			genPath(rt, &c)
		}
		return c
	})
}

func genFd(rt *rapid.T, c *call) {
	c.Call = rapid.SampledFrom([]string{"close", "fstat", "fstat", "fsync", "ftruncate", "append", "seek", "fallocate", "fchmod", "dup"}).Draw(rt, "call")
	switch c.Call {
	case "ftruncate":
		c.Len = rapid.SampledFrom([]int64{0, 0, 1, 4096, 8192}).Draw(rt, "len")
	case "append":
		c.Data = rapid.SampledFrom(diffData).Draw(rt, "data")
	case "seek":
		c.Off = rapid.SampledFrom([]int64{0, 0, 100, 5000}).Draw(rt, "off")
		c.Flags = rapid.SampledFrom([]int{unix.SEEK_SET, unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE}).Draw(rt, "whence")
	case "fallocate":
		c.Flags = rapid.SampledFrom([]int{0, unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE}).Draw(rt, "mode")
		c.Len = 4096
	case "fchmod":
		c.Flags = 0o600
	case "dup":
		c.Off = int64(rapid.IntRange(0, 3).Draw(rt, "to"))
	}
}

func genLock(rt *rapid.T, c *call) {
	c.Call = rapid.SampledFrom([]string{"lock", "lock", "lock", "getlk", "flock", "lockw"}).Draw(rt, "call")
	c.Typ = rapid.SampledFrom([]int16{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK}).Draw(rt, "typ")
	c.Off = rapid.SampledFrom([]int64{0, 72, 100, 121, 122, 123, 127, 128, pendingByte, pendingByte + 1, pendingByte + 2, pendingByte + 3, pendingByte + 511}).Draw(rt, "off")
	c.Len = rapid.SampledFrom([]int64{1, 1, 2, 5, 510, 512}).Draw(rt, "len")
	if c.Call == "flock" {
		c.Flags = rapid.SampledFrom([]int{unix.LOCK_SH | unix.LOCK_NB, unix.LOCK_EX | unix.LOCK_NB, unix.LOCK_UN}).Draw(rt, "op")
	}
	if c.Call == "getlk" && c.Typ == unix.F_UNLCK {
		c.Typ = unix.F_WRLCK
	}
}

func genPath(rt *rapid.T, c *call) {
	c.Call = rapid.SampledFrom([]string{
		"stat", "stat", "stat", "unlink", "unlink", "unlink", "readdir", "readdir", "truncate", "rename", "link", "symlink", "mkdir", "mknod",
		"rmdir", "readlink", "chmod", "chown", "utimes", "access", "statfs", "setxattr", "getxattr", "listxattr", "removexattr",
	}).Draw(rt, "call")
	c.Path = rapid.SampledFrom(diffNames).Draw(rt, "name")
	switch c.Call {
	case "readdir":
		c.Path = "."
	case "truncate":
		c.Len = rapid.SampledFrom([]int64{0, 0, 1, 4096, 8192}).Draw(rt, "len")
	case "rename", "link":
		c.Path2 = rapid.SampledFrom(diffNames).Draw(rt, "to")
		if c.Call == "rename" {
			c.Flags = rapid.SampledFrom([]int{0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}).Draw(rt, "flags")
		}
	case "mknod":
		c.Flags = rapid.SampledFrom([]int{unix.S_IFREG, unix.S_IFIFO}).Draw(rt, "type")
	case "chmod":
		c.Flags = 0o600
	case "access":
		c.Flags = rapid.SampledFrom([]int{unix.F_OK, unix.W_OK, unix.X_OK}).Draw(rt, "mode")
	}
}

// phrases are what SQLite does with the files.
var phrases = map[string][]fileCall{
	"create": {
		{Call: "open", Path: nameA, Slot: 0, Flags: unix.O_RDWR | unix.O_CREAT},
		{Call: "open", Path: nameA + "-journal", Slot: 1, Flags: unix.O_RDWR | unix.O_CREAT},
		{Call: "pwrite", Slot: 1, Data: journalHeader()},
		{Call: "pwrite", Slot: 0, Data: page1(false, 2)},
		{Call: "pwrite", Slot: 0, Data: bytes.Repeat([]byte{7}, 4096), Off: 4096},
	},
	"delete":   {{Call: "unlink", Path: nameA + "-journal"}, {Call: "stat", Path: nameA + "-journal"}},
	"truncate": {{Call: "truncate", Path: nameA + "-journal"}, {Call: "stat", Path: nameA + "-journal"}},
	"persist":  {{Call: "pwrite", Slot: 1, Data: make([]byte, journalHeaderSize)}, {Call: "fstat", Slot: 1}},
	"lock": {
		{Call: "lock", Slot: 0, Typ: unix.F_RDLCK, Off: pendingByte, Len: 1},
		{Call: "lock", Slot: 0, Typ: unix.F_RDLCK, Off: pendingByte + 2, Len: 510},
		{Call: "lock", Slot: 0, Typ: unix.F_UNLCK, Off: pendingByte, Len: 1},
	},
	"exclusive": {
		{Call: "lock", Slot: 0, Typ: unix.F_WRLCK, Off: pendingByte, Len: 1},
		{Call: "lock", Slot: 0, Typ: unix.F_WRLCK, Off: pendingByte + 1, Len: 1},
		{Call: "lock", Slot: 0, Typ: unix.F_WRLCK, Off: pendingByte + 2, Len: 510},
	},
	"unlock": {{Call: "lock", Slot: 0, Typ: unix.F_UNLCK, Off: 0, Len: 0}},
	"shm": {
		{Call: "open", Path: nameA + "-shm", Slot: 2, Flags: unix.O_RDWR | unix.O_CREAT},
		{Call: "ftruncate", Slot: 2, Len: 0},
		{Call: "pwrite", Slot: 2, Data: []byte{1}, Off: 4095},
		{Call: "lock", Slot: 2, Typ: unix.F_RDLCK, Off: walByte + 8, Len: 1},
	},
	"wal": {{Call: "open", Path: nameA + "-wal", Slot: 3, Flags: unix.O_RDWR | unix.O_CREAT}, {Call: "pwrite", Slot: 3, Data: walHeader()}},
	"halt": {
		{Call: "open", Path: nameA + "-lock", Slot: 3, Flags: unix.O_RDWR},
		{Call: "lockw", Slot: 3, Typ: unix.F_WRLCK, Off: 72, Len: 1},
		{Call: "getlk", Slot: 3, Typ: unix.F_WRLCK, Off: 72, Len: 1},
	},
	"drop": {{Call: "unlink", Path: nameA}, {Call: "stat", Path: nameA}, {Call: "readdir", Path: "."}, {Call: "pread", Slot: 0, Len: 100}},
	"show": {
		{Call: "readdir", Path: "."}, {Call: "open", Path: nameA + "-pos", Slot: 3}, {Call: "pread", Slot: 3, Len: 100},
		{Call: "pread", Slot: 0, Len: 10_000}, {Call: "pread", Slot: 1, Len: 10_000}, {Call: "pread", Slot: 2, Len: 10_000},
	},
}

func genScript() *rapid.Generator[[]call] {
	names := make([]string, 0, len(phrases))
	for name := range phrases {
		names = append(names, name)
	}
	slices.Sort(names) // rapid replays by position
	part := rapid.Custom(func(rt *rapid.T) []call {
		if rapid.IntRange(0, 2).Draw(rt, "phrase?") > 0 {
			return []call{genCall().Draw(rt, "call")}
		}
		who := rapid.IntRange(0, 1).Draw(rt, "who")
		var list []call
		for _, c := range phrases[rapid.SampledFrom(names).Draw(rt, "phrase")] {
			list = append(list, call{who: who, fileCall: c})
		}
		return list
	})
	return rapid.Custom(func(rt *rapid.T) (script []call) {
		for _, p := range rapid.SliceOfN(part, 1, 30).Draw(rt, "parts") {
			script = append(script, p...)
		}
		return script
	})
}
