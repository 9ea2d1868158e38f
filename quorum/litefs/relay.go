package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxPosMap      = 64 << 20
	bodyTimeout    = 5 * time.Second // for LiteFS to send its position map
	dialTimeout    = 1 * time.Second
	liteFSTimeout  = 2 * time.Second // for the local LiteFS to accept a stream
	acceptTimeout  = 3 * time.Second // for a remote primary to accept one, all told
	peerPathPrefix = "/relay"
)

// LiteFS's headers (http/server.go).
const (
	headerNodeID    = "Litefs-Id"
	headerClusterID = "Litefs-Cluster-Id"
)

var errRelayClosed = errors.New("relay closed")

// Relay carries LiteFS's replication stream between two nodes, as an allowlist:
// nothing but POST /stream passes. LiteFS reads that stream without a timeout
// (store.go, monitorLeaseAsReplica), so that the relay must cut it, at both
// ends and without waiting for anybody, the moment its Router says so.
type Relay struct {
	router Router
	log    *slog.Logger
	local  *url.URL // of the local LiteFS

	ln      net.Listener
	srv     *http.Server
	ctx     context.Context // ends at Close
	cancel  context.CancelCauseFunc
	done    chan struct{}
	mu      sync.Mutex // guards the step from "not closed" to streams.Add
	streams sync.WaitGroup

	refused   atomic.Value // string: the last reason said aloud
	nodeID    atomic.Value // string: what the local LiteFS calls itself
	following atomic.Int64
	serving   atomic.Int64
}

// NewRelay listens on addr, which must be a loopback address, for the local
// LiteFS, and serves at once. liteFSURL is that LiteFS's HTTP API.
func NewRelay(addr, liteFSURL string, r Router, log *slog.Logger) (*Relay, error) {
	local, err := url.Parse(liteFSURL)
	if err != nil || local.Scheme != "http" || local.Host == "" {
		return nil, fmt.Errorf("litefs.url: %q is not of the form http://127.0.0.1:20202", liteFSURL)
	}
	ln, err := listenLoopback(addr, "litefs.relay-listen")
	if err != nil {
		return nil, err
	}
	rl := &Relay{router: r, log: log, local: local, ln: ln, done: make(chan struct{})}
	rl.ctx, rl.cancel = context.WithCancelCause(context.Background())
	rl.srv = &http.Server{
		Handler:           rl.allow(rl.follow, rl.promote),
		Protocols:         http2Cleartext(true),
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(rl.done)
		if err := rl.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("relay stopped", "err", err)
		}
	}()
	return rl, nil
}

// URL returns the address to give to LiteFS.
func (r *Relay) URL() string { return "http://" + r.ln.Addr().String() }

// Active returns how many streams the local LiteFS is being fed by, from before
// Connected is called until both ends are cut. It may still apply what it had
// received: see Authority.Looped.
func (r *Relay) Active() int { return int(r.following.Load()) }

// Serving returns how many streams leave the local LiteFS for other nodes.
func (r *Relay) Serving() int { return int(r.serving.Load()) }

// PeerHandler is the primary's side, for the one port between nodes. It answers
// /stream and /relay/stream, over HTTP/2 only; whoever mounts it has
// authenticated the connection.
func (r *Relay) PeerHandler() http.Handler { return r.allow(r.serve, nil) }

// Close cuts all streams and stops serving. It waits until every handler has
// returned, or ctx ends.
func (r *Relay) Close(ctx context.Context) error {
	r.mu.Lock()
	r.cancel(errRelayClosed)
	r.mu.Unlock()
	idle := make(chan struct{})
	go func() { r.streams.Wait(); close(idle) }()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = ctx.Err()
	}
	err = errors.Join(err, r.srv.Close())
	<-r.done
	return err
}

// enter counts a handler in, unless the relay is closed.
func (r *Relay) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.streams.Add(1)
	return true
}

