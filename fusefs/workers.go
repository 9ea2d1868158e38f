package fusefs

import (
	"context"
	"sync"
)

// workers are the mount's own goroutines; none outlives it.
type workers struct {
	mu     sync.Mutex
	wg     sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
}

func (w *workers) init() { w.ctx, w.cancel = context.WithCancel(context.Background()) }

// do runs fn unless the mount has ended.
func (w *workers) do(fn func(context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() == nil {
		w.wg.Go(func() { fn(w.ctx) })
	}
}

func (w *workers) stop() {
	w.mu.Lock()
	w.cancel()
	w.mu.Unlock()
	w.wg.Wait()
}
