package history

import "time"

// Result is what the checkers made of a round; small enough that those of all
// rounds are kept.
type Result struct {
	Round     RoundInfo       `json:"round"`
	Anomalies []Anomaly       `json:"anomalies,omitempty"`
	Counts    Counts          `json:"counts"`
	Epochs    []Epoch         `json:"epochs"`
	Faults    []Fault         `json:"faults"`
	Outages   []time.Duration `json:"outages"`            // longest time without an acknowledged write, for each fault
	Fence     []time.Duration `json:"fence"`              // from a cut or stop of the primary to its last acknowledged write, where another took over
	FenceOf   []int           `json:"fence_of,omitempty"` // the fault that each Fence is about, by its place in Faults
	Commits   []time.Duration `json:"commits,omitempty"`  // from the COMMIT of an acknowledged write to the answer
	Back      time.Duration   `json:"back"`               // from the end of the last fault until all is normal
}

// RoundInfo is a Round without what happened in it.
type RoundInfo struct {
	Number  int      `json:"number"`
	Flags   string   `json:"flags,omitempty"` // that the run had, beside its seed
	Seed    uint64   `json:"seed"`
	Nodes   []string `json:"nodes"`
	Journal string   `json:"journal"`
	Confirm string   `json:"confirm"` // never ""
	Subject string   `json:"subject"`
	Start   int64    `json:"start"`
	Healed  int64    `json:"healed"`
	Normal  int64    `json:"normal"`
	End     int64    `json:"end"`
}

// Anomaly is a broken promise, or a round that could not be carried out.
type Anomaly struct {
	Rule string `json:"rule"` // one of the checker's names
	At   int64  `json:"at,omitempty"`
	Text string `json:"text"`
}

// Counts of operations.
type Counts struct {
	Acked, Refused, Unknown int
	Reads, ReadErrors       int
	// Lost: acknowledged writes that are not there in the end. Without Replicated
	// that may be: LiteFS replicates after the commit, and their primary went
	// before. LostIDs lists them.
	Lost    int
	LostIDs []string
}

// Epoch is a stretch of acknowledged writes on one node.
type Epoch struct {
	Node     string `json:"node"`
	First    int64  `json:"first"` // End of its first acknowledged write
	Last     int64  `json:"last"`
	Acked    int    `json:"acked"`
	LostHere int    `json:"lost,omitempty"`
}
