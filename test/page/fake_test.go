package page

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/cmd/litefence/page"
)

// object is JSON in the making.
type object map[string]any

// fake speaks the wire of /v1/events, for what a real cluster does not do on
// demand: all reasons, hostile names, a refusal.
type fake struct {
	t    *testing.T
	addr string

	mu      sync.Mutex
	server  *http.Server
	status  object
	events  []object
	changed chan struct{} // closed when status or events change
	full    bool          // 503, as with too many clients
	silent  bool          // the connection stands, nothing comes
}

func newFake(t *testing.T, status object) *fake {
	t.Helper()
	f := &fake{t: t, addr: "127.0.0.1:0", status: status, changed: make(chan struct{})}
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *fake) url() string { return "http://" + f.addr + "/" }

// start listens, at the address it had before.
func (f *fake) start() {
	f.t.Helper()
	l, err := net.Listen("tcp", f.addr)
	require.NoError(f.t, err)
	f.addr = l.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", page.Handler())
	mux.HandleFunc("GET /v1/events", f.serveEvents)
	f.server = &http.Server{Handler: mux}
	go func() { _ = f.server.Serve(l) }()
}

func (f *fake) stop() { _ = f.server.Close() }

func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// set changes fields of the status.
func (f *fake) set(fields object) {
	f.change(func() {
		f.status = maps.Clone(f.status)
		maps.Copy(f.status, fields)
	})
}

func (f *fake) event(e object) { f.change(func() { f.events = append(f.events, e) }) }

func (f *fake) serveEvents(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	full := f.full
	f.mu.Unlock()
	if full {
		http.Error(w, "too many clients", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	beat, tick := time.NewTicker(100*time.Millisecond), time.NewTicker(time.Second)
	defer beat.Stop()
	defer tick.Stop()
	sent := 0
	for {
		f.mu.Lock()
		status, events, changed, silent := f.status, f.events, f.changed, f.silent
		f.mu.Unlock()
		for ; !silent && sent < len(events); sent++ {
			fmt.Fprintf(w, "event: change\nid: %v\ndata: %s\n\n", events[sent]["id"], encode(events[sent]))
		}
		if !silent {
			now := maps.Clone(status)
			now["time"] = time.Now()
			fmt.Fprintf(w, "event: status\ndata: %s\n\n", encode(now))
		}
		w.(http.Flusher).Flush()
	ticks:
		for {
			select {
			case <-r.Context().Done():
				return
			case <-changed:
				break ticks
			case <-tick.C:
				break ticks
			case <-beat.C:
				if left := status["lease_left_ms"]; left != 0 && !silent {
					fmt.Fprintf(w, "event: lease\ndata: {\"lease_left_ms\":%v}\n\n", left)
					w.(http.Flusher).Flush()
				}
			}
		}
	}
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// primary is the status of a healthy primary of three.
func primary() object {
	pos := object{"app.db": "0000000000000412/8000000000000001", "sessions.db": "0000000000000007/8000000000000002"}
	peer := func(n int, rtt, other float64) object {
		return object{"node": fmt.Sprintf("n%d", n), "address": fmt.Sprintf("10.0.0.%d:7400", n), "answers": true, "rtt_ms": rtt,
			"fenced": true, "reason": "replica", "positions": pos, "in_step": true, "member": "voter", "last_answer_s": 0.2,
			"hears": object{"n1": rtt, fmt.Sprintf("n%d", 5-n): other}, "health_status": "healthy", "health": object{"is_healthy": true, "reason": ""}}
	}
	return object{
		"node": "n1", "mode": "serve", "address": "10.0.0.1:7400", "version": "v0.6.0", "cluster": "0b5d2f6a", "term": 4,
		"leader": "n1", "is_leader": true, "role": "primary", "fenced": false, "reason": "", "writable": true,
		"since": time.Now().Add(-754 * time.Second), "lease_left_ms": 281, "lease_ms": 300,
		"has_quorum": true, "can_commit_writes": true, "stale_leadership": false, "state": "healthy",
		"last_heartbeat_from": object{"n2": 0.031, "n3": 0.028}, "positions": pos, "in_step": true, "open": 17, "primary": "n1",
		"peers": []any{peer(2, 0.42, 0.61), peer(3, 0.38, 0.55)}, "member": "voter", "follows_leader": false,
		"health_status": "healthy", "health": object{"is_healthy": true, "reason": ""},
		"mounted": true, "lower": "/litefs", "mount": "/fenced", "enforce": true, "insecure": false, "ready": true,
		"writes": object{"Admitted": object{"db": 9124, "wal": 44210}, "Refused": object{"db": 3}, "InDoubt": 0},
	}
}

// cutOff is s on a node that nobody answers and that knows no leader.
func cutOff(s object) object {
	s = maps.Clone(s)
	maps.Copy(s, object{"leader": "", "is_leader": false, "role": "replica", "writable": false, "fenced": true, "reason": "no-leader",
		"lease_left_ms": 0, "has_quorum": false, "can_commit_writes": false, "state": "resolved", "since": time.Now().Add(-21 * time.Second)})
	var peers []any
	for _, p := range s["peers"].([]any) {
		p := maps.Clone(p.(object))
		maps.Copy(p, object{"answers": false, "last_answer_s": 21.4, "error": "Get \"http://" + p["address"].(string) + "/peer/state\": context deadline exceeded"})
		peers = append(peers, p)
	}
	s["peers"] = peers
	return s
}

// five is the status of a primary of five: one far away, one degraded, one
// behind, and a witness that two of them do not hear.
func five() object {
	s := primary()
	var peers []any
	for i, n := range []string{"eu-west-1-db-a", "n3", "n4", "w"} {
		p := maps.Clone(s["peers"].([]any)[0].(object))
		p["node"], p["rtt_ms"] = n, 2.8*float64(i+1)
		p["hears"] = object{"n1": 1.0, "n3": 12.2, "n4": 2.3, "w": nil, "eu-west-1-db-a": 4.1}
		switch n {
		case "n3":
			p["health_status"], p["health"] = "degraded", object{"reason": "behind n1 for 12 s; policy.health.max-lag is 10 s"}
		case "n4":
			p["positions"] = object{"app.db": "00000000000003ff/8000000000000001", "sessions.db": "0000000000000007/8000000000000009"}
		case "w":
			p["witness"], p["positions"], p["reason"] = true, nil, "witness"
		}
		peers = append(peers, p)
	}
	s["peers"] = peers
	return s
}
