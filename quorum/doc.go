// Package quorum owns this node's membership in the raft cluster and the lease
// that follows from it: the raft node, the transport that measures when each
// voter was last asked and answered, the lease arithmetic, the Open and Close
// records, and the choice of the node that may become primary.
//
// It must never know how writes are held back (it speaks to a Gate) nor how
// LiteFS is spoken to (it speaks to a LocalLiteFS): fusefs and quorum/litefs
// are wired to it by cmd/litefence.
//
// # Why the lease is computed here
//
// hashicorp/raft times its leader lease from the moment an answer arrives, its
// heartbeat does not look at the answer's term, and a follower can answer an
// old leader's heartbeat while it votes for a new one (net_transport.go,
// handleCommand). None of that may decide whether production data is written.
// The lease here rests on three things: raft's terms are on disk before a voter
// answers, clocks run at rates that differ by less than a bound, and every
// write looks at the clock itself.
//
// A leader of term t holds the lease while now < acked + D, where acked is the
// newest time by which a majority had been sent an AppendEntries of term t that
// it answered with Success. A new leader waits the old lease out before it
// commits an Open record and opens the gate: any majority that acknowledged the
// old leader and the one that follows the new leader share a voter, and that
// voter answered the old leader for the last time before it answered the new
// one. So the wait starts after the old leader's last acknowledged send, and no
// rule about when a voter may vote is needed.
package quorum
