package fusefs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrInFlight is wrapped by Open when writes of an earlier grant have not left.
var ErrInFlight = errors.New("writes of an earlier grant are still in flight")

// ErrRevoked is wrapped by Open for a grant that was revoked.
var ErrRevoked = errors.New("grant was revoked")

var errReopened = errors.New("the gate was opened again meanwhile")

const (
	doorShut  = int64(1) << 62 // the closed bit; what is below it counts who is inside
	countMask = doorShut - 1
)

// grant is one lease of one epoch. Counting inside the grant, not in the gate,
// makes it impossible for a writer of one epoch to be taken for one of another.
type grant struct {
	epoch   uint64
	word    atomic.Int64 // doorShut | number of admitted operations
	until   atomic.Int64 // CLOCK_BOOTTIME, ns
	revoked atomic.Bool
	shutAt  atomic.Int64 // CLOCK_BOOTTIME, ns, of the first Fence or Revoke since it was opened; 0 = none
	settled atomic.Bool  // a Fence has come to its end since it was opened
}

func (g *grant) valid(now int64) bool { return !g.revoked.Load() && now < g.until.Load() }

// Ticket proves an admission. It belongs to one grant for ever.
type Ticket struct{ g *grant }

// Epoch returns the epoch under which the ticket was admitted; 0 = none.
func (t Ticket) Epoch() uint64 {
	if t.g == nil {
		return 0
	}
	return t.g.epoch
}

// Gate admits writes while a grant is open. One atomic word (closed bit and
// count) and one clock read per write; nothing waits for a timer, because a
// process that was stopped would be late. Safe for concurrent use.
type Gate struct {
	cur atomic.Pointer[grant]
	now func() int64

	mu      sync.Mutex
	drained chan struct{} // closed and replaced when the last one leaves a shut door

	held atomic.Pointer[chan struct{}] // closed when those who are held are to look again; nil = nobody is

	settling sync.Mutex
	settle   atomic.Pointer[func(context.Context) error]
	drain    atomic.Int64 // ns, of the last Fence
	drains   Timing       // of every Fence
	fences   atomic.Uint64
}

// NewGate returns a gate that is shut.
func NewGate() *Gate {
	g := &Gate{now: BootNow, drained: make(chan struct{})}
	shut := &grant{}
	shut.shutAt.Store(g.now())
	shut.word.Store(doorShut)
	shut.revoked.Store(true)
	g.cur.Store(shut)
	return g
}

// Open admits writes under epoch until CLOCK_BOOTTIME reads until (ns). The
// same epoch may be opened again after Fence, never after Revoke. It returns
// ErrInFlight while a write of an earlier epoch has not left: one admitted
// under one grant must not reach LiteFS under another.
func (g *Gate) Open(epoch uint64, until int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.cur.Load()
	switch {
	case old.epoch == epoch && old.revoked.Load():
		return fmt.Errorf("open gate, epoch %d: %w", epoch, ErrRevoked)
	case old.epoch == epoch:
		raise(&old.until, until)
		old.word.And(^doorShut)
		old.shutAt.Store(0)
		old.settled.Store(false)
		g.tellHeld()
		return nil
	case epoch < old.epoch:
		return fmt.Errorf("open gate, epoch %d: %w, epoch %d is newer", epoch, ErrRevoked, old.epoch)
	}
	old.revoked.Store(true)
	old.word.Or(doorShut)
	if !emptied(old) {
		return fmt.Errorf("open gate, epoch %d: %w (%d of epoch %d)", epoch, ErrInFlight, old.word.Load()&countMask, old.epoch)
	}
	next := &grant{epoch: epoch}
	next.until.Store(until)
	g.cur.Store(next)
	g.tellHeld()
	return nil
}

// emptied reports whether nobody is inside a shut door. Enter counts itself
// before it sees that the door is shut, for some nanoseconds; that is waited
// out.
func emptied(g *grant) bool {
	for range 1000 {
		if g.word.Load() == doorShut {
			return true
		}
		runtime.Gosched()
	}
	return false
}

