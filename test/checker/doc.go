// Package checker judges a round of the torture. It is pure: a history.Round
// goes in, a history.Result comes out.
//
// It accuses only where no legal course of events explains what was seen. What
// it reasons from:
//
//   - An acknowledged write took effect at one instant between its Start and its
//     End. The answer may have come late, so nothing is concluded from an End
//     but that the effect came before it. A write of unknown outcome took effect
//     at some time after its Start, or never.
//   - LiteFS replicates in order and after the commit. When the role of primary
//     moves, the new primary has a prefix of what the old one had; the rest is
//     lost, which is legal. What is once gone from the newest primary's history
//     never comes back.
//   - With quorum.confirm: replicated none of that is lost which was acknowledged:
//     a write is on as many nodes as a minority has, and one more, before it is.
//     Only where more nodes than a minority were robbed of their data is that
//     an excuse.
//   - So what is there in the end was there all the time: from its effect on,
//     every primary had it, and a node that had it keeps it. A write was made on
//     a stale node if that node lacked, then or later, something that was
//     acknowledged before and is there in the end.
//   - Each time the role is granted, raft's log gets an Open, and only the newest
//     Open lets its node write. A status that shows an Open was read after that
//     Open was committed.
//
// Registers tell their own history: each Set says which value it replaced, so
// the chain from the last value back to the first is all that is left of them.
package checker

// The rules, as they stand in reports.
const (
	OneWriter         = "one-writer"         // two nodes took writes at a time
	StaleAck          = "stale-ack"          // acknowledged on a node that lacked what others had acknowledged before
	LostKnown         = "lost-known"         // acknowledged and gone, where asynchronous replication is no excuse
	LostReplicated    = "lost-replicated"    // acknowledged and gone, where a commit waits for copies
	RefusedPresent    = "refused-present"    // refused, and yet there
	MadeUp            = "made-up"            // there, and nobody wrote it, or not yet, or not twice
	Diverged          = "diverged"           // the nodes hold different data in the end
	Corrupt           = "corrupt"            // SQLite's integrity check failed
	Bank              = "bank"               // money came or went
	Register          = "register"           // a register's reads and writes have no order that explains them
	RegisterUnchecked = "register-unchecked" // the search for one took too long
	List              = "list"               // a list in another order than the final one, or a node whose reads went backwards
	ReadFailed        = "read-failed"        // a read failed where nothing was broken
	ReadsStopped      = "reads-stopped"      // reads hung or failed for seconds where nothing was broken
	NotBack           = "not-back"           // not normal again a minute after the last fault
	Round             = "round"              // the round could not be carried out
)