// allow passes POST /stream on to stream, LiteFS's requests for the role to
// promote where that is given, and refuses the rest with the reason.
func (r *Relay) allow(stream, promote http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		serve, path := stream, strings.TrimPrefix(req.URL.Path, peerPathPrefix)
		switch path {
		case "/stream":
		case "/halt", "/tx":
			http.Error(w, "write forwarding is off (litefs.forward in litefence's configuration)", http.StatusForbidden)
			return
		case "/handoff", "/promote":
			if serve = promote; serve == nil {
				http.Error(w, "between nodes litefence's own handoff is asked for", http.StatusNotFound)
				return
			}
		default:
			http.Error(w, "the relay carries replication streams only", http.StatusNotFound)
			return
		}
		if req.Method != http.MethodPost {
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		if req.ProtoMajor < 2 && path == "/stream" { // as LiteFS itself (http/server.go, handlePostStream)
			http.Error(w, "upgrade to HTTP/2 required", http.StatusUpgradeRequired)
			return
		}
		if !r.enter() {
			http.Error(w, errRelayClosed.Error(), http.StatusServiceUnavailable)
			return
		}
		defer r.streams.Done()
		serve(w, req)
	})
}

// follow is the replica's side: from the remote primary to the local LiteFS.
func (r *Relay) follow(w http.ResponseWriter, req *http.Request) {
	body, ok := readPosMap(w, req)
	if !ok {
		return
	}
	pos, err := ParsePosMap(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.nodeID.Store(req.Header.Get(headerNodeID))
	up, dial, err := r.router.Upstream()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := r.bind(req.Context(), up)
	defer cancel(context.Canceled)
	src, err := openStream(ctx, dial, "http://primary"+peerPathPrefix+"/stream", req, body, acceptTimeout)
	if err != nil {
		r.refuse(w, "no stream from the primary", err)
		return
	}
	defer src.close()
	r.following.Add(1)
	defer r.following.Add(-1)
	if err := r.router.Connected(ctx, pos); err != nil {
		r.refuse(w, "not following yet", err)
		return
	}
	r.carry(ctx, w, src, "from the primary")
}

// serve is the primary's side: from the local LiteFS to a remote replica.
func (r *Relay) serve(w http.ResponseWriter, req *http.Request) {
	lease, err := r.router.Serving()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := r.bind(req.Context(), lease)
	defer cancel(context.Canceled)
	body, ok := readPosMap(w, req)
	if !ok {
		return
	}
	src, err := openStream(ctx, dialTCP(r.local.Host), r.local.JoinPath("stream").String(), req, body, liteFSTimeout)
	if err != nil {
		r.refuse(w, "no stream from LiteFS", err)
		return
	}
	defer src.close()
	r.serving.Add(1)
	defer r.serving.Add(-1)
	r.carry(ctx, w, src, "to a replica")
}

// bind returns a context that ends with the request, with until, and with the
// relay, whichever is first.
func (r *Relay) bind(req, until context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(req)
	stop1 := context.AfterFunc(until, func() { cancel(context.Cause(until)) })
	stop2 := context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })
	return boundContext{ctx, until}, func(err error) { stop1(); stop2(); cancel(err) }
}

// boundContext knows of the end of until at once. The context itself hears of it
// from a goroutine, and a frame could pass in between.
type boundContext struct {
	context.Context
	until context.Context
}

func (c boundContext) Err() error {
	if err := c.until.Err(); err != nil {
		return err
	}
	return c.Context.Err()
}

func (r *Relay) refuse(w http.ResponseWriter, what string, err error) {
	// LiteFS tries again every few milliseconds; once is enough to say why.
	level := slog.LevelInfo
	if said, _ := r.refused.Swap(err.Error()).(string); said == err.Error() {
		level = slog.LevelDebug
	}
	r.log.Log(context.Background(), level, what, "err", err)
	http.Error(w, what+": "+err.Error(), http.StatusBadGateway)
}

// carry passes the stream on until either end or ctx ends, then aborts.
func (r *Relay) carry(ctx context.Context, w http.ResponseWriter, src *stream, what string) {
	r.log.Info("stream connected, "+what, "node", src.header.Get(headerNodeID))
	err := src.pump(ctx, w)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r.log.Info("stream ended, "+what, "err", err)
	// Never END_STREAM: LiteFS takes one between a chunk's size and its bytes
	// for the end of the transaction (internal/chunk, Reader.Read, returns the
	// io.EOF of ReadFull), renames the torn file to its place and exits.
	// RST_STREAM is no EOF to it. What ended cleanly said so in a frame.
	panic(http.ErrAbortHandler)
}

func dialTCP(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

func http2Cleartext(http1 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	p.SetHTTP1(http1)
	return p
}
