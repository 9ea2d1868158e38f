package fusefs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// nemesis moves the gate until the time is over, and leaves it open.
func (x *torture) nemesis(i int) {
	rng := x.rng(i)
	for time.Now().Before(x.end) {
		x.sleep(rng, []time.Duration{20, 150, 600}[rng.IntN(3)]*time.Millisecond)
		x.doubts.Store(int64(rng.IntN(2) * 20))
		start := monotonic()
		switch n := rng.IntN(10); {
		case n < 5:
			x.fenceFor(rng, rng.IntN(3) == 0)
		case n < 6:
			x.expire(rng)
		case n < 7:
			x.sameEpoch(rng)
		case n < 8:
			x.changeOfRole(rng)
		default:
			x.haltHeldBack()
			start = monotonic()
		}
		x.shutSince(start)
		x.alive()
	}
	x.doubts.Store(0)
}

// finale fences once more, until every reader has read and a write has been
// refused, and opens until writes have come back: so each run has had both,
// however slow the machine was.
func (x *torture) finale() {
	start := monotonic()
	over, from := x.shut(), monotonic()
	x.comes(func() bool {
		reads, _, no := x.since(from)
		return reads >= 4 && no >= 1
	}, "reads go on while fenced, and writes are refused")
	over()
	x.open(forever)
	x.shutSince(start)
	from = monotonic()
	x.comes(func() bool {
		reads, yes, _ := x.since(from)
		return reads >= 4 && yes >= 3
	}, "writes come back")
}

// comes waits for what must come, on a busy machine too.
func (x *torture) comes(cond func() bool, what string) {
	x.t.Helper()
	require.Eventually(x.t, cond, jobTimeout, 5*time.Millisecond, what)
}

// shutSince records that the gate was, for a part of the time, not open.
func (x *torture) shutSince(start int64) {
	x.hist.mu.Lock()
	defer x.hist.mu.Unlock()
	x.hist.shut = append(x.hist.shut, span{start, monotonic()})
}

// since counts what has begun and ended since.
func (x *torture) since(from int64) (reads, acknowledged, failed int) {
	x.hist.mu.Lock()
	defer x.hist.mu.Unlock()
	for _, l := range x.hist.looks {
		if l.on == onPrimary && l.start >= from && l.reply.ok() {
			reads++
		}
	}
	for _, a := range x.hist.attempts {
		switch {
		case a.reply == nil || a.abort || a.start < from:
		case a.reply.ok():
			acknowledged++
		default:
			failed++
		}
	}
	return reads, acknowledged, failed
}

func (x *torture) did(what string, n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count[what] += n
}

func (x *torture) alive() {
	for _, r := range []*rig{x.p, x.q} {
		select {
		case <-r.exit:
			x.stop.Store(true)
			require.FailNow(x.t, "a LiteFS has exited", r.url)
		default:
		}
	}
}

// shut engages the fence, and returns what ends the interval in which nothing
// may pass.
func (x *torture) shut() (over func()) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	x.p.setState(policy.FenceState{Fenced: true, Reason: policy.ReasonStale, Node: "n1", Since: time.Unix(1700000000, 0)})
	require.NoError(x.t, x.p.gate.Fence(ctx))
	start, pos := monotonic(), x.p.pos("db")
	return func() {
		now := x.p.pos("db")
		require.Equal(x.t, pos, now, "nothing moves while fenced")
		x.hist.mu.Lock()
		x.hist.fenced = append(x.hist.fenced, span{start, monotonic()})
		x.hist.mu.Unlock()
	}
}

func (x *torture) open(until int64) {
	x.epoch++
	x.p.setState(policy.FenceState{Node: "n1", Primary: "n1"})
	require.NoError(x.t, x.p.gate.Open(x.epoch, until))
}

func (x *torture) fenceFor(rng *rand.Rand, revoke bool) {
	if revoke {
		x.did("revocations", 1)
		x.p.gate.Revoke()
		x.sleep(rng, 2*time.Millisecond)
	}
	over := x.shut()
	x.sleep(rng, []time.Duration{5, 50, 300}[rng.IntN(3)]*time.Millisecond)
	over()
	x.open(forever)
	x.did("fences", 1)
}

