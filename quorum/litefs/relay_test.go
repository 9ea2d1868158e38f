package litefs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// route is a Router that does as it is told.
type route struct {
	mu        sync.Mutex
	up        context.Context
	dial      func(context.Context) (net.Conn, error)
	serving   context.Context
	connected []policy.Positions
	onConnect func()
	onPromote func(context.Context) error
}

var errNoRoute = errors.New("no primary is known")

func (r *route) Upstream() (context.Context, func(context.Context) (net.Conn, error), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up == nil || r.up.Err() != nil {
		return nil, nil, errNoRoute
	}
	return r.up, r.dial, nil
}

func (r *route) Connected(_ context.Context, pos policy.Positions) error {
	r.mu.Lock()
	f := r.onConnect
	r.connected = append(r.connected, pos)
	r.mu.Unlock()
	if f != nil {
		f()
	}
	return nil
}

func (r *route) Serving() (context.Context, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving == nil || r.serving.Err() != nil {
		return nil, errNoRoute
	}
	return r.serving, nil
}

func (r *route) Promote(ctx context.Context) error {
	r.mu.Lock()
	f := r.onPromote
	r.mu.Unlock()
	return f(ctx)
}

func (r *route) set(f func()) { r.mu.Lock(); defer r.mu.Unlock(); f() }

func (r *route) connections() (n int) { r.set(func() { n = len(r.connected) }); return n }

func newRelay(t *testing.T, liteFSURL string, rt Router) *Relay {
	t.Helper()
	log, _ := newLog()
	r, err := NewRelay("127.0.0.1:0", liteFSURL, rt, log)
	require.NoError(t, err)
	t.Cleanup(func() { closeRelay(t, r) })
	return r
}

func closeRelay(t *testing.T, r *Relay) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	require.NoError(t, r.Close(ctx))
}

// servePeers is the one port between nodes, without its authentication.
func servePeers(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: h, Protocols: http2Cleartext(true)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String()
}

// wire is a TCP proxy that can stop carrying anything, without a word.
type wire struct {
	ln    net.Listener
	mu    sync.Mutex
	dead  bool
	conns []net.Conn
	wg    sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{ln: ln}
	w.wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			w.wg.Go(func() { w.carry(in, out) })
			w.wg.Go(func() { w.carry(out, in) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

// carry also swallows the end of a connection while the wire is dead.
func (w *wire) carry(dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		w.mu.Lock()
		dead := w.dead
		w.mu.Unlock()
		if dead {
			if err != nil {
				return
			}
			continue
		}
		if n > 0 {
			_, _ = dst.Write(buf[:n])
		}
		if err != nil {
			dst.Close()
			return
		}
	}
}

func (w *wire) setDead(dead bool) { w.mu.Lock(); defer w.mu.Unlock(); w.dead = dead }

// fakeLiteFS answers /stream over h2c with what serve writes.
func fakeLiteFS(t *testing.T, serve func(w http.ResponseWriter, r *http.Request)) string {
	return "http://" + servePeers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		w.Header().Set(headerNodeID, "00000000000000AA")
		w.Header().Set(headerClusterID, "LFSC0123456789ABCDEF")
		serve(w, r)
	}))
}

// pair is a replica's relay and a primary's, and the wire between.
type pair struct {
	replica, primary   *Relay
	toPrimary, ofLease *route
	wire               *wire
	cutUp, endLease    context.CancelFunc
}

func newPair(t *testing.T, primaryURL string) *pair {
	t.Helper()
	p := &pair{toPrimary: &route{}, ofLease: &route{}}
	p.renewLease()
	p.primary = newRelay(t, primaryURL, p.ofLease)
	p.wire = newWire(t, servePeers(t, p.primary.PeerHandler()))
	p.toPrimary.dial = dialTCP(p.wire.ln.Addr().String())
	p.replica = newRelay(t, "http://127.0.0.1:1", p.toPrimary)
	p.connect()
	t.Cleanup(func() { p.cutUp(); p.endLease() })
	return p
}

func (p *pair) connect() {
	ctx, cancel := context.WithCancel(context.Background())
	p.toPrimary.set(func() { p.toPrimary.up = ctx })
	p.cutUp = cancel
}

