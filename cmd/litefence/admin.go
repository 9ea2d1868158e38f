package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/litefence/litefence/fusefs"
	"github.com/litefence/litefence/quorum"
)

const (
	maxAdminBody   = 64 << 10
	adminReadLimit = 5 * time.Second
	statusLimit    = time.Second // for what status asks of LiteFS
)

// statusReply is what `litefence status` shows: the node's view and the mount's.
type statusReply struct {
	quorum.Status
	Mounted  bool         `json:"mounted"`
	Lower    string       `json:"lower"`
	Mount    string       `json:"mount"`
	Enforce  bool         `json:"enforce"`
	Insecure bool         `json:"insecure"`
	Ready    bool         `json:"ready"`
	Streams  int          `json:"streams"` // replication streams that this node follows or serves
	Writes   fusefs.Stats `json:"writes"`
}

func (d *daemon) status(ctx context.Context) statusReply {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	s := statusReply{
		Status: d.node.Status(ctx), Lower: d.cfg.Fence.Lower, Mount: d.cfg.Fence.Mount,
		Enforce: d.cfg.Fence.Enforce, Insecure: d.cfg.Quorum.Insecure,
	}
	if d.relay != nil {
		s.Streams = d.relay.Active() + d.relay.Serving()
	}
	d.withMount(func(f *fusefs.FS) { s.Mounted, s.Writes = true, f.Stats() })
	s.Writable = s.Writable && d.gate.Admitting()
	s.Ready = (s.Mounted || d.witness) && (s.HasQuorum || s.FollowsLeader)
	return s
}

// serveAdmin opens the admin socket, which may change things, and the
// read-only port.
func (d *daemon) serveAdmin() error {
	ro := http.NewServeMux()
	ro.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, d.status(r.Context()), nil) })
	ro.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	ro.HandleFunc("GET /readyz", d.serveReady)
	rw := http.NewServeMux()
	rw.Handle("/", ro)
	rw.HandleFunc("POST /v1/peers", d.servePeers)
	if !d.witness {
		rw.HandleFunc("POST /v1/fence", d.serveFence)
		rw.HandleFunc("POST /v1/accept-loss", d.serveAcceptLoss)
		rw.HandleFunc("POST /v1/unfence", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, struct{}{}, d.node.SetFence(false, ""))
		})
	}
	rw.HandleFunc("POST /v1/health", d.serveHealth)
	rw.HandleFunc("POST /v1/handoff", d.serveHandoff)
	sock, err := listenSocket(d.cfg.Admin.Socket)
	if err != nil {
		return err
	}
	d.serve(sock, rw)
	if d.cfg.Admin.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", d.cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: %w (choose a free port)", err)
	}
	d.serve(l, ro)
	return nil
}

func (d *daemon) serve(l net.Listener, h http.Handler) {
	s := &http.Server{Handler: http.MaxBytesHandler(h, maxAdminBody), ReadTimeout: adminReadLimit}
	go func() { _ = s.Serve(l) }()
	d.defers(func(context.Context) { s.Close() })
}

// listenSocket makes the admin socket. A file left by a killed predecessor is
// replaced, a socket that somebody answers on is not.
func listenSocket(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("admin.socket %s is in use: another litefence runs with this config", path)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("admin.socket %s exists and is no socket; remove it or choose another path", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin.socket: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("admin.socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin.socket: %w", err)
	}
	return l, os.Chmod(path, 0o600)
}

func (d *daemon) serveReady(w http.ResponseWriter, r *http.Request) {
	if s := d.status(r.Context()); !s.Ready {
		http.Error(w, "not ready: mounted="+fmt.Sprint(s.Mounted)+" leader="+s.Leader, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (d *daemon) serveFence(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Reason string `json:"reason"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, `want a JSON body like {"reason":"maintenance"}: `+err.Error(), http.StatusBadRequest)
		return
	}
	if q.Reason == "" {
		http.Error(w, "reason: missing; say why, for whoever finds the fence", http.StatusBadRequest)
		return
	}
	answer(w, struct{}{}, d.node.SetFence(true, q.Reason))
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// adminClient talks to a running daemon over its socket.
type adminClient struct {
	socket string
	http   *http.Client
}

func newAdminClient(socket string) *adminClient {
	return &adminClient{socket, &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

func (c *adminClient) do(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://litefence"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w on %s: %w", errNoDaemon, c.socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s: %s", resp.Status, msg)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// ask posts a question that may take long, bounded by ctx alone, and whose answer
// is JSON whatever the status. It returns the exit code that exits has for the
// status.
func (c *adminClient) ask(ctx context.Context, path string, q, out any, exits map[int]int) (code int, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return exitFailed, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://litefence"+path, bytes.NewReader(body))
	if err != nil {
		return exitFailed, err
	}
	patient := *c.http
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return exitNotReady, fmt.Errorf("%w on %s: %w", errNoDaemon, c.socket, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return exitFailed, fmt.Errorf("%s: %s: %w", path, resp.Status, err)
	}
	if code, ok := exits[resp.StatusCode]; ok {
		return code, nil
	}
	return exitFailed, nil
}

func (c *adminClient) status(ctx context.Context) (s statusReply, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}
