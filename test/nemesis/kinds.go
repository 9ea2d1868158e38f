package nemesis

import "time"

// kind is one sort of fault.
type kind struct {
	name     string
	weight   int // how often it is chosen beside the others
	nodes    int // fewest that it makes sense for
	from, to time.Duration
	// destroys: a node's data are lost, so that a plan may have only one of these:
	// what is on two nodes is never lost with both.
	destroys bool
	begin    func(*acting) (undo func() error, err error)
}

// Names that others than plans need.
const (
	LateHandoff   = "late handoff"
	LaggingWins   = "primary off while a replica lags"
	PauseBoth     = "primary: both stopped"
	ClockStep     = "clock step"
	CutPrimary    = "primary cut off"
	PausePrimary  = "primary: litefence stopped"
	LoseLastWords = "primary: both killed"
	CutSending    = "primary sends nothing"
	PowerOff      = "primary: power off"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// kinds is in an order that seeds rest on: new ones come last.
var kinds = []kind{
	{name: CutPrimary, weight: 3, from: 200 * ms, to: 8 * sec, begin: cutPrimary(in, out)},
	{name: "primary receives nothing", weight: 2, from: 200 * ms, to: 8 * sec, begin: cutPrimary(in)},
	{name: CutSending, weight: 2, from: 200 * ms, to: 8 * sec, begin: cutPrimary(out)},
	{name: "replica cut off", weight: 1, from: 200 * ms, to: 6 * sec, begin: cutReplica},
	{name: "primary in the minority", weight: 3, nodes: 5, from: sec, to: 8 * sec, begin: halves(true)},
	{name: "majority and minority", weight: 2, nodes: 5, from: sec, to: 8 * sec, begin: halves(false)},
	{name: "bridge", weight: 2, from: sec, to: 8 * sec, begin: bridge},
	{name: "flapping", weight: 2, from: sec, to: 5 * sec, begin: flapping},
	{name: "random links cut", weight: 3, from: sec, to: 8 * sec, begin: randomLinks},
	{name: "packets lost", weight: 2, from: sec, to: 6 * sec, begin: lossy},
	{name: "slow links", weight: 2, from: sec, to: 6 * sec, begin: slow},

	{name: PausePrimary, weight: 2, from: 50 * ms, to: 30 * sec, begin: pause(primary, litefence)},
	{name: "primary: LiteFS stopped", weight: 2, from: 50 * ms, to: 30 * sec, begin: pause(primary, liteFS)},
	{name: PauseBoth, weight: 2, from: 50 * ms, to: 30 * sec, begin: pause(primary, litefence, liteFS)},
	{name: "replica: litefence stopped", weight: 1, from: 50 * ms, to: 10 * sec, begin: pause(replica, litefence)},
	{name: "replica: LiteFS stopped", weight: 1, from: 50 * ms, to: 10 * sec, begin: pause(replica, liteFS)},
	{name: "primary: litefence killed", weight: 2, from: 50 * ms, to: 4 * sec, begin: kill(primary, litefence)},
	{name: "primary: LiteFS killed", weight: 2, from: 50 * ms, to: 4 * sec, begin: kill(primary, liteFS)},
	{name: LoseLastWords, weight: 2, from: 50 * ms, to: 4 * sec, begin: kill(primary, litefence, liteFS)},
	{name: "replica: both killed", weight: 1, from: 50 * ms, to: 4 * sec, begin: kill(replica, litefence, liteFS)},
	{name: "all killed", weight: 1, from: 50 * ms, to: sec, begin: killAll},
	{name: "application killed", weight: 1, from: 50 * ms, to: 500 * ms, begin: killApp},
	{name: "application stopped", weight: 1, from: 100 * ms, to: 5 * sec, begin: pauseApp},

	{name: "disk full: LiteFS", weight: 1, from: sec, to: 4 * sec, begin: fill(liteFSDisk)},
	{name: "disk full: litefence", weight: 1, from: sec, to: 4 * sec, begin: fill(raftDisk)},
	{name: "raft's store lost", weight: 1, from: 50 * ms, to: 2 * sec, destroys: true, begin: loseRaft},
	{name: "LiteFS's data lost", weight: 1, from: 50 * ms, to: 2 * sec, destroys: true, begin: loseLiteFS},
	{name: ClockStep, weight: 2, from: sec, to: 4 * sec, begin: clockStep},

	{name: "handoff", weight: 2, from: 100 * ms, to: 500 * ms, begin: handoff},
	{name: "fence by hand", weight: 2, from: 500 * ms, to: 4 * sec, begin: fence},
	{name: LateHandoff, weight: 2, from: 3 * sec, to: 4 * sec, begin: lateHandoff},
	{name: LaggingWins, weight: 1, from: 2 * sec, to: 3 * sec, begin: laggingWins},
	{name: PowerOff, weight: 5, from: 50 * ms, to: 6 * sec, begin: powerOff},
}