func (p *pair) renewLease() {
	ctx, cancel := context.WithCancel(context.Background())
	p.ofLease.set(func() { p.ofLease.serving = ctx })
	p.endLease = cancel
}

func posMap(pos policy.Positions) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(pos)))
	for name, p := range pos {
		b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
		b = append(b, name...)
		b = binary.BigEndian.AppendUint64(b, p.TXID)
		b = binary.BigEndian.AppendUint64(b, p.Checksum)
	}
	return b
}

// post asks a relay as LiteFS does.
func post(t *testing.T, r *Relay, method, path string, body io.Reader) *http.Response {
	t.Helper()
	tr := &http.Transport{Protocols: http2Cleartext(false)}
	req, err := http.NewRequest(method, r.URL()+path, body)
	require.NoError(t, err)
	req.Header.Set(headerNodeID, "00000000000000BB")
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close(); tr.CloseIdleConnections() })
	return resp
}

func TestRelayPassesAtOnceAfterConnected(t *testing.T) {
	noLeaks(t)
	pieces := make(chan string)
	asked := make(chan *http.Request, 1)
	url := fakeLiteFS(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		for p := range pieces {
			io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
	})
	p := newPair(t, url)
	var order []string
	p.toPrimary.onConnect = func() {
		order = append(order, "connected")
		require.Equal(t, 1, p.replica.Active())
	}
	go func() { pieces <- "one" }()
	want := policy.Positions{"db": {TXID: 7, Checksum: 1<<63 | 9}}
	resp := post(t, p.replica, "POST", "/stream?filter=a,b", bytes.NewReader(posMap(want)))
	order = append(order, "answered")
	require.Equal(t, []string{"connected", "answered"}, order)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "LFSC0123456789ABCDEF", resp.Header.Get(headerClusterID))
	require.Equal(t, "00000000000000AA", resp.Header.Get(headerNodeID))
	require.Equal(t, []policy.Positions{want}, p.toPrimary.connected)
	got := <-asked
	require.Equal(t, "00000000000000BB", got.Header.Get(headerNodeID))
	require.Equal(t, "/stream?filter=a,b", got.URL.String())

	b := make([]byte, 3)
	for i := range 50 { // each piece before the next is sent
		if i > 0 {
			pieces <- "two"
		}
		_, err := io.ReadFull(resp.Body, b)
		require.NoError(t, err)
	}
	require.Equal(t, 1, p.primary.Serving())
	close(pieces)
	_, err := resp.Body.Read(b)
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF, "an end is never a clean one")
	eventually(t, func() bool { return p.replica.Active() == 0 && p.primary.Serving() == 0 }, "both ends are cut")
}

func TestRelayAllowlist(t *testing.T) {
	noLeaks(t)
	p := newPair(t, fakeLiteFS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached LiteFS") }))
	for _, c := range []struct {
		method, path string
		code         int
		reason       string
	}{
		{"POST", "/halt?name=db&id=1", 403, "litefs.forward"},
		{"DELETE", "/halt?name=db&id=1", 403, "litefs.forward"},
		{"POST", "/tx", 403, "litefs.forward"},
		{"POST", "/handoff?nodeID=1", 400, "litefence handoff NODE"},
		{"GET", "/handoff", 405, ""},
		{"POST", "/import?name=db", 404, "streams only"},
		{"GET", "/export?name=db", 404, "streams only"},
		{"GET", "/info", 404, "streams only"},
		{"GET", "/debug/vars", 404, "streams only"},
		{"POST", "/stream/", 404, "streams only"},
		{"GET", "/stream", 405, ""},
	} {
		resp := post(t, p.replica, c.method, c.path, nil)
		b, _ := io.ReadAll(resp.Body)
		require.Equal(t, c.code, resp.StatusCode, c.path)
		require.Contains(t, string(b), c.reason, c.path)
	}
	resp, err := http.Post(p.replica.URL()+"/stream", "", strings.NewReader("\x00\x00\x00\x00"))
	require.NoError(t, err)
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, http.StatusUpgradeRequired, resp.StatusCode)
	require.Zero(t, p.toPrimary.connections())
}

