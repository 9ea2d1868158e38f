package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/litefence/litefence/policy"
)

const (
	statusEvery  = time.Second            // at the latest, between two status events
	statusPause  = 200 * time.Millisecond // at the least
	leaseEvery   = 100 * time.Millisecond // between two lease events
	sendWithin   = 2 * time.Second        // a client that takes no bytes for this long is dropped
	sharedWithin = 400 * time.Millisecond // for what a shared status asks of LiteFS
)

// serveEvents is GET /v1/events: server-sent events. "status" with what
// /v1/status says comes first, at every change and at least once a second;
// "change" with a policy.Event comes for every change, those that are kept first.
// "lease" with the lease_left_ms alone comes ten times a second while this node
// holds one: it is refilled far more often than anything else changes.
func (d *daemon) serveEvents(w http.ResponseWriter, r *http.Request) {
	after := uint64(0)
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		var err error
		if after, err = strconv.ParseUint(id, 10, 64); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("Last-Event-ID: %q is not the id of an event: a whole number", id))
			return
		}
	}
	kept, watching := d.events.watch(after)
	if watching == nil {
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("%d clients watch already, and no more are taken", maxWatchers))
		return
	}
	defer d.events.leave(watching)
	s := &stream{w: w, control: http.NewResponseController(w)}
	// The server's limit is for the reading of the request; passed, it would end
	// the request's context.
	_ = s.control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy that buffers would show the past
	if r.Method == http.MethodHead {
		return
	}
	s.status(d.sharedStatus(r.Context()))
	for _, e := range kept {
		s.change(e)
	}
	d.stream(r.Context(), s, watching)
}

// stream sends until the client or the daemon goes, or the client is too slow.
func (d *daemon) stream(ctx context.Context, s *stream, watching *watcher) {
	due := time.NewTimer(statusEvery)
	defer due.Stop()
	lease := time.NewTicker(leaseEvery)
	defer lease.Stop()
	sent := time.Now()
	for s.err == nil {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-watching.C:
			if !ok {
				return
			}
			s.change(e)
			due.Reset(max(0, statusPause-time.Since(sent)))
		case <-due.C:
			s.status(d.sharedStatus(ctx))
			sent = time.Now()
			due.Reset(statusEvery)
		case <-lease.C:
			if left := d.node.LeaseLeft(); left > 0 {
				s.send("event: lease\n", fmt.Appendf(nil, `{"lease_left_ms":%d}`, left.Milliseconds()))
			}
		}
	}
}

// stream writes server-sent events; err is the first failure.
type stream struct {
	w       io.Writer
	control *http.ResponseController
	err     error
}

func (s *stream) status(data []byte) { s.send("event: status\n", data) }

func (s *stream) change(e policy.Event) {
	data, err := json.Marshal(e)
	if err != nil {
		s.err = err
		return
	}
	s.send(fmt.Sprintf("event: change\nid: %d\n", e.ID), data)
}

func (s *stream) send(head string, data []byte) {
	if s.err != nil {
		return
	}
	if s.err = s.control.SetWriteDeadline(time.Now().Add(sendWithin)); s.err != nil {
		return
	}
	if _, s.err = fmt.Fprintf(s.w, "%sdata: %s\n\n", head, data); s.err == nil {
		s.err = s.control.Flush()
	}
}

// sharedStatus is the status as JSON, made once for all who watch: it asks
// LiteFS. One that is older than the newest event, or than statusPause, is made
// anew.
func (d *daemon) sharedStatus(ctx context.Context) []byte {
	d.shared.Lock()
	defer d.shared.Unlock()
	_, _, last := d.events.count()
	if d.shared.made && d.shared.last == last && time.Since(d.shared.at) < statusPause {
		return d.shared.data
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sharedWithin)
	defer cancel()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(d.status(ctx)); err != nil {
		d.log.Error("status does not encode", "err", err)
		return []byte("{}")
	}
	d.shared.made, d.shared.last, d.shared.at = true, last, time.Now()
	d.shared.data = bytes.TrimSpace(b.Bytes())
	return d.shared.data
}

// sharedStatus is the last one made.
type sharedStatus struct {
	sync.Mutex
	made bool
	last uint64 // newest event when it was made
	at   time.Time
	data []byte
}
