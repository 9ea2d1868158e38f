package litefs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ask makes one of LiteFS's requests.
func ask(t *testing.T, e *Endpoint, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+e.Addr().String()+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, strings.TrimSpace(string(b))
}

const (
	keyPath     = "/v1/kv/litefs/primary"
	nodeValue   = `{"hostname":"node-a","advertise-url":"http://127.0.0.1:1"}`
	sessionBody = `{"Behavior":"delete","LockDelay":"1ms","Name":"litefs","NodeChecks":[],"TTL":"100ms"}`
)

func createSession(t *testing.T, e *Endpoint) string {
	t.Helper()
	code, body := ask(t, e, "PUT", "/v1/session/create", sessionBody)
	require.Equal(t, 200, code, body)
	var s struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.NotEmpty(t, s.ID)
	return s.ID
}

func acquire(t *testing.T, e *Endpoint, session string) string {
	t.Helper()
	code, body := ask(t, e, "PUT", keyPath+"?acquire="+session, nodeValue)
	require.Equal(t, 200, code, body)
	return body
}

func TestEndpointWalkThrough(t *testing.T) {
	noLeaks(t)
	for _, prefix := range []string{"", "some/prefix/"} {
		t.Run("prefix="+prefix, func(t *testing.T) { walkThrough(t, strings.Replace(keyPath, "kv/", "kv/"+prefix, 1)) })
	}
}

// walkThrough is FACTS.md 5, line by line.
func walkThrough(t *testing.T, key string) {
	a := &script{allow: true}
	e, _ := newEndpoint(t, "http://127.0.0.1:20203", a)
	code, body := ask(t, e, "PUT", "/v1/catalog/register", `{"Node":"some/prefix/litefs","Address":"localhost"}`)
	require.Equal(t, "200 true", fmt.Sprint(code, " ", body))

	code, _ = ask(t, e, "GET", key+"/clusterid", "")
	require.Equal(t, 404, code)
	require.Equal(t, 1, a.loopCount())
	code, _ = ask(t, e, "GET", key, "")
	require.Equal(t, 404, code)

	id := createSession(t, e)
	require.Equal(t, "true", acquire(t, e, id))
	require.Equal(t, "node-a", a.hostname)
	code, _ = ask(t, e, "GET", key+"/clusterid", "")
	require.Equal(t, 404, code)
	require.Equal(t, 1, a.loopCount(), "the holder's question is no turn of the loop")
	code, body = ask(t, e, "PUT", key+"/clusterid", "LFSC0123456789ABCDEF")
	require.Equal(t, "200 true", fmt.Sprint(code, " ", body))
	require.Equal(t, "LFSC0123456789ABCDEF", a.clusterID)
	a.set(func() { a.serveID = true })
	code, body = ask(t, e, "GET", key+"/clusterid", "")
	require.Equal(t, 200, code)
	require.Equal(t, a.clusterID, kvValue(t, body))

	code, body = ask(t, e, "PUT", "/v1/session/renew/"+id, "")
	require.Equal(t, fmt.Sprintf(`200 [{"ID":%q}]`, id), fmt.Sprint(code, " ", body))
	code, body = ask(t, e, "PUT", key+"?release="+id, nodeValue)
	require.Equal(t, "200 true", fmt.Sprint(code, " ", body))
	code, body = ask(t, e, "PUT", "/v1/session/destroy/"+id, "")
	require.Equal(t, "200 true", fmt.Sprint(code, " ", body))
	require.Equal(t, []uint64{1}, a.releases(), "once, not for the session again")

	a.set(func() { a.primary = "node-b" })
	code, body = ask(t, e, "GET", key, "")
	require.Equal(t, 200, code)
	require.JSONEq(t, `{"hostname":"node-b","advertise-url":"http://127.0.0.1:20203"}`, kvValue(t, body))
}

func kvValue(t *testing.T, body string) string {
	t.Helper()
	var kv []struct{ Key, Value string }
	require.NoError(t, json.Unmarshal([]byte(body), &kv), body)
	require.Len(t, kv, 1)
	require.True(t, strings.Contains(kv[0].Key, "litefs/primary"), body)
	v, err := base64.StdEncoding.DecodeString(kv[0].Value)
	require.NoError(t, err)
	return string(v)
}

