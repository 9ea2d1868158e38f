package model

import (
	"fmt"
	"strings"
)

// A Rule is one rule of DESIGN.md's "The lease" or "Who may become primary".
type Rule uint8

// A World is one of the parts of the model.
type World uint8

// The worlds.
const (
	Lease  World = iota // raft, clocks, gates
	Frozen              // the same, on machines whose clocks may stop: confirm: quorum
	Data                // databases, markers, reports, elections
	Copied              // the same, where commits wait for copies: confirm: replicated
)

// Rules is a set of rules that are switched off. Zero is the rules as they
// stand.
type Rules uint64

// Without returns the rules without those given.
func Without(rules ...Rule) (off Rules) {
	for _, r := range rules {
		off |= 1 << r
	}
	return off
}

func (off Rules) on(r Rule) bool { return off&(1<<r) == 0 }

// ParseRules reads rules by name, separated by commas.
func ParseRules(s string) (off Rules, err error) {
	for _, name := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		found := false
		for r, known := range ruleNames {
			if known == name {
				off, found = off|1<<r, true
			}
		}
		if !found {
			return 0, fmt.Errorf("no rule %q; there are %s", name, strings.Join(ruleNames[:], ", "))
		}
	}
	return off, nil
}

func (r Rule) String() string { return ruleNames[r] }

func (off Rules) String() string {
	var names []string
	for r := Rule(0); int(r) < len(ruleNames); r++ {
		if !off.on(r) {
			names = append(names, r.String())
		}
	}
	return strings.Join(names, ",")
}

// The rules, of the lease and of who may become primary.
const (
	Wait              Rule = iota // a new leader waits the old lease out
	WaitBeforeOpen                // it waits first and commits its Open then
	WaitsPreviousD                // the D that is waited out is that of the record before its own Open
	WaitMono                      // the wait is measured on CLOCK_MONOTONIC
	WaitFromMajority              // the wait is counted from the first majority of Success in its own term, not from its candidacy
	Drift                         // the wait allows for drift
	DriftTwice                    // twice, for both clocks may be off true time
	OpenCommitted                 // the gate opens once the Open is committed, not when it is appended
	GrantOfTerm                   // an Open opens the gate in its own term only
	Barrier                       // the newest Open is read behind the leader's own barrier
	CloseByOpener                 // only the maker of the newest Open may append Close
	CloseAfterDrain               // Close is appended after the drain only
	NoReopen                      // after an append of Close the gate stays shut until another Open
	SendTime                      // an answer counts from when its request was sent
	OwnTerm                       // only Success in our current term counts
	MajorityOfAll                 // a majority of all voters, not of those heard of
	AloneBounded                  // a cluster of one is its own majority now, not for ever
	BootClock                     // the lease runs on CLOCK_BOOTTIME
	ClockAtWrite                  // every write looks at the clock, no timer does it for it
	DeadAtVote                    // the lease is dead once a vote was granted or a higher term seen
	SecondLook                    // a commit point looks at the lease again before it answers
	SameLease                     // both looks see the same lease
	MainLoop                      // every AppendEntries goes through raft's main loop
	FixedD                        // D never changes within a term
	EmptySilentVote               // an empty node does not vote
	EmptySilentAppend             // an empty node does not answer AppendEntries
	NewID                         // a wiped node has a new raft ID
	AnswerID                      // an answer under another ID than the configuration's counts for nothing
	OneStep                       // a replacement is two committed steps
	CreditStampEarly              // a message is stamped before raft sees it
	CreditUnknownZero             // an unknown age is 0
	CreditOwnAge                  // the leader's own age counts
	CreditSmallest                // the smallest age of the first majority counts
	CreditVoters                  // no credit after a change of the voters
	Confirm                       // confirm: quorum waits for answers to messages sent after the lower write

	MarkerPerOpen       // a marker names an Open, not a term
	MarkerInData        // the marker lies in LiteFS's data directory
	MarkerConnected     // a replica is marked only while it is connected
	MarkerHistory       // a replica is marked only where all it has lies in the opener's history
	MarkerBeforeGate    // the opener writes its marker before the gate opens
	OpenPerGrant        // every grant of the key needs an Open of its own
	OperationOfGrant    // an operation admitted under one grant never reaches LiteFS under another
	HeldPositions       // what a majority holds replaces the Open's positions
	NotBehind           // the next primary is not behind them
	InStep              // the next primary is in step with the newest Open
	ReportAfterStream   // a report is read after LiteFS's stream loop has ended
	AllReport           // without any Open every voter must have reported
	Conflicts           // one transaction with two contents is for the operator
	MostFirst           // of those in step the one with the most transactions goes first
	SetAsideUnderOpen   // databases are set aside only under a committed Open
	SetAsideFreshReport // and against a report of its opener read after ours
	RecheckAtOpen       // the Open stands where the report stood that it was chosen by

	CopiesNamed    // a commit is acknowledged once every node of the set that raft's log names has it, not any so many
	CopiesOnly     // only the opener and the nodes of that set may become primary
	CopiesCaughtUp // another set is written once its nodes have everything that was acknowledged
	CopiesFrozen   // nothing is acknowledged between that look and the commit
	CopiesUnknown  // nor, where it is unknown what became of it, before a later one is committed
	CopiesInStep   // what a node reports to have counts under the Open only that it follows, and is in step with
	CopiesMarked   // one of the set that lost its data is in step again once it has all of it, and says so anew
	CopiesHeld     // what is recorded as held all of the set hold, and nothing is while that is being changed
	CopiesClosed   // a Close that names a successor with everything ends the set

	numRules
)