// expire lets a lease run out in the midst of writes, as it does where the
// other nodes fall silent.
func (x *torture) expire(rng *rand.Rand) {
	x.shut()()
	x.open(BootNow() + int64(30*time.Millisecond))
	for range rng.IntN(5) {
		x.sleep(rng, 10*time.Millisecond)
		x.p.gate.Extend(x.epoch, BootNow()+int64(30*time.Millisecond))
	}
	x.sleep(rng, 100*time.Millisecond)
	over := x.shut()
	x.sleep(rng, 20*time.Millisecond)
	over()
	x.open(forever)
	x.did("leases run out", 1)
}

// sameEpoch shuts and opens the door under one grant: what had begun goes on,
// or was cut off; both must be whole.
func (x *torture) sameEpoch(rng *rand.Rand) {
	over := x.shut()
	x.sleep(rng, 20*time.Millisecond)
	over()
	x.p.setState(policy.FenceState{Node: "n1", Primary: "n1"})
	require.NoError(x.t, x.p.gate.Open(x.epoch, forever))
	x.did("fences, same epoch", 1)
}

// changeOfRole does to the mount what one does: fenced, new readers held back,
// old ones cut off after a grace, and LiteFS recovers the database, which HALT
// makes it do by the same code.
func (x *torture) changeOfRole(rng *rand.Rand) {
	x.p.gate.Revoke()
	over := x.shut()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	start := monotonic()
	release := x.p.fs.Quiesce(ctx, time.Duration(rng.IntN(60))*time.Millisecond)
	err := x.halt(ctx, "db")
	release()
	x.hist.mu.Lock()
	x.hist.cuts = append(x.hist.cuts, span{start, monotonic()})
	x.hist.mu.Unlock()
	require.NoError(x.t, err, "LiteFS recovers when nobody reads")
	over()
	x.open(forever)
	x.did("changes of role", 1)
}

func (x *torture) haltHeldBack() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	free := x.p.fs.dbs.get("db").pause.start()
	defer free()
	if err := x.halt(ctx, "db"); err != nil {
		x.did("HALTs, readers held back, in vain", 1)
		return
	}
	x.did("HALTs, readers held back", 1)
}

// halter takes LiteFS's HALT lock beside everything else, with no help: LiteFS
// tries for 10 s and may give up.
func (x *torture) halter(i int) {
	rng := x.rng(i)
	n, vain := 0, 0
	for x.running() {
		x.sleep(rng, time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		if err := x.halt(ctx, "db"); err != nil {
			vain++
		}
		cancel()
		n++
	}
	x.did("HALTs, unaided", n)
	x.did("HALTs, unaided, in vain", vain)
}

var haltIDs struct {
	sync.Mutex
	last int
}

// halt is rig.halt with the promise that LiteFS is let go whatever happened: a
// lock that is taken just when we give up would stop everybody for 30 s.
func (x *torture) halt(ctx context.Context, db string) error {
	haltIDs.Lock()
	haltIDs.last++
	id := haltIDs.last
	haltIDs.Unlock()
	err := x.haltRequest(ctx, "POST", db, id)
	free, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if freed := x.haltRequest(free, "DELETE", db, id); err == nil {
		err = freed
	}
	return err
}

func (x *torture) haltRequest(ctx context.Context, method, db string, id int) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/halt?name=%s&id=%d", x.p.url, db, id), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Litefs-Id", "00000000000000AA")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s /halt: %s", method, resp.Status)
	}
	return nil
}

// confirm makes some second looks fail: commits in doubt.
func (x *torture) confirm(rng *rand.Rand) func() error {
	var mu sync.Mutex
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		if int64(rng.IntN(1000)) < x.doubts.Load() {
			return errors.New("planted: no majority")
		}
		return nil
	}
}