func TestEndpointRefusals(t *testing.T) {
	noLeaks(t)
	a := &script{}
	e, _ := newEndpoint(t, "http://127.0.0.1:20203", a)
	id := createSession(t, e)
	require.Equal(t, "false", acquire(t, e, id), "the authority says no")
	code, body := ask(t, e, "PUT", keyPath+"?release="+id, nodeValue)
	require.Equal(t, "200 false", fmt.Sprint(code, " ", body))
	require.Equal(t, "true", firstOf(ask(t, e, "PUT", "/v1/session/destroy/"+id, "")))
	a.set(func() { a.allow = true })
	require.Equal(t, "false", acquire(t, e, id), "a session that is gone")
	require.Equal(t, 0, a.grants())

	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/v1/agent/self", "", 404},
		{"GET", "/", "", 404},
		{"DELETE", keyPath, "", 405},
		{"HEAD", keyPath, "", 405},
		{"GET", "/v1/session/create", "", 405},
		{"GET", "/v1/session/renew/x", "", 405},
		{"PUT", "/v1/session/renew/x", "", 404},
		{"PUT", "/v1/session/create", "not JSON", 400},
		{"PUT", "/v1/session/create", `{"TTL":"soon"}`, 400},
		{"PUT", keyPath, nodeValue, 400},
		{"PUT", keyPath + "?acquire=" + id, `{}`, 400},
		{"PUT", keyPath + "?acquire=" + id, strings.Repeat("x", maxEndpointBody+1), 400},
		{"PUT", keyPath + "/clusterid", "LFSC0123456789ABCDEF", 409}, // not the holder
	} {
		code, body := ask(t, e, c.method, c.path, c.body)
		require.Equal(t, c.code, code, "%s %s: %s", c.method, c.path, body)
	}
	require.Empty(t, a.releases())
}

func firstOf(_ int, body string) string { return body }

func TestEndpointLoopbackOnly(t *testing.T) {
	noLeaks(t)
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "[::]:0", "example.com:0", "127.0.0.1"} {
		_, err := NewEndpoint(addr, "", &script{}, nil)
		require.ErrorContains(t, err, "litefs.lease-listen", addr)
	}
}

func TestEndpointRestartOfTheHolder(t *testing.T) {
	noLeaks(t)
	a := &script{allow: true}
	e, _ := newEndpoint(t, "http://127.0.0.1:20203", a)
	old := createSession(t, e)
	require.Equal(t, "true", acquire(t, e, old))
	_, _, held := e.LastRenewal()
	require.True(t, held)

	a.set(func() { a.primary = "node-b" })
	code, _ := ask(t, e, "GET", keyPath, "")
	require.Equal(t, 404, code, "this once whoever is primary")
	require.Equal(t, []uint64{1}, a.releases())
	require.Equal(t, 1, a.loopCount())
	_, _, held = e.LastRenewal()
	require.False(t, held)
	code, _ = ask(t, e, "PUT", "/v1/session/renew/"+old, "")
	require.Equal(t, 404, code)
	code, _ = ask(t, e, "GET", keyPath, "")
	require.Equal(t, 200, code)

	// One that did not even ask first.
	require.Equal(t, "true", acquire(t, e, createSession(t, e)))
	require.Equal(t, "false", acquire(t, e, createSession(t, e)))
	require.Equal(t, []uint64{1, 2}, a.releases())
	require.Equal(t, "true", acquire(t, e, createSession(t, e)))
}

func TestEndpointRenewalWaitsForTheDrain(t *testing.T) {
	noLeaks(t)
	drained := make(chan struct{})
	a := &script{allow: true, onRenew: func(uint64) { <-drained }}
	e, _ := newEndpoint(t, "", a)
	id := createSession(t, e)
	require.Equal(t, "true", acquire(t, e, id))
	a.set(func() { a.allow = false })

	answered := make(chan int, 1)
	go func() {
		code, _ := ask(t, e, "PUT", "/v1/session/renew/"+id, "")
		answered <- code
	}()
	eventually(t, func() bool { return a.renewalCount() == 1 }, "the renewal is asked for")
	require.Empty(t, answered)
	close(drained)
	require.Equal(t, 404, <-answered)
	require.Empty(t, a.releases(), "the authority let go by itself")
	code, _ := ask(t, e, "GET", keyPath, "")
	require.Equal(t, 404, code)
	require.Empty(t, a.releases())
}

