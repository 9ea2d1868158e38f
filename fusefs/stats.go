package fusefs

import (
	"sync/atomic"
	"time"
)

// Stats are counters since the mount was made.
type Stats struct {
	Admitted map[string]uint64 // by kind of file
	Refused  map[string]uint64 // by kind of file; in observe mode: would have been refused
	// Suspended counts, by kind of file, writes and lock requests that were
	// held while fenced, whatever became of them.
	Suspended map[string]uint64

	InDoubt    uint64 // commit points whose second look failed
	Published  uint64 // WAL transactions committed inside the commit frame's write
	Cancelled  uint64 // complete WAL transactions that were taken back
	Recovered  uint64 // private wal-index headers dropped so that SQLite recovers
	Carried    uint64 // times LiteFS's wal-index was carried into ours
	Dropped    uint64 // times the cached pages of a database were dropped
	Poisoned   uint64 // write transactions cut off by a fence
	CutReaders uint64 // read transactions cut off by a change of role
	Repairs    uint64 // hot journals rolled back through LiteFS
	RepairErrs uint64

	LocksHeld int           // lock slots held below, all databases
	Inflight  int           // admitted writes that have not left
	Drain     time.Duration // of the last fence
	Fences    uint64
	Observing bool // nothing is refused
}

type counters struct {
	admitted, refused, suspended            [kinds]atomic.Uint64
	inDoubt, published, cancelled, recover  atomic.Uint64
	carried, poisoned, cut, repairs, failed atomic.Uint64
	dropped                                 atomic.Uint64
}

func byKind(c *[kinds]atomic.Uint64) map[string]uint64 {
	m := make(map[string]uint64, kinds)
	for k := range c {
		if n := c[k].Load(); n > 0 {
			m[Kind(k).String()] = n
		}
	}
	return m
}

// Stats returns the counters. It never waits, whatever LiteFS does. Safe for
// concurrent use.
func (f *FS) Stats() Stats {
	c := &f.count
	return Stats{
		Admitted: byKind(&c.admitted), Refused: byKind(&c.refused), Suspended: byKind(&c.suspended),
		InDoubt: c.inDoubt.Load(), Published: c.published.Load(), Cancelled: c.cancelled.Load(),
		Recovered: c.recover.Load(), Carried: c.carried.Load(), Dropped: c.dropped.Load(), Poisoned: c.poisoned.Load(),
		CutReaders: c.cut.Load(), Repairs: c.repairs.Load(), RepairErrs: c.failed.Load(),
		LocksHeld: f.locksHeld(), Inflight: f.gate.Inflight(), Drain: f.gate.DrainTime(),
		Fences: f.gate.fences.Load(), Observing: !f.cfg.Enforce,
	}
}
