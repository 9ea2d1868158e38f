package report

import "github.com/litefence/litefence/test/history"

// Rule is one rule of the checker, in words.
type Rule struct {
	Name string // as in history.Anomaly.Rule
	Says string // what must hold, one sentence
	// Unjudged: where it is named, nothing is known to be broken, but something
	// could not be carried out or looked at.
	Unjudged bool
}

// Rules lists the rules that reports explain. An anomaly under any other name
// counts as a broken promise, without an explanation.
func Rules() []Rule {
	return []Rule{
		{Name: "one-writer", Says: "Acknowledged writes come from one node after the other, never from two at a time."},
		{Name: "stale-ack", Says: "Once another node has acknowledged a write, the old primary acknowledges none that is then thrown away."},
		{Name: "lost-known", Says: "An acknowledged write is gone only if its primary went before others had it: what a majority was seen to have, or what came before a write that was kept, stays."},
		{Name: "lost-replicated", Says: "With `quorum.confirm: replicated` no acknowledged write is ever gone, unless more nodes than a minority were robbed of their data."},
		{Name: "refused-present", Says: "A write that was refused is nowhere, at no time."},
		{Name: "made-up", Says: "Nothing is read that nobody wrote, and nothing twice."},
		{Name: "diverged", Says: "In the end all nodes hold the same."},
		{Name: "corrupt", Says: "SQLite's integrity check passes on every node."},
		{Name: "bank", Says: "The sum of all accounts is the same in every read on every node."},
		{Name: "register", Says: "Reads and writes of a register on its primary can be put into one order that explains them all (linearizability)."},
		{Name: "list", Says: "A list only grows, but for a tail that was lost with its primary."},
		{Name: "read-failed", Says: "Reads succeed through every fault, but for a long read at a change of role, and on a node whose processes are stopped."},
		{Name: "reads-stopped", Says: "No node goes without a read for more than 3 s while its processes run."},
		{Name: "not-back", Says: "Within 60 s of the last fault one node writes and all others follow, without help."},
		{Name: "register-unchecked", Says: "Judging a register took too long.", Unjudged: true},
		{Name: "round", Says: "The round itself could not do what it was to do.", Unjudged: true},
	}
}

// breaks reports whether an anomaly is a broken promise.
func breaks(a history.Anomaly) bool {
	for _, r := range Rules() {
		if r.Name == a.Rule {
			return !r.Unjudged
		}
	}
	return true
}
