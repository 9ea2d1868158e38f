package model

import "math/bits"

const (
	maxNodes = 6  // machines; up to five vote at a time
	maxIDs   = 12 // raft IDs; a wiped node gets another one
	maxMsgs  = 24
)

// Time is counted in units of 0.1 ms.
const (
	unit       = 100 // a clock at its nominal rate counts 100/100 per unit
	driftPct   = 5   // a clock is off true time by at most this much, either way
	margin     = 50  // 5 ms, as quorum's waitMargin
	longLease  = 3000
	shortLease = 1500
)

// conf is a set of raft IDs: the voters of a configuration.
type conf uint32

func (c conf) has(id int8) bool { return c&(1<<id) != 0 }
func (c conf) n() int           { return bits.OnesCount32(uint32(c)) }

type kind uint8

const (
	kNoop kind = iota
	kConf
	kOpen
	kClose
)

func (k kind) String() string { return [...]string{"noop", "conf", "open", "close"}[k] }

// entry is one entry of raft's log. Two entries at the same index with the same
// term are the same entry.
type entry struct {
	kind kind
	id   int8 // Open, Close: raft ID of the maker of the Open
	term int32
	open int32 // Close: log length at its Open, which names it
	d    int64 // Open: lease duration
	conf conf  // kConf
}

type role uint8

const (
	follower role = iota
	candidate
	leader
)

// Where a leader stands with its grant.
type stage uint8

const (
	noGrant  stage = iota
	waiting        // LiteFS has the key, the old lease is being waited out
	appended       // the Open is in the log
	opened         // the gate was opened under it
)

// node is a machine and the process on it. log is never changed in place.
type node struct {
	// On disk.
	id    int8
	term  int32
	voted int8 // -1 = nobody
	log   []entry

	// The machine.
	rate    int64 // hundredths
	offset  int64
	frozen  int64 // of both clocks: time they did not count (Frozen world)
	slept   int64 // of CLOCK_MONOTONIC: suspended time
	since   int64 // true time at which the present suspend or freeze began
	up      bool
	paused  bool
	suspend bool
	freeze  bool

	// In memory.
	run      int8 // counts restarts: an answer to an earlier process is lost
	d        int64
	admitted bool // not empty, or shown a configuration with its ID
	role     role
	votes    conf
	match    [maxIDs]int16
	commit   int
	barrier  int
	linger   int32 // term of a lost leadership whose replication goroutines have not ended yet
	prevTerm int32 // term before the last one

	lease lease

	stage     stage
	grantTerm int32
	openAt    int // log length at this grant's Open; 0 = none
	preNewest entry
	gate      gate
	op        op
}

// gate is the fenced mount's.
type gate struct {
	door    bool
	revoked bool
	epoch   int32
	until   int64
}

// op is one commit point on its way.
type op struct {
	on, lower bool
	epoch     int32
	begun     int64 // true time of the first look
	confirmed conf  // voters that answered a message sent after the lower write
	sentAfter int32
}

func (nd *node) conf() conf {
	for i := len(nd.log) - 1; i >= 0; i-- {
		if nd.log[i].kind == kConf {
			return nd.log[i].conf
		}
	}
	return 0
}

func (nd *node) empty() bool { return len(nd.log) == 0 }

func (nd *node) lastTerm() int32 {
	if len(nd.log) == 0 {
		return 0
	}
	return nd.log[len(nd.log)-1].term
}

func (nd *node) append(e entry) { nd.log = append(nd.log[:len(nd.log):len(nd.log)], e) }

// newest is the newest Open or Close in the first n entries.
func (nd *node) newest(n int) (e entry, at int) {
	for i := min(n, len(nd.log)) - 1; i >= 0; i-- {
		if k := nd.log[i].kind; k == kOpen || k == kClose {
			return nd.log[i], i + 1
		}
	}
	return entry{}, 0
}