func TestRelayRefusesBadRequests(t *testing.T) {
	noLeaks(t)
	p := newPair(t, fakeLiteFS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached LiteFS") }))
	resp := post(t, p.replica, "POST", "/stream", strings.NewReader("\xff\xff\xff\xff"))
	require.Equal(t, 400, resp.StatusCode)
	resp = post(t, p.replica, "POST", "/stream", bytes.NewReader(make([]byte, maxPosMap+1)))
	require.Equal(t, 413, resp.StatusCode)
	p.cutUp()
	resp = post(t, p.replica, "POST", "/stream", bytes.NewReader(posMap(nil)))
	require.Equal(t, 503, resp.StatusCode)
}

// A node without the lease serves nobody, and LiteFS hears of it.
func TestRelayOfNoPrimary(t *testing.T) {
	noLeaks(t)
	p := newPair(t, fakeLiteFS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached LiteFS") }))
	p.endLease()
	resp := post(t, p.replica, "POST", "/stream", bytes.NewReader(posMap(nil)))
	require.Equal(t, 502, resp.StatusCode)
	b, _ := io.ReadAll(resp.Body)
	require.Contains(t, string(b), errNoRoute.Error())
	require.Zero(t, p.toPrimary.connections())
}

func TestRelayFailsFast(t *testing.T) {
	noLeaks(t)
	hang := make(chan struct{})
	for _, c := range []struct {
		name string
		dial func(*pair) func(context.Context) (net.Conn, error)
		most time.Duration
	}{
		{"dial that hangs", func(*pair) func(context.Context) (net.Conn, error) {
			return func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		}, 2 * dialTimeout},
		{"dial deaf to its context", func(*pair) func(context.Context) (net.Conn, error) {
			return func(context.Context) (net.Conn, error) { <-hang; return nil, errors.New("late") }
		}, 2 * dialTimeout},
		{"connection refused", func(*pair) func(context.Context) (net.Conn, error) { return dialTCP("127.0.0.1:1") }, dialTimeout},
		{"silent peer", func(p *pair) func(context.Context) (net.Conn, error) {
			p.wire.setDead(true)
			return dialTCP(p.wire.ln.Addr().String())
		}, acceptTimeout + dialTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, "http://127.0.0.1:1")
			dial := c.dial(p)
			p.toPrimary.set(func() { p.toPrimary.dial = dial })
			start := time.Now()
			resp := post(t, p.replica, "POST", "/stream", bytes.NewReader(posMap(nil)))
			require.Equal(t, 502, resp.StatusCode)
			require.Less(t, time.Since(start), c.most)
			require.Zero(t, p.toPrimary.connections())
		})
	}
	close(hang)
}

// streamingPair has a stream open on which the primary says nothing more.
func streamingPair(t *testing.T, serve func(http.ResponseWriter)) (*pair, *http.Response, chan error) {
	t.Helper()
	url := fakeLiteFS(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		serve(w)
		<-r.Context().Done()
	})
	p := newPair(t, url)
	resp := post(t, p.replica, "POST", "/stream", bytes.NewReader(posMap(nil)))
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, 1, p.replica.Active())
	ended := make(chan error, 1)
	return p, resp, ended
}

func readToEnd(resp *http.Response, ended chan<- error) {
	_, err := io.Copy(io.Discard, resp.Body)
	ended <- err
}

func TestRelayCuts(t *testing.T) {
	noLeaks(t)
	for name, cut := range map[string]func(*testing.T, *pair){
		"leadership changes":               func(_ *testing.T, p *pair) { p.cutUp() },
		"the lease ends":                   func(_ *testing.T, p *pair) { p.endLease() },
		"the replica's relay closes":       func(t *testing.T, p *pair) { closeRelay(t, p.replica) },
		"the primary's relay closes":       func(t *testing.T, p *pair) { closeRelay(t, p.primary) },
		"leadership changes, packets lost": func(_ *testing.T, p *pair) { p.wire.setDead(true); p.cutUp() },
	} {
		t.Run(name, func(t *testing.T) {
			p, resp, ended := streamingPair(t, func(http.ResponseWriter) {})
			go readToEnd(resp, ended)
			start := time.Now()
			cut(t, p)
			err := <-ended
			require.Error(t, err, "no clean end")
			require.Less(t, time.Since(start), 500*time.Millisecond)
			eventually(t, func() bool { return p.replica.Active() == 0 }, "the replica's side is cut")
			if p.wire.dead { // the primary's side hears nothing: its own lease cuts it
				require.Equal(t, 1, p.primary.Serving())
				p.endLease()
			}
			eventually(t, func() bool { return p.primary.Serving() == 0 }, "the primary's side is cut")
		})
	}
}