const (
	// Prompt is no rule but a kinder world, to see what a rule is there for:
	// raft's replication goroutines end before a deposed leader answers.
	Prompt = numRules + iota
	// NoCredit waits the whole wait.
	NoCredit
	// LossOnly asks not whether somebody may become primary, only whether
	// something that was acknowledged is gone.
	LossOnly
)

var ruleNames = [...]string{
	Wait:                "Wait",
	WaitBeforeOpen:      "WaitBeforeOpen",
	WaitsPreviousD:      "WaitsPreviousD",
	WaitMono:            "WaitMono",
	WaitFromMajority:    "WaitFromMajority",
	Drift:               "Drift",
	DriftTwice:          "DriftTwice",
	OpenCommitted:       "OpenCommitted",
	GrantOfTerm:         "GrantOfTerm",
	Barrier:             "Barrier",
	CloseByOpener:       "CloseByOpener",
	CloseAfterDrain:     "CloseAfterDrain",
	NoReopen:            "NoReopen",
	SendTime:            "SendTime",
	OwnTerm:             "OwnTerm",
	MajorityOfAll:       "MajorityOfAll",
	AloneBounded:        "AloneBounded",
	BootClock:           "BootClock",
	ClockAtWrite:        "ClockAtWrite",
	DeadAtVote:          "DeadAtVote",
	SecondLook:          "SecondLook",
	SameLease:           "SameLease",
	MainLoop:            "MainLoop",
	FixedD:              "FixedD",
	EmptySilentVote:     "EmptySilentVote",
	EmptySilentAppend:   "EmptySilentAppend",
	NewID:               "NewID",
	AnswerID:            "AnswerID",
	OneStep:             "OneStep",
	CreditStampEarly:    "CreditStampEarly",
	CreditUnknownZero:   "CreditUnknownZero",
	CreditOwnAge:        "CreditOwnAge",
	CreditSmallest:      "CreditSmallest",
	CreditVoters:        "CreditVoters",
	Confirm:             "Confirm",
	MarkerPerOpen:       "MarkerPerOpen",
	MarkerInData:        "MarkerInData",
	MarkerConnected:     "MarkerConnected",
	MarkerHistory:       "MarkerHistory",
	MarkerBeforeGate:    "MarkerBeforeGate",
	OpenPerGrant:        "OpenPerGrant",
	OperationOfGrant:    "OperationOfGrant",
	HeldPositions:       "HeldPositions",
	NotBehind:           "NotBehind",
	InStep:              "InStep",
	ReportAfterStream:   "ReportAfterStream",
	AllReport:           "AllReport",
	Conflicts:           "Conflicts",
	MostFirst:           "MostFirst",
	SetAsideUnderOpen:   "SetAsideUnderOpen",
	SetAsideFreshReport: "SetAsideFreshReport",
	RecheckAtOpen:       "RecheckAtOpen",
	CopiesNamed:         "CopiesNamed",
	CopiesOnly:          "CopiesOnly",
	CopiesCaughtUp:      "CopiesCaughtUp",
	CopiesFrozen:        "CopiesFrozen",
	CopiesUnknown:       "CopiesUnknown",
	CopiesInStep:        "CopiesInStep",
	CopiesMarked:        "CopiesMarked",
	CopiesHeld:          "CopiesHeld",
	CopiesClosed:        "CopiesClosed",
	Prompt:              "Prompt", NoCredit: "NoCredit", LossOnly: "LossOnly",
}

