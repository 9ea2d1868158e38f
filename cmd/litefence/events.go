package main

import (
	"slices"
	"sync"
	"time"

	"github.com/litefence/litefence/policy"
)

const (
	keptEvents  = 256 // that a new client is told of
	maxWatchers = 64
	// watcherBacklog is how many events a client may be behind before it is
	// dropped: whoever reads that slowly begins anew, from its Last-Event-ID.
	watcherBacklog = 64
)

// events is where every change of this node is handed out. It never waits for
// anybody. Safe for concurrent use.
type events struct {
	mu       sync.Mutex
	last     uint64
	kept     []policy.Event // oldest first
	watchers map[*watcher]bool
	seen     func(policy.Event) // optional; called with mu held, in order
	dropped  uint64
	closed   bool
}

// watcher is one client. C is closed when it was too slow, or at the end.
type watcher struct{ C chan policy.Event }

func newEvents(seen func(policy.Event)) *events {
	return &events{watchers: map[*watcher]bool{}, seen: seen}
}

// publish numbers e and hands it out.
func (h *events) publish(e policy.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	e.ID = h.last
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if len(h.kept) == keptEvents {
		h.kept = slices.Delete(h.kept, 0, 1)
	}
	h.kept = append(h.kept, e)
	if h.seen != nil {
		h.seen(e)
	}
	for w := range h.watchers {
		select {
		case w.C <- e:
		default:
			h.dropped++
			h.dropLocked(w)
		}
	}
}

// watch returns the kept events after the one given, and a watcher for those to
// come; nil where there are too many already.
func (h *events) watch(after uint64) (kept []policy.Event, w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.watchers) >= maxWatchers {
		return nil, nil
	}
	if after > h.last {
		after = 0 // of an earlier process
	}
	i, _ := slices.BinarySearchFunc(h.kept, after+1, func(e policy.Event, id uint64) int { return int(e.ID) - int(id) })
	w = &watcher{make(chan policy.Event, watcherBacklog)}
	h.watchers[w] = true
	return slices.Clone(h.kept[i:]), w
}

// leave ends a watcher; it may have ended already.
func (h *events) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropLocked(w)
}

func (h *events) dropLocked(w *watcher) {
	if h.watchers[w] {
		delete(h.watchers, w)
		close(w.C)
	}
}

// close ends every watcher, and takes no more.
func (h *events) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		h.dropLocked(w)
	}
}

// count returns how many watch, how many were dropped, and the newest ID.
func (h *events) count() (watching int, dropped, last uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers), h.dropped, h.last
}
