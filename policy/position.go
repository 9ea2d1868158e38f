package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Pos is LiteFS's replication position of one database: the id of the last
// transaction and the checksum of the whole database after it. Two databases
// at the same Pos have the same content.
type Pos struct {
	TXID     uint64
	Checksum uint64
}

// String formats p as LiteFS's -pos files do: 16 hex digits, a slash, 16 hex
// digits.
func (p Pos) String() string { return fmt.Sprintf("%016x/%016x", p.TXID, p.Checksum) }

// ParsePos reads the form that String writes. A trailing newline is allowed.
func ParsePos(s string) (Pos, error) {
	txid, sum, ok := strings.Cut(strings.TrimSuffix(s, "\n"), "/")
	if ok && len(txid) == 16 && len(sum) == 16 {
		t, err1 := strconv.ParseUint(txid, 16, 64)
		c, err2 := strconv.ParseUint(sum, 16, 64)
		if err1 == nil && err2 == nil {
			return Pos{TXID: t, Checksum: c}, nil
		}
	}
	return Pos{}, fmt.Errorf("position %q: want 16 hex digits, a slash, 16 hex digits", s)
}

// MarshalJSON writes the String form.
func (p Pos) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// UnmarshalJSON reads the String form.
func (p *Pos) UnmarshalJSON(b []byte) (err error) {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*p, err = ParsePos(s)
	return err
}

// Positions is a node's position: that of every database, by name. A database
// at TXID 0 has never had a transaction and counts as absent.
type Positions map[string]Pos

// Sum returns the number of transactions in all databases.
func (p Positions) Sum() (n uint64) {
	for _, pos := range p {
		n += pos.TXID
	}
	return n
}

// Equal reports whether p and q name the same databases at the same positions.
func (p Positions) Equal(q Positions) bool { return p.covers(q) && q.covers(p) }

func (p Positions) covers(q Positions) bool {
	for name, pos := range q {
		if pos.TXID != 0 && p[name] != pos {
			return false
		}
	}
	return true
}

// Behind reports whether p lacks a transaction that q has.
func (p Positions) Behind(q Positions) bool { return p.behindIn(q) != "" }

// behindIn names the first database, by name, in which p lacks a transaction
// that q has, or "".
func (p Positions) behindIn(q Positions) string {
	for _, name := range q.names() {
		if p[name].TXID < q[name].TXID {
			return name
		}
	}
	return ""
}

// Conflicts reports the first database, by name, that stands at the same
// transaction in p and q with different content, or "".
func (p Positions) Conflicts(q Positions) string {
	for _, name := range q.names() {
		if pos := q[name]; pos.TXID != 0 && p[name].TXID == pos.TXID && p[name] != pos {
			return name
		}
	}
	return ""
}

// Newest returns, for every database of p or q, the position with the higher
// TXID; p's where they are equal.
func (p Positions) Newest(q Positions) Positions {
	n := Positions{}
	for name, pos := range p {
		n[name] = pos
	}
	for name, pos := range q {
		if n[name].TXID < pos.TXID {
			n[name] = pos
		}
	}
	return n
}

func (p Positions) names() []string { return slices.Sorted(maps.Keys(p)) }