// ruleTexts says each rule as DESIGN.md does, shorter.
var ruleTexts = [numRules]string{
	Wait:                "a new leader waits the old lease out",
	WaitBeforeOpen:      "it waits first and commits its Open then",
	WaitsPreviousD:      "the D that is waited out is that of the record before its own Open",
	WaitMono:            "the wait is measured on CLOCK_MONOTONIC",
	WaitFromMajority:    "the wait is counted from the first majority of Success in its own term, not from its candidacy",
	Drift:               "the wait allows for drift",
	DriftTwice:          "twice, for both clocks may be off true time",
	OpenCommitted:       "the gate opens once the Open is committed, not when it is appended",
	GrantOfTerm:         "an Open opens the gate in its own term only",
	Barrier:             "the newest Open is read behind the leader's own barrier",
	CloseByOpener:       "only the maker of the newest Open may append Close",
	CloseAfterDrain:     "Close is appended after the drain only",
	NoReopen:            "after an append of Close the gate stays shut until another Open",
	SendTime:            "an answer counts from when its request was sent",
	OwnTerm:             "only Success in our current term counts",
	MajorityOfAll:       "a majority of all voters, not of those heard of",
	AloneBounded:        "a cluster of one is its own majority now, not for ever",
	BootClock:           "the lease runs on CLOCK_BOOTTIME",
	ClockAtWrite:        "every write looks at the clock, no timer does it for it",
	DeadAtVote:          "the lease is dead once a vote was granted or a higher term seen",
	SecondLook:          "a commit point looks at the lease again before it answers",
	SameLease:           "both looks see the same lease",
	MainLoop:            "every AppendEntries goes through raft's main loop",
	FixedD:              "D never changes within a term",
	EmptySilentVote:     "an empty node does not vote",
	EmptySilentAppend:   "an empty node does not answer AppendEntries",
	NewID:               "a wiped node has a new raft ID",
	AnswerID:            "an answer under another ID than the configuration's counts for nothing",
	OneStep:             "a replacement is two committed steps",
	CreditStampEarly:    "a message is stamped before raft sees it",
	CreditUnknownZero:   "an unknown age is 0",
	CreditOwnAge:        "the leader's own age counts",
	CreditSmallest:      "the smallest age of the first majority counts",
	CreditVoters:        "no credit after a change of the voters",
	Confirm:             "confirm: quorum waits for answers to messages sent after the lower write",
	MarkerPerOpen:       "a marker names an Open, not a term",
	MarkerInData:        "the marker lies in LiteFS's data directory",
	MarkerConnected:     "a replica is marked only while it is connected",
	MarkerHistory:       "a replica is marked only where all it has lies in the opener's history",
	MarkerBeforeGate:    "the opener writes its marker before the gate opens",
	OpenPerGrant:        "every grant of the key needs an Open of its own",
	OperationOfGrant:    "an operation admitted under one grant never reaches LiteFS under another",
	HeldPositions:       "what a majority holds replaces the Open's positions",
	NotBehind:           "the next primary is not behind them",
	InStep:              "the next primary is in step with the newest Open",
	ReportAfterStream:   "a report is read after LiteFS's stream loop has ended",
	AllReport:           "without any Open every voter must have reported",
	Conflicts:           "one transaction with two contents is for the operator",
	MostFirst:           "of those in step the one with the most transactions goes first",
	SetAsideUnderOpen:   "databases are set aside only under a committed Open",
	SetAsideFreshReport: "and against a report of its opener read after ours",
	RecheckAtOpen:       "the Open stands where the report stood that it was chosen by",
	CopiesNamed:         "a commit is acknowledged once every node of the set that raft's log names has it, not any so many",
	CopiesOnly:          "only the opener and the nodes of that set may become primary",
	CopiesCaughtUp:      "another set is written once its nodes have everything that was acknowledged",
	CopiesFrozen:        "nothing is acknowledged between that look and the commit",
	CopiesUnknown:       "nor, where it is unknown what became of it, before a later one is committed",
	CopiesInStep:        "what a node reports to have counts under the Open only that it follows, and is in step with",
	CopiesMarked:        "one of the set that lost its data is in step again once it has all of it, and says so anew",
	CopiesHeld:          "what is recorded as held all of the set hold, and nothing is while that is being changed",
	CopiesClosed:        "a Close that names a successor with everything ends the set",
}
