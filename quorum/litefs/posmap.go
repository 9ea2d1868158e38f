package litefs

import (
	"encoding/binary"
	"fmt"

	"github.com/litefence/litefence/policy"
)

// posMapEntry is the size of an entry without its name: the name's length,
// TXID, checksum.
const posMapEntry = 4 + 8 + 8

// ParsePosMap reads the positions that LiteFS states in the body of its stream
// request (http/http.go, WritePosMapTo). Unlike LiteFS it takes no count or
// length on trust, and refuses what LiteFS never writes: a name given twice,
// bytes after the end.
func ParsePosMap(b []byte) (policy.Positions, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("position map: %d bytes", len(b))
	}
	n := uint64(binary.BigEndian.Uint32(b))
	b = b[4:]
	if n > uint64(len(b)/posMapEntry) {
		return nil, fmt.Errorf("position map: %d entries in %d bytes", n, len(b))
	}
	pos := make(policy.Positions, n)
	for i := uint64(0); i < n; i++ {
		name, p, rest, err := parsePosMapEntry(b)
		if err != nil {
			return nil, fmt.Errorf("position map, entry %d: %w", i, err)
		}
		if _, ok := pos[name]; ok {
			return nil, fmt.Errorf("position map: %q occurs twice", name)
		}
		pos[name], b = p, rest
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("position map: %d bytes after the last entry", len(b))
	}
	return pos, nil
}

func parsePosMapEntry(b []byte) (name string, p policy.Pos, rest []byte, err error) {
	if len(b) < posMapEntry {
		return "", p, nil, fmt.Errorf("cut short at %d bytes", len(b))
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n > uint64(len(b)-posMapEntry) {
		return "", p, nil, fmt.Errorf("a name of %d bytes in %d", n, len(b))
	}
	name, b = string(b[4:4+n]), b[4+n:]
	p = policy.Pos{TXID: binary.BigEndian.Uint64(b), Checksum: binary.BigEndian.Uint64(b[8:])}
	return name, p, b[16:], nil
}
