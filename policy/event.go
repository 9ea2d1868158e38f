package policy

import "time"

// Kinds of Event.
const (
	EventLifted     = "lifted"       // the fence opened
	EventFenced     = "fenced"       // the fence shut, or stands for another reason
	EventStale      = "stale-leader" // a split brain was detected
	EventState      = "state"        // the analysis's state changed
	EventLeader     = "leader"       // another leader, or none, is followed
	EventRole       = "role"         // LiteFS's role changed
	EventResolution = "resolution"   // a step of the resolution ended
	EventHealth     = "health"       // the node's own health changed
	EventHandoff    = "handoff"      // a planned change of the primary
)

// Event is one change of a node's state, with its reason.
type Event struct {
	ID          uint64    `json:"id"` // grows by one with each event of this process
	Time        time.Time `json:"time"`
	Kind        string    `json:"kind"` // one of the constants above
	Node        string    `json:"node"`
	Term        uint64    `json:"term"`
	Leader      string    `json:"leader"`
	Role        string    `json:"role"`
	Reason      Reason    `json:"reason,omitempty"`
	State       string    `json:"state"` // healthy, split_brain_detected, resolved, failed
	LeaseLeftMS int64     `json:"lease_left_ms"`
	Message     string    `json:"message"` // one sentence for a person
}
