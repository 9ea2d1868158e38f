package fusefs

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func fakeGate() (*Gate, *atomic.Int64) {
	var now atomic.Int64
	g := NewGate()
	g.now = now.Load
	return g, &now
}

func TestGateStartsShut(t *testing.T) {
	g := NewGate()
	_, ok := g.Enter()
	require.False(t, ok)
	require.False(t, g.Admitting())
	require.NoError(t, g.Fence(context.Background()))
}

func TestGateClosesByTheClockAlone(t *testing.T) {
	g, now := fakeGate()
	require.NoError(t, g.Open(1, 100))
	tk, ok := g.Enter()
	require.True(t, ok)
	require.True(t, g.Valid(tk))
	now.Store(100)
	require.False(t, g.Valid(tk))
	_, ok = g.Enter()
	require.False(t, ok)
	g.Extend(2, 500)
	require.False(t, g.Admitting(), "another epoch's deadline")
	g.Extend(1, 500)
	require.True(t, g.Admitting())
	require.True(t, g.Valid(tk))
	g.Extend(1, 50)
	require.True(t, g.Admitting(), "a late message must not shorten the lease")
	g.Leave(tk)
}

func TestGateFenceWaitsAndSecondLookHolds(t *testing.T) {
	g, _ := fakeGate()
	var settled atomic.Bool
	hook := func(context.Context) error { settled.Store(true); return nil }
	g.settle.Store(&hook)
	require.NoError(t, g.Open(1, 100))
	tk, _ := g.Enter()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, g.Fence(ctx), context.Canceled)
	require.False(t, settled.Load(), "not settled while a write is in flight")
	require.False(t, g.Admitting(), "but shut")
	require.True(t, g.Valid(tk), "those inside go on")
	require.ErrorIs(t, g.Open(2, 100), ErrInFlight)
	done := make(chan error)
	go func() { done <- g.Fence(context.Background()) }()
	g.Leave(tk)
	require.NoError(t, <-done)
	require.True(t, settled.Load())
	require.NoError(t, g.Open(2, 100))
}

func TestGateRevokeIsForGood(t *testing.T) {
	g, _ := fakeGate()
	require.NoError(t, g.Open(1, 100))
	tk, _ := g.Enter()
	g.Revoke()
	require.False(t, g.Valid(tk))
	g.Extend(1, 1000)
	require.False(t, g.Valid(tk))
	require.False(t, g.Admitting())
	require.ErrorIs(t, g.Open(1, 100), ErrRevoked)
	g.Leave(tk)
	require.NoError(t, g.Open(2, 100))
	require.False(t, g.Valid(tk), "a ticket of another epoch")
	require.ErrorIs(t, g.Open(1, 100), ErrRevoked, "an older epoch")
}

// The model: who is inside, under which epoch, and whether the grant stands.
func TestGateModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g, now := fakeGate()
		var epoch uint64
		var until int64
		shut, dead := true, true
		inside := map[Ticket]int{}
		count := 0
		valid := func() bool { return !dead && now.Load() < until }
		rt.Repeat(map[string]func(*rapid.T){
			"open": func(rt *rapid.T) {
				e := epoch + uint64(rapid.IntRange(0, 2).Draw(rt, "e"))
				u := now.Load() + rapid.Int64Range(-5, 50).Draw(rt, "u")
				err := g.Open(e, u)
				switch {
				case e == epoch && (dead || epoch == 0):
					require.Error(rt, err)
				case e == epoch:
					require.NoError(rt, err)
					shut, until = false, max(until, u)
				case count > 0:
					require.ErrorIs(rt, err, ErrInFlight)
					shut, dead = true, true
				default:
					require.NoError(rt, err)
					epoch, until, shut, dead = e, u, false, false
				}
			},
			"extend": func(rt *rapid.T) {
				e := epoch + uint64(rapid.IntRange(0, 1).Draw(rt, "e"))
				u := now.Load() + rapid.Int64Range(-5, 50).Draw(rt, "u")
				g.Extend(e, u)
				if e == epoch && !dead {
					until = max(until, u)
				}
			},
			"revoke": func(*rapid.T) { g.Revoke(); shut, dead = true, true },
			"tick":   func(rt *rapid.T) { now.Add(rapid.Int64Range(0, 20).Draw(rt, "dt")) },
			"enter": func(rt *rapid.T) {
				tk, ok := g.Enter()
				require.Equal(rt, !shut && valid(), ok)
				if ok {
					inside[tk]++
					count++
				}
			},
			"leave": func(rt *rapid.T) {
				for tk := range inside {
					g.Leave(tk)
					count--
					if inside[tk]--; inside[tk] == 0 {
						delete(inside, tk)
					}
					break
				}
			},
			"fence": func(rt *rapid.T) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				err := g.Fence(ctx)
				require.Equal(rt, count > 0, err != nil)
				shut = true
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, count, g.Inflight())
				require.Equal(rt, !shut && valid(), g.Admitting())
				for tk := range inside {
					require.Equal(rt, tk.Epoch() == epoch && valid(), g.Valid(tk))
				}
			},
		})
	})
}

// After Fence returns nobody is inside, whatever runs beside it.
func TestGateFenceUnderLoad(t *testing.T) {
	g := NewGate()
	var inside atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if tk, ok := g.Enter(); ok {
					inside.Add(1)
					inside.Add(-1)
					g.Leave(tk)
				}
			}
		})
	}
	for epoch := uint64(1); epoch < 300; epoch++ {
		require.NoError(t, g.Open(epoch, BootNow()+int64(time.Hour)))
		if rand.IntN(2) == 0 {
			tk, ok := g.Enter()
			require.True(t, ok)
			g.Leave(tk)
		}
		require.NoError(t, g.Fence(context.Background()))
		require.Zero(t, inside.Load())
	}
	close(stop)
	wg.Wait()
	require.Zero(t, g.Inflight())
}

func BenchmarkGate(b *testing.B) {
	g := NewGate()
	require.NoError(b, g.Open(1, forever))
	for b.Loop() {
		tk, _ := g.Enter()
		g.Leave(tk)
	}
}
