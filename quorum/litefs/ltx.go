package litefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/litefence/litefence/policy"
)

// LTX's layout (github.com/superfly/ltx v0.3.14, ltx.go): a header, the pages,
// a trailer; header and trailer are never compressed.
const (
	ltxMagic       = "LTX1"
	ltxHeaderSize  = 100
	ltxTrailerSize = 16
	ltxNameLen     = 16 + 1 + 16 + len(".ltx")
	// Every checksum that is there has its highest bit set (ltx.ChecksumFlag).
	ltxChecksumFlag = 1 << 63
)

var errNotLTX = errors.New("not an LTX file")

// ltxFile is what an LTX file says of its place in the history.
type ltxFile struct {
	min, max    uint64
	timestamp   int64  // milliseconds since 1970
	preChecksum uint64 // of the database before min; 0 for a snapshot
	post        policy.Pos
}

// pre returns the position that the file was applied to; the zero Pos for a
// snapshot, which asks for none.
func (f ltxFile) pre() policy.Pos {
	if f.min == 1 {
		return policy.Pos{}
	}
	return policy.Pos{TXID: f.min - 1, Checksum: f.preChecksum}
}

// parseLTXName reads MIN-MAX.ltx, both as 16 lower-case hex digits.
func parseLTXName(name string) (min, max uint64, err error) {
	if len(name) != ltxNameLen || name[16] != '-' || name[33:] != ".ltx" {
		return 0, 0, errNotLTX
	}
	min, err1 := parseTXID(name[:16])
	max, err2 := parseTXID(name[17:33])
	if err1 != nil || err2 != nil || min == 0 || min > max {
		return 0, 0, errNotLTX
	}
	return min, max, nil
}

func parseTXID(s string) (uint64, error) {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, errNotLTX
		}
	}
	return strconv.ParseUint(s, 16, 64)
}

// readLTX reads header and trailer of the file at path. LiteFS renames a file
// to its name only when it is complete, so the pages between are not verified.
func readLTX(path string) (ltxFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return ltxFile{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return ltxFile{}, err
	}
	if fi.Size() < ltxHeaderSize+ltxTrailerSize {
		return ltxFile{}, fmt.Errorf("%s: %w", path, errNotLTX)
	}
	var b [ltxHeaderSize + ltxTrailerSize]byte
	if _, err := f.ReadAt(b[:ltxHeaderSize], 0); err != nil {
		return ltxFile{}, err
	}
	if _, err := f.ReadAt(b[ltxHeaderSize:], fi.Size()-ltxTrailerSize); err != nil {
		return ltxFile{}, err
	}
	l, err := parseLTX(filepath.Base(path), b[:ltxHeaderSize], b[ltxHeaderSize:])
	if err != nil {
		return ltxFile{}, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// parseLTX reads what the name, the header and the trailer of a file say, if
// they agree.
func parseLTX(name string, header, trailer []byte) (ltxFile, error) {
	min, max, err := parseLTXName(name)
	if err != nil {
		return ltxFile{}, err
	}
	if len(header) != ltxHeaderSize || len(trailer) != ltxTrailerSize || string(header[:4]) != ltxMagic {
		return ltxFile{}, errNotLTX
	}
	u64 := binary.BigEndian.Uint64
	f := ltxFile{
		min: u64(header[16:]), max: u64(header[24:]), timestamp: int64(u64(header[32:])), preChecksum: u64(header[40:]),
		post: policy.Pos{TXID: max, Checksum: u64(trailer)},
	}
	switch {
	case f.min != min || f.max != max:
		return ltxFile{}, errors.New("header and name of the LTX file differ")
	case (f.min == 1) != (f.preChecksum == 0) || f.min > 1 && f.preChecksum&ltxChecksumFlag == 0:
		return ltxFile{}, errors.New("LTX header with a wrong checksum before it")
	case f.post.Checksum&ltxChecksumFlag == 0 || u64(trailer[8:])&ltxChecksumFlag == 0:
		return ltxFile{}, errors.New("LTX trailer without checksums")
	}
	return f, nil
}
