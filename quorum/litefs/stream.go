package litefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

var past = time.Unix(1, 0) // a deadline that cuts at once

// stream is an accepted replication stream, on a connection of its own so that
// it can be cut by closing that.
type stream struct {
	header    http.Header
	body      io.ReadCloser
	transport *http.Transport
	conn      *connBox
}

// openStream asks for a stream as req did, with its position map, and returns
// when it was accepted. limit bounds the time to the first byte of the answer.
func openStream(ctx context.Context, dial func(context.Context) (net.Conn, error), url string, req *http.Request, body []byte, limit time.Duration) (*stream, error) {
	box := &connBox{dial: dial}
	tr := &http.Transport{
		Protocols:          http2Cleartext(false),
		DialContext:        box.DialContext,
		DisableCompression: true,
	}
	s := &stream{transport: tr, conn: box}
	ctx, cancel := context.WithCancelCause(ctx) // ends by s.close, which closes the body
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no answer within %v", limit)) })
	resp, err := s.post(ctx, url, req, body)
	if !timer.Stop() && err == nil {
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(err)
		s.close()
		return nil, err
	}
	s.header, s.body = resp.Header, cancelBody{resp.Body, cancel}
	return s, nil
}

func (s *stream) post(ctx context.Context, url string, req *http.Request, body []byte) (*http.Response, error) {
	if q := req.URL.RawQuery; q != "" { // filter=, of a replica of some databases only
		url += "?" + q
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header.Set(headerNodeID, req.Header.Get(headerNodeID))
	resp, err := s.transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 256))
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(reason)))
	}
	return resp, nil
}

func (s *stream) close() {
	s.conn.close()
	if s.body != nil {
		s.body.Close()
	}
	s.transport.CloseIdleConnections()
}

// pump answers w with the stream's headers and copies it, every piece at once,
// until an end fails or ctx is done. The cut waits for nobody: deadlines reset
// w's HTTP/2 stream even while a write waits for the window of a LiteFS that
// is itself waiting for its readers' locks.
func (s *stream) pump(ctx context.Context, w http.ResponseWriter) error {
	rc := http.NewResponseController(w)
	release := onDone(ctx, func() {
		_ = rc.SetWriteDeadline(past) // fails only once the stream has ended
		s.conn.close()
	})
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, h := range []string{headerNodeID, headerClusterID} {
		if v := s.header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	w.WriteHeader(http.StatusOK)
	if err := rc.Flush(); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for ctx.Err() == nil {
		n, err := s.body.Read(buf)
		if n > 0 && ctx.Err() == nil {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if err := rc.Flush(); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// onDone runs f when ctx ends. release withdraws it, or waits for it if it has
// begun: f may not touch a ResponseWriter whose handler has returned.
func onDone(ctx context.Context, f func()) (release func()) {
	ran := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(ran); f() })
	return func() {
		if !stop() {
			<-ran
		}
	}
}

// readPosMap reads the whole body of a stream request, bounded in size and
// time; it has answered if ok is false.
func readPosMap(w http.ResponseWriter, req *http.Request) (body []byte, ok bool) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxPosMap))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	_ = rc.SetReadDeadline(time.Time{})
	return body, err == nil
}

// connBox dials the one connection of a transport, with a timeout, and keeps
// it to be closed.
type connBox struct {
	dial   func(context.Context) (net.Conn, error)
	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

// DialContext returns when the dial has, ctx is done or dialTimeout is over,
// also where the dial function heeds no context.
func (b *connBox) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no connection within %v", dialTimeout))
	type result struct {
		conn net.Conn
		err  error
	}
	got := make(chan result, 1)
	go func() {
		defer cancel()
		conn, err := b.dial(ctx)
		if err == nil && !b.keep(ctx, conn) {
			conn.Close()
			err = context.Cause(ctx)
		}
		got <- result{conn, err}
	}()
	select {
	case res := <-got:
		return res.conn, res.err
	case <-ctx.Done():
	}
	select { // cancel came after the result, not before
	case res := <-got:
		return res.conn, res.err
	default:
		return nil, context.Cause(ctx)
	}
}

func (b *connBox) keep(ctx context.Context, c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || ctx.Err() != nil {
		return false
	}
	b.conn = c
	return true
}

func (b *connBox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.conn != nil {
		b.conn.Close()
	}
}

// cancelBody ends the request's context with its body.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b cancelBody) Close() error {
	b.cancel(context.Canceled)
	return b.ReadCloser.Close()
}