func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}

// Extend moves the deadline of epoch forward. It is ignored for another epoch
// and after Revoke, and never shortens: a late message must not end a lease
// that a newer one has prolonged.
func (g *Gate) Extend(epoch uint64, until int64) {
	if c := g.cur.Load(); c.epoch == epoch && !c.revoked.Load() {
		raise(&c.until, until)
		g.tellHeld() // it may have lapsed
	}
}

// Revoke ends the grant for good: nothing is admitted and no second look
// succeeds. It does not wait for those inside.
func (g *Gate) Revoke() {
	c := g.cur.Load()
	c.shutAt.CompareAndSwap(0, g.now())
	c.revoked.Store(true)
	c.word.Or(doorShut)
}

// Fence shuts the door, waits until every admitted write has left and then
// runs the file system's settle hook. Those inside go on: their second looks
// succeed while the lease lasts. Idempotent. When ctx ends first the door
// stays shut, and nothing has been settled.
func (g *Gate) Fence(ctx context.Context) error {
	start := time.Now()
	c := g.cur.Load()
	c.shutAt.CompareAndSwap(0, g.now())
	c.word.Or(doorShut)
	for {
		g.mu.Lock()
		wait := g.drained
		g.mu.Unlock()
		word := c.word.Load()
		if word == doorShut {
			break
		}
		if word&doorShut == 0 {
			return fmt.Errorf("fence: %w", errReopened)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return fmt.Errorf("fence: %d writes in flight: %w", c.word.Load()&countMask, ctx.Err())
		}
	}
	took := time.Since(start)
	g.drain.Store(int64(took))
	g.drains.Add(took)
	g.fences.Add(1)
	g.settling.Lock()
	defer g.settling.Unlock()
	if hook := g.settle.Load(); hook != nil {
		if err := (*hook)(ctx); err != nil {
			return err
		}
	}
	c.settled.Store(true)
	g.tellHeld()
	return nil
}

// Enter admits one operation, or not. An admitted one must Leave.
func (g *Gate) Enter() (Ticket, bool) {
	c := g.cur.Load()
	if c.word.Load()&doorShut != 0 {
		// Not counted: a crowd before a shut door must not look to Open like
		// somebody inside.
		return Ticket{}, false
	}
	if c.word.Add(1)&doorShut == 0 && c.valid(g.now()) {
		return Ticket{c}, true
	}
	g.Leave(Ticket{c})
	return Ticket{}, false
}

// Leave ends an admitted operation.
func (g *Gate) Leave(t Ticket) {
	if t.g == nil {
		return
	}
	if t.g.word.Add(-1) == doorShut {
		g.mu.Lock()
		close(g.drained)
		g.drained = make(chan struct{})
		g.mu.Unlock()
	}
}

// Valid is the second look: the same grant, not revoked, not over. That the
// door was shut meanwhile does not matter.
func (g *Gate) Valid(t Ticket) bool {
	return t.g != nil && t.g == g.cur.Load() && t.g.valid(g.now())
}

// Admitting reports whether a write would be admitted now.
func (g *Gate) Admitting() bool {
	c := g.cur.Load()
	return c.word.Load()&doorShut == 0 && c.valid(g.now())
}

// DoorOpen is Admitting without the look at the clock: the lease may have run
// out, but nobody has been told yet.
func (g *Gate) DoorOpen() bool {
	c := g.cur.Load()
	return c.word.Load()&doorShut == 0 && !c.revoked.Load()
}

// Inflight returns the number of admitted operations that have not left.
func (g *Gate) Inflight() int { return int(g.cur.Load().word.Load() & countMask) }

// DrainTime returns how long the last Fence waited for those inside.
func (g *Gate) DrainTime() time.Duration { return time.Duration(g.drain.Load()) }

// DrainTimes returns how long Fences waited for those inside.
func (g *Gate) DrainTimes() Times { return g.drains.Times() }
