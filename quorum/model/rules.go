package model

// A Rule is one rule of DESIGN.md's "The lease" or "Who may become primary".
type Rule uint8

// A World is one of the two halves of the model.
type World uint8

// The worlds.
const (
	Lease  World = iota // raft, clocks, gates
	Frozen              // the same, on machines whose clocks may stop (confirm: quorum)
	Data                // databases, markers, reports, elections
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

// The rules of the lease.
const (
	Wait Rule = iota
	WaitBeforeOpen
	WaitsPreviousD
	WaitFromMajority
	Drift
	DriftTwice
	OpenCommitted
	GrantOfTerm
	Barrier
	CloseByOpener
	NoReopen
	SendTime
	OwnTerm
	MajorityOfAll
	AloneBounded
	BootClock
	ClockAtWrite
	DeadAtVote
	SecondLook
	SameLease
	MainLoop
	FixedD
	EmptySilentVote
	EmptySilentAppend
	NewID
	AnswerID
	OneStep
	CreditStampEarly
	CreditUnknownZero
	CreditOwnAge
	CreditSmallest
	CreditVoters
	Confirm

	// Who may become primary.
	MarkerPerOpen
	MarkerInData
	MarkerConnected
	MarkerHistory
	MarkerBeforeGate
	OpenPerGrant
	OperationOfGrant
	HeldPositions
	NotBehind
	InStep
	ReportAfterStream
	AllReport
	Conflicts
	MostFirst
	SetAsideUnderOpen
	SetAsideFreshReport
	RecheckAtOpen
	numRules
)
