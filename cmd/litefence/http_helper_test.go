package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// liveDaemon is a real daemon without LiteFS: a witness of a cluster of one.
type liveDaemon struct {
	*daemon
	t      *testing.T
	socket *http.Client // to admin.socket
	url    string       // of admin.listen
	logs   *lockedBuffer
}

// lockedBuffer may be read while it is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func startLive(t *testing.T) *liveDaemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "litefence-http-") // short: a socket's path may have 107 bytes
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	addr := freeAddr(t)
	cfg := &Config{Node: "w"}
	cfg.Quorum.Listen, cfg.Quorum.Advertise, cfg.Quorum.Peers = addr, addr, map[string]string{"w": addr}
	cfg.Quorum.DataDir = filepath.Join(dir, "raft")
	require.NoError(t, os.Mkdir(cfg.Quorum.DataDir, 0o700))
	cfg.Quorum.HeartbeatTimeout, cfg.Quorum.Lease, cfg.Quorum.ClockDrift = 300*time.Millisecond, 150*time.Millisecond, 0.01
	cfg.Quorum.Insecure = true
	cfg.Admin.Socket, cfg.Admin.Listen = filepath.Join(dir, "a.sock"), freeAddr(t)
	logs := &lockedBuffer{}
	d := &daemon{cfg: cfg, witness: true, log: slog.New(slog.NewTextHandler(logs, nil))}
	require.NoError(t, d.startWitness(t.Context()))
	t.Cleanup(d.stop)
	socket := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", cfg.Admin.Socket)
	}}}
	return &liveDaemon{daemon: d, t: t, socket: socket, url: "http://" + cfg.Admin.Listen, logs: logs}
}

// ask sends a request to the socket, or to the port, and returns the answer.
func (d *liveDaemon) ask(socket bool, method, path, body string) (status int, text string, header http.Header) {
	d.t.Helper()
	client, url := http.DefaultClient, d.url+path
	if socket {
		client, url = d.socket, "http://litefence"+path
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(d.t, err)
	resp, err := client.Do(req)
	require.NoError(d.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(d.t, err)
	return resp.StatusCode, string(b), resp.Header
}

// sse is one server-sent event.
type sse struct{ event, id, data string }

// watch opens /v1/events on the port.
func (d *liveDaemon) watch(lastID string) *http.Response {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodGet, d.url+"/v1/events", nil)
	require.NoError(d.t, err)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(d.t, err)
	d.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// eventsOf reads server-sent events as they come.
func eventsOf(r io.Reader) <-chan sse {
	out := make(chan sse, 1024)
	go func() {
		defer close(out)
		var e sse
		for s := bufio.NewScanner(r); s.Scan(); {
			k, v, _ := strings.Cut(s.Text(), ": ")
			switch k {
			case "event":
				e.event = v
			case "id":
				e.id = v
			case "data":
				e.data = v
			case "":
				out <- e
				e = sse{}
			}
		}
	}()
	return out
}

// next waits for the next event of a kind.
func next(t *testing.T, in <-chan sse, kind string) sse {
	t.Helper()
	for {
		select {
		case e, ok := <-in:
			require.True(t, ok, "the stream has ended")
			if e.event == kind {
				return e
			}
		case <-time.After(10 * time.Second):
			require.Fail(t, "no event of kind "+kind)
		}
	}
}

func fromJSON[T any](t *testing.T, s string) (v T) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(s))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&v), s)
	return v
}
