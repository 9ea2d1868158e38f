// Package history is what happened in one round of the torture: what
// applications did on every node and what they were told, which faults there
// were, what litefence said of itself, and what was there in the end. It only
// holds; package checker judges, package report draws.
//
// All times are CLOCK_MONOTONIC in nanoseconds, which the processes of one
// machine share.
package history

import (
	"math"
	"time"
)

// Forever is the End of an operation that nobody saw the end of.
const Forever = math.MaxInt64

// An Outcome is what an application knows of its operation.
type Outcome string

const (
	// Acked: the application was told that it is done.
	Acked Outcome = "acknowledged"
	// Refused: it certainly was not done, and never will be.
	Refused Outcome = "refused"
	// Unknown: done, or not, or later: an error at the commit, or no answer.
	Unknown Outcome = "unknown"
)

// What a commit waits for, as quorum.confirm has it.
const (
	Lease      = "lease"      // nothing
	Quorum     = "quorum"     // an answer of a majority
	Replicated = "replicated" // copies on so many nodes that none of it can be lost
)

// The kinds of operation. Every write is a transaction of its own.
const (
	Insert   = "insert"   // adds the row ID, which nobody else ever adds
	Set      = "set"      // sets register Key to ID, having read Old there in the same transaction
	Transfer = "transfer" // moves money between two accounts; ID is recorded beside it
	Append   = "append"   // appends ID to list Key
	Read     = "read"     // reads registers, accounts and lists in one transaction
)

// Op is one operation of an application.
type Op struct {
	Node    string  `json:"node"`
	Client  string  `json:"client"` // a connection; its operations do not overlap
	Kind    string  `json:"kind"`
	ID      string  `json:"id,omitempty"`
	Key     string  `json:"key,omitempty"`
	Old     string  `json:"old,omitempty"` // of Set; known where the outcome is not Refused
	Start   int64   `json:"start"`
	Commit  int64   `json:"commit,omitempty"` // when a write's COMMIT was sent; 0 = not seen to be
	End     int64   `json:"end"`              // Forever where there was no answer
	Outcome Outcome `json:"outcome"`
	Err     string  `json:"err,omitempty"`
	Saw     *View   `json:"saw,omitempty"` // of an acknowledged Read
}

// IsWrite reports whether o wanted to change something.
func (o Op) IsWrite() bool { return o.Kind != Read }

// View is what one read transaction saw.
type View struct {
	Registers map[string]string   `json:"registers"`
	Lists     map[string][]string `json:"lists"`
	Sum       int64               `json:"sum"`  // of all accounts
	Rows      int                 `json:"rows"` // inserted rows
}

// State is all that a node's database holds.
type State struct {
	View
	IDs       map[string]bool // inserted rows, and what was recorded with transfers
	Integrity string          // of PRAGMA integrity_check: "ok"
}

// Fault is one thing that the nemesis did, from the moment it was begun until
// the moment it was taken back.
type Fault struct {
	Name    string   `json:"name"`
	Targets []string `json:"targets"`
	Start   int64    `json:"start"`
	End     int64    `json:"end"`
	// Cuts: packets are dropped. Stops: nodes whose litefence, LiteFS or disk did
	// not work, so that reads may hang or fail there.
	Cuts  bool     `json:"cuts"`
	Stops []string `json:"stops,omitempty"`
	// Wiped: nodes whose database was taken away, to be had anew from others.
	Wiped []string `json:"wiped,omitempty"`
}

// Sample is one answer of a node's status; it was true at some time between
// From and To.
type Sample struct {
	Node     string `json:"node"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	Writable bool   `json:"writable"`
	Fenced   bool   `json:"fenced"`
	Role     string `json:"role"`
	Reason   string `json:"reason,omitempty"`
	Term     uint64 `json:"term"`
	Open     uint64 `json:"open"`
	State    string `json:"state"`
}

// Round is one round.
type Round struct {
	Seed    uint64   `json:"seed"`
	Nodes   []string `json:"nodes"`
	Journal string   `json:"journal"` // SQLite's journal mode
	Confirm string   `json:"confirm"` // what a commit waits for; "" = Lease
	Subject string   `json:"subject"` // what ran: "litefence", a rule that was off, or LiteFS alone

	Lease     time.Duration `json:"lease"`
	Heartbeat time.Duration `json:"heartbeat"`

	Start  int64 `json:"start"`  // the applications run, all nodes are in step
	Healed int64 `json:"healed"` // the last fault was taken back
	Normal int64 `json:"normal"` // one node writes and all others follow in step; 0 = never
	End    int64 `json:"end"`    // the applications have stopped

	Ops     []Op             `json:"ops"`
	Faults  []Fault          `json:"faults"`
	Samples []Sample         `json:"samples"`
	Final   map[string]State `json:"final"`
	Sum     int64            `json:"sum"` // of all accounts, as it was made
	// Errors: what the round itself could not do, as a node that does not start.
	Errors []string `json:"errors,omitempty"`
}
