// Package model is a small model of the rules by which at most one node writes
// and the right one goes first: DESIGN.md's "The lease" and "Who may become
// primary". Tests play it on random schedules of moves and faults, with all
// rules on and with each one off. It owns the model, its schedules and an
// oracle; it knows nothing of raft's, LiteFS's or the mount's code, and no
// program imports it.
//
// A schedule is a list of small integers. What is drawn from one seed is always
// the same run; a run that breaks a promise is shrunk by leaving moves out and
// told in words (Transcript). The oracle (oracle.go, dataoracle.go) is shown true
// time, who admits writes, what is acknowledged and what data is made of, and
// knows none of the rules.
//
// # Parts
//
// Lease has raft, clocks and gates. Frozen is Lease on machines whose clocks may
// stop, with confirm: quorum. Data has databases, markers, reports and the
// elections, which are policy.Elect, Qualifies and MajorityHolds themselves; Copied
// is Data where commits wait for copies, with confirm: replicated. Data takes from Lease what that shows: when an Open is committed no other gate
// admits. The two are not run together; nothing else passes between them.
//
// # What is abstracted, and why it may be
//
// Raft:
//   - A vote is granted at any time to whoever's log is up to date, whether a
//     leader is known or not, and anybody may stand at any time. Every timer of
//     raft's, PreVote, leader stickiness and leadership transfer only take
//     schedules away.
//   - Term, vote and log reach the disk before an answer leaves; a crash loses
//     the rest. That is raft's promise, and one of the three things that the
//     design rests on. A torn or rolled back disk is not modelled.
//   - An AppendEntries carries the leader's whole log, or none (a heartbeat, which
//     is acknowledged by a follower whose log says otherwise, as in raft). Raft's
//     search for the place where logs part has no counterpart, nor have
//     snapshots: InstallSnapshot only stamps, which AppendEntries does too.
//   - Membership: the latest configuration in the log counts; a change needs the
//     one before to be committed and an entry of the leader's own term too
//     (raft.go, configurationChangeChIfStable).
//   - Raft's races are allowed: a deposed leader's replication goroutines send
//     once more in the old term after it has voted (replication.go; Prompt turns
//     it off), an answer to an earlier process of the asker is lost, TimeoutNow
//     arrives at any time, and without the rule MainLoop a voter goes back to an
//     older term. A leader that steps down by itself takes no term over.
//   - Messages are delayed, lost, reordered and delivered twice; a link may be cut
//     one way. The pool keeps 24; the oldest is lost then.
//   - The answer of an unhealthy voter, and everything else that only takes votes
//     from a lease, is left out: fewer acknowledgements are a schedule already.
//
// Clocks and processes:
//   - True time moves in units of 0.1 ms and by at least one between moves. D is
//     300 or 150 ms, the margin 5 ms, the drift 5 %, each clock fast, slow or
//     true for the whole run. Both clocks of a machine have one rate.
//   - A suspend stops CLOCK_MONOTONIC and not CLOCK_BOOTTIME; a pause neither; a
//     freeze both, in Frozen only: without confirm: quorum a frozen guest is
//     outside of the promise.
//   - A move is atomic. What the code holds a lock over (lease.go) is one move;
//     a write is three (first look, lower write, second look), and the lower
//     write goes on while the process is stopped.
//   - A paused gate counts as one that admits if its word and clock say so.
//
// LiteFS:
//   - LiteFS takes the key at once in Lease: how long it takes only adds time.
//     In Data it may be restarted, wiped or restored between being chosen and
//     taking the key.
//   - A database is a chain of contents; a content stands for TXID and checksum.
//     A checksum that two contents share is not modelled. There are two
//     databases and at most five nodes, one of them a witness perhaps.
//   - A stream brings one transaction or a snapshot at a time; what LiteFS has
//     received it may apply later, until its loop turns. LiteFS does not drop a
//     database that its primary lacks. Retention of transactions begins at the
//     last snapshot and never ends: forgetting only marks fewer.
//   - A report, a marker's writing and an Open's reading of positions are one move
//     each. Data that is exchanged between two system calls of one such step is
//     not modelled.
//   - A new leader knows every committed record: leader completeness and the
//     barrier, which Lease checks.
//   - The first data is of one lineage and of different ages, or excludes itself
//     at one TXID. Positions that exclude each other at different TXIDs cannot be
//     told apart from ages, by the program neither.
//
// Copies:
//   - What a node reports arrives at any time, or never, whatever has become of the
//     node and its connection; only the end of LiteFS at a wipe ends it for good. A
//     report that is older than one under another Open may come after it.
//   - The set is changed at any time, for any node that has reported. Where a
//     program has a reason for it, and a bound of time, there are fewer schedules.
//   - An append whose outcome its leader does not hear of is committed at any time,
//     with the next append, by the next leader, or never.
//   - A replaced machine votes at once under its new ID. A LiteFS directory is wiped
//     under the old ID too; that one is restored from a copy made under the same
//     Open is outside of the promise.
//
// Not in the model: bootstrap, the cluster id, skipped nodes and every other
// matter of time to recover; accept-loss, which gives the promise up; forwarded
// writes (HALT).
package model