// A renewal must not be answered yes once the key went to somebody else while
// it was decided.
func TestEndpointReleaseDuringRenewal(t *testing.T) {
	noLeaks(t)
	a := &script{allow: true}
	e, _ := newEndpoint(t, "", a)
	id := createSession(t, e)
	require.Equal(t, "true", acquire(t, e, id))
	a.set(func() {
		a.onRenew = func(uint64) { e.sessions.takeHolder(id) }
	})
	code, _ := ask(t, e, "PUT", "/v1/session/renew/"+id, "")
	require.Equal(t, 404, code)
}

func TestEndpointAskerDiesDuringAcquire(t *testing.T) {
	noLeaks(t)
	a := &script{allow: true, onAcquire: func(ctx context.Context) { <-ctx.Done() }}
	e, _ := newEndpoint(t, "", a)
	id := createSession(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	a.set(func() { f := a.onAcquire; a.onAcquire = func(c context.Context) { cancel(); f(c) } })
	req, err := http.NewRequestWithContext(ctx, "PUT", "http://"+e.Addr().String()+keyPath+"?acquire="+id, strings.NewReader(nodeValue))
	require.NoError(t, err)
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	eventually(t, func() bool { return len(a.releases()) == 1 }, "the grant is given back")
	_, _, held := e.LastRenewal()
	require.False(t, held)
}

func TestEndpointClusterIDRefused(t *testing.T) {
	noLeaks(t)
	a := &script{allow: true, setErr: errors.New("another id is committed")}
	e, _ := newEndpoint(t, "", a)
	require.Equal(t, "true", acquire(t, e, createSession(t, e)))
	code, body := ask(t, e, "PUT", keyPath+"/clusterid", "LFSC0123456789ABCDEF")
	require.Equal(t, 409, code, "LiteFS does not read a false")
	require.Contains(t, body, "another id")
}

func TestEndpointWarnsOfASlowTTLOnce(t *testing.T) {
	noLeaks(t)
	e, out := newEndpoint(t, "", &script{})
	for range 3 {
		code, _ := ask(t, e, "PUT", "/v1/session/create", `{"TTL":"10s"}`)
		require.Equal(t, 200, code)
	}
	require.Equal(t, 1, strings.Count(out.String(), "lease.consul.ttl"), out)
}

func TestSessionsAreBounded(t *testing.T) {
	var s sessions
	first := s.create(time.Second)
	require.True(t, s.hold(first, 1))
	for range 3 * maxSessions {
		s.create(time.Second)
	}
	require.Len(t, s.ttl, maxSessions)
	require.Len(t, s.order, maxSessions)
	_, ok := s.holds(first)
	require.True(t, ok && s.known(first), "never the holder's")
}

// Whatever is asked at once, every grant is released at most once, and never
// two are held.
func TestEndpointConcurrent(t *testing.T) {
	noLeaks(t)
	a := &script{allow: true}
	e, _ := newEndpoint(t, "", a)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				id := createSession(t, e)
				acquire(t, e, id)
				ask(t, e, "PUT", "/v1/session/renew/"+id, "")
				ask(t, e, "GET", keyPath, "")
				ask(t, e, "PUT", keyPath+"?release="+id, "")
				ask(t, e, "PUT", "/v1/session/destroy/"+id, "")
			}
		})
	}
	wg.Wait()
	seen := map[uint64]bool{}
	for _, g := range a.releases() {
		require.False(t, seen[g], "grant %d released twice", g)
		seen[g] = true
	}
	_, _, held := e.LastRenewal()
	require.False(t, held)
	require.Empty(t, e.sessions.ttl)
}

// deaf renews only when the endpoint closes.
type deaf struct {
	script
	asked chan struct{}
}

func (d *deaf) Renew(ctx context.Context, _ uint64) bool {
	close(d.asked)
	<-ctx.Done()
	return false
}

func TestEndpointCloseDoesNotHang(t *testing.T) {
	noLeaks(t)
	a := &deaf{asked: make(chan struct{})}
	a.allow = true
	log, _ := newLog()
	e, err := NewEndpoint("127.0.0.1:0", "", a, log)
	require.NoError(t, err)
	id := createSession(t, e)
	require.Equal(t, "true", acquire(t, e, id))
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		req, _ := http.NewRequest("PUT", "http://"+e.Addr().String()+"/v1/session/renew/"+id, nil)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-a.asked
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, e.Close(ctx), context.DeadlineExceeded)
	<-answered
	http.DefaultClient.CloseIdleConnections()
	require.Empty(t, a.releases(), "it is the gate's owner who knows what that means")
}
