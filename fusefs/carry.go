package fusefs

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"syscall"
)

// The wal-index header (sqlite.org/walformat.html, "WAL-Index Header"): two
// copies of 48 bytes and 40 bytes of checkpoint information, native endian
// except for the salts.
const (
	indexHeader = 48
	indexInfo   = 96
	indexSize   = 136

	offChange, offIsInit, offPageSize, offMaxFrame, offPageN = 8, 12, 14, 16, 20
	offSalt, offSum                                          = 32, 40
	offBackfill, offMarks, offAttempted                      = 96, 100, 128
)

var native = binary.NativeEndian

// carryState remembers what was seen of LiteFS's index.
type carryState struct {
	last   [indexSize]byte // a short file counts as zeros
	change uint32          // the last change counter that was carried
}

type index [indexSize]byte

func (x *index) u32(off int) uint32      { return native.Uint32(x[off:]) }
func (x *index) put32(off int, v uint32) { native.PutUint32(x[off:], v) }
func (x *index) salt1() uint32           { return binary.BigEndian.Uint32(x[offSalt:]) }
func (x *index) header() []byte          { return x[:indexHeader] }
func (x *index) second() []byte          { return x[indexHeader:indexInfo] }
func (x *index) sum() (s1, s2 uint32)    { return walSum(native, 0, 0, x[:offSum]) }

// valid reports whether SQLite would take the header (wal.c, walIndexTryHdr).
func (x *index) valid() bool {
	s1, s2 := x.sum()
	return bytes.Equal(x.header(), x.second()) && x[offIsInit] != 0 &&
		x.u32(offSum) == s1 && x.u32(offSum+4) == s2
}

// checkIndex carries LiteFS's wal-index into ours if LiteFS changed it while
// nobody of ours held a lock, and reports that. It does that when it has
// rewritten the database beneath the WAL: at a change of role, a HALT, and for
// every transaction on a replica. Called with mu held, after the lower grant,
// before the answer.
func (d *database) checkIndex() (changed bool, err error) {
	theirs, err := d.indexBelow()
	if err != nil || theirs == d.carry.last {
		return false, err
	}
	// LiteFS truncates -wal beneath its own mount's page cache; a stat makes
	// the kernel see the new size before anybody reads a stale tail.
	if _, err := d.fs.statLower(d.name + "-wal"); err != nil && err != syscall.ENOENT {
		return true, err
	}
	if err := d.carryIndex(&theirs); err != nil {
		return true, err
	}
	d.carry.last = theirs
	return true, nil
}

// indexBelow reads LiteFS's wal-index header; what is missing counts as zeros.
func (d *database) indexBelow() (theirs index, err error) {
	if d.shmLocks == nil {
		return theirs, syscall.EBADF
	}
	_, err = pread(d.shmLocks.fd, theirs[:], 0)
	return theirs, err
}

// carryIndex writes an empty index of LiteFS's database size over ours, as a
// restart of the WAL would (wal.c, walRestartHdr). LiteFS's own salts, change
// counter and frame checksum are wrong for SQLite. A header of ours that is
// not valid is left alone: SQLite recovers it anyway.
func (d *database) carryIndex(theirs *index) error {
	if d.shm == nil {
		return nil
	}
	ours, ok := d.shm.read()
	if !ok || !ours.valid() {
		return nil
	}
	change := max(ours.u32(offChange), theirs.u32(offChange), d.carry.change) + 1
	x := ours
	x.put32(offChange, change)
	copy(x[offPageSize:offPageSize+2], theirs[offPageSize:])
	x.put32(offMaxFrame, 0)
	x.put32(offPageN, theirs.u32(offPageN))
	binary.BigEndian.PutUint32(x[offSalt:], ours.salt1()+1)
	x.put32(offSalt+4, rand.Uint32())
	s1, s2 := x.sum()
	x.put32(offSum, s1)
	x.put32(offSum+4, s2)
	copy(x.second(), x.header())
	x.put32(offBackfill, 0)
	x.put32(offAttempted, 0)
	for i, mark := range []uint32{0, 0, ^uint32(0), ^uint32(0), ^uint32(0)} {
		x.put32(offMarks+4*i, mark)
	}
	// SQLite reads the first copy first and compares it with the second, so
	// the first is written last.
	for _, part := range [][2]int{{indexInfo, indexSize}, {indexHeader, indexInfo}, {0, indexHeader}} {
		if _, err := pwrite(d.shm.fd, x[part[0]:part[1]], int64(part[0])); err != nil {
			return err
		}
	}
	d.carry.change = change
	d.fs.count.carried.Add(1)
	return nil
}

// read returns the header of our index; ok is false where it is too short.
func (m *memory) read() (x index, ok bool) {
	n, err := pread(m.fd, x[:], 0)
	return x, err == nil && n == indexSize
}

// indexCovers reports whether our index is valid and knows frame n.
func (d *database) indexCovers(n uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shm == nil {
		return false
	}
	x, ok := d.shm.read()
	return ok && x.valid() && x.u32(offMaxFrame) >= n
}

// wipeHeader makes the header invalid, which sends SQLite into recovery. The
// rest stays: readers go on with it.
func (m *memory) wipeHeader() {
	if m != nil {
		_, _ = pwrite(m.fd, make([]byte, indexInfo), 0)
	}
}
