package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	maxEndpointBody = 64 << 10 // LiteFS's largest is a hostname and a URL
	headerTimeout   = 5 * time.Second
	// The Authority bounds its own work; these are there so that LiteFS, which
	// waits for an answer without any timeout of its own (consul.go, Open:
	// http.DefaultClient), gets one whatever happens.
	acquireTimeout   = 5 * time.Second
	releaseTimeout   = 5 * time.Second
	clusterIDTimeout = 5 * time.Second
)

// Endpoint serves the local LiteFS the Consul requests that its lease client
// makes (consul/consul.go), and no others. Sessions live in memory: they die
// with this process, and so must the role.
//
// A renewal is never answered with 5xx: LiteFS would stay primary for a
// hard-coded second more (store.go, monitorLeaseAsPrimary).
type Endpoint struct {
	auth     Authority
	relayURL string
	log      *slog.Logger

	ln     net.Listener
	srv    *http.Server
	ctx    context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	done   chan struct{}

	acquiring chan struct{} // a token: one Acquire at a time
	sessions  sessions
	slowTTL   sync.Once
}

// NewEndpoint listens on addr, which must be a loopback address, and serves at
// once. relayURL is the address that LiteFS is told to stream from.
func NewEndpoint(addr, relayURL string, a Authority, log *slog.Logger) (*Endpoint, error) {
	ln, err := listenLoopback(addr, "litefs.lease-listen")
	if err != nil {
		return nil, err
	}
	e := &Endpoint{
		auth: a, relayURL: relayURL, log: log, ln: ln,
		done:      make(chan struct{}),
		acquiring: make(chan struct{}, 1),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	// No WriteTimeout: a renewal may wait for the gate to drain.
	e.srv = &http.Server{Handler: e.routes(), ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	go func() {
		defer close(e.done)
		if err := e.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("lease endpoint stopped", "err", err)
		}
	}()
	return e, nil
}

// Addr returns the address the endpoint listens on.
func (e *Endpoint) Addr() net.Addr { return e.ln.Addr() }

// LastRenewal returns when LiteFS last acquired or renewed the key it holds,
// and the session's TTL; ok is false while it holds none. LiteFS renews every
// TTL/2, so that a silence of 2 TTL means that it is stopped.
func (e *Endpoint) LastRenewal() (at time.Time, ttl time.Duration, ok bool) {
	return e.sessions.lastRenewal()
}

// Close stops serving. It waits for requests in flight until ctx ends, then
// cuts them. It does not release the key: shut the gate first.
func (e *Endpoint) Close(ctx context.Context) error {
	err := e.srv.Shutdown(ctx)
	e.cancel()
	if err != nil {
		err = errors.Join(err, e.srv.Close())
	}
	<-e.done
	return err
}

func (e *Endpoint) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/kv/{key...}", e.getKV)
	mux.HandleFunc("PUT /v1/kv/{key...}", e.putKV)
	mux.HandleFunc("PUT /v1/session/create", e.createSession)
	mux.HandleFunc("PUT /v1/session/renew/{id}", e.renewSession)
	mux.HandleFunc("PUT /v1/session/destroy/{id}", e.destroySession)
	// Asked for once, when the URL has a path (consul.go, Open).
	mux.HandleFunc("PUT /v1/catalog/register", func(w http.ResponseWriter, r *http.Request) { answer(w, true) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // the mux takes it for GET, and a GET of the key means something
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxEndpointBody)
		mux.ServeHTTP(w, r)
	})
}

// listenLoopback listens on addr if it is a loopback address; key names the
// setting in the error.
func listenLoopback(addr, key string) (net.Listener, error) {
	if err := checkLoopback(addr); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return ln, nil
}

// checkLoopback refuses an address that another machine could reach.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is no host:port: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address; other machines must not reach it, use 127.0.0.1", addr)
}
