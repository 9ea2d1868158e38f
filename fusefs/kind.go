package fusefs

import "strings"

// Kind is what a file is to SQLite and LiteFS, told by its name alone
// (LiteFS fuse/fuse.go, ParseFilename).
type Kind uint8

const (
	KindDatabase Kind = iota // and any other name: LiteFS takes it for a database's
	KindJournal
	KindWAL
	KindSHM
	KindPos
	KindLock
	KindLag
	KindPrimary
	KindBlocked
	KindRoot
	kinds
)

var kindNames = [kinds]string{"database", "journal", "wal", "shm", "pos", "lock", "lag", "primary", "blocked", "root"}

func (k Kind) String() string { return kindNames[k] }

const (
	primaryName = ".primary"
	blockedName = ".primary.blocked"
	lagName     = ".lag"
)

// parseName splits a file name into the database it belongs to and its kind.
func parseName(name string) (db string, k Kind) {
	switch name {
	case primaryName:
		return "", KindPrimary
	case blockedName:
		return "", KindBlocked
	case lagName:
		return "", KindLag
	}
	for _, s := range []struct {
		suffix string
		kind   Kind
	}{{"-journal", KindJournal}, {"-wal", KindWAL}, {"-shm", KindSHM}, {"-pos", KindPos}, {"-lock", KindLock}} {
		if base, ok := strings.CutSuffix(name, s.suffix); ok {
			return base, s.kind
		}
	}
	return name, KindDatabase
}

// suffix is what a file of kind k has behind its database's name.
func (k Kind) suffix() string {
	switch k {
	case KindJournal:
		return "-journal"
	case KindWAL:
		return "-wal"
	case KindSHM:
		return "-shm"
	}
	return ""
}

// virtual reports a file that is ours alone: no operation on it reaches LiteFS.
func (k Kind) virtual() bool { return k == KindPrimary || k == KindBlocked }