// A LiteFS that does not read, because it waits for its readers' locks, is cut
// all the same.
func TestRelayCutsABlockedWrite(t *testing.T) {
	noLeaks(t)
	var sent int
	var mu sync.Mutex
	total := func() int { mu.Lock(); defer mu.Unlock(); return sent }
	p, resp, ended := streamingPair(t, func(w http.ResponseWriter) {
		b := make([]byte, 64<<10)
		for {
			n, err := w.Write(b)
			mu.Lock()
			sent += n
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	for last := -1; total() != last; { // until every window is full
		last = total()
		time.Sleep(200 * time.Millisecond)
	}
	require.Equal(t, 1, p.replica.Active())
	p.cutUp()
	eventually(t, func() bool { return p.replica.Active() == 0 && p.primary.Serving() == 0 }, "cut while nobody reads")
	go readToEnd(resp, ended)
	require.Error(t, <-ended)
}

// LiteFS goes away: nothing is left at either end.
func TestRelayClientLeaves(t *testing.T) {
	noLeaks(t)
	p, resp, _ := streamingPair(t, func(http.ResponseWriter) {})
	resp.Body.Close()
	eventually(t, func() bool { return p.replica.Active() == 0 && p.primary.Serving() == 0 }, "both ends are cut")
}

// What Connected takes its time for, leadership may end meanwhile.
func TestRelayCutDuringConnected(t *testing.T) {
	noLeaks(t)
	url := fakeLiteFS(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a frame")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	p := newPair(t, url)
	p.toPrimary.onConnect = func() { p.cutUp() }
	tr := &http.Transport{Protocols: http2Cleartext(false)}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest("POST", p.replica.URL()+"/stream", bytes.NewReader(posMap(nil)))
	require.NoError(t, err)
	resp, err := tr.RoundTrip(req)
	if err == nil {
		b, rerr := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.Error(t, rerr)
		require.Empty(t, b, "no frame passes")
	}
}

func TestRelayAddresses(t *testing.T) {
	noLeaks(t)
	log, _ := newLog()
	_, err := NewRelay("0.0.0.0:0", "http://127.0.0.1:20202", &route{}, log)
	require.ErrorContains(t, err, "litefs.relay-listen")
	for _, u := range []string{"", "127.0.0.1:20202", "https://127.0.0.1:20202", "http://"} {
		_, err = NewRelay("127.0.0.1:0", u, &route{}, log)
		require.ErrorContains(t, err, "litefs.url", u)
	}
}

func TestParsePosMap(t *testing.T) {
	want := policy.Positions{"a": {TXID: 1, Checksum: 2}, "": {}, "a long name": {TXID: 3}}
	got, err := ParsePosMap(posMap(want))
	require.NoError(t, err)
	require.Equal(t, want, got)
	twice := append(binary.BigEndian.AppendUint32(nil, 2), append(posMap(policy.Positions{"a": {}})[4:], posMap(policy.Positions{"a": {}})[4:]...)...)
	for _, bad := range [][]byte{nil, {0, 0}, {0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff}, append(posMap(want), 0), posMap(want)[:30], twice} {
		_, err := ParsePosMap(bad)
		require.Error(t, err, fmt.Sprintf("%x", bad))
	}
}

func FuzzParsePosMap(f *testing.F) {
	f.Add(posMap(policy.Positions{"db": {TXID: 1, Checksum: 1 << 63}}))
	f.Add([]byte{0, 0, 0, 2, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		pos, err := ParsePosMap(b)
		if err != nil {
			return
		}
		again, err := ParsePosMap(posMap(pos))
		require.NoError(t, err)
		require.Equal(t, pos, again)
		require.Len(t, posMap(pos), len(b))
	})
}
