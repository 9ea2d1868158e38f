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

	"github.com/litefence/litefence/cmd/litefence/page"
	"github.com/litefence/litefence/fusefs"
	"github.com/litefence/litefence/quorum"
)

const statusLimit = time.Second // for what status asks of LiteFS

// statusReply is what `litefence status` shows: the node's view and the mount's.
type statusReply struct {
	quorum.Status
	Mounted   bool         `json:"mounted"`
	LowerGone bool         `json:"lower_gone"` // LiteFS has died below the mount, and is not back yet
	Lower     string       `json:"lower"`
	Mount     string       `json:"mount"`
	Enforce   bool         `json:"enforce"`
	Insecure  bool         `json:"insecure"`
	Ready     bool         `json:"ready"`
	Streams   int          `json:"streams"` // replication streams that this node follows or serves
	Writes    fusefs.Stats `json:"writes"`
}

func (d *daemon) status(ctx context.Context) statusReply {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	return d.statusWith(d.node.Status(ctx))
}

// glance is status without what would have to be asked of LiteFS; it never waits.
func (d *daemon) glance() statusReply { return d.statusWith(d.node.Glance()) }

func (d *daemon) statusWith(n quorum.Status) statusReply {
	s := statusReply{
		Status: n, Lower: d.cfg.Fence.Lower, Mount: d.cfg.Fence.Mount,
		Enforce: d.cfg.Fence.Enforce, Insecure: d.cfg.Quorum.Insecure, LowerGone: d.lowerGone.Load(),
	}
	if d.relay != nil {
		s.Streams = d.relay.Active() + d.relay.Serving()
	}
	d.withMount(func(f *fusefs.FS) { s.Mounted, s.Writes = true, f.Stats() })
	s.Writable = s.Writable && d.gate.Admitting()
	s.Ready = s.unready() == ""
	return s
}

// route is one path of the admin interface: a pattern of http.ServeMux with a
// method, and what answers.
type route struct {
	pattern string
	handler http.HandlerFunc
}

// readOnly lists what admin.listen shows. Nothing here may change anything.
func (d *daemon) readOnly() []route {
	return []route{
		{"GET /{$}", page.Handler().ServeHTTP},
		{"GET /v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, d.status(r.Context()), nil) }},
		{"GET /v1/events", d.serveEvents},
		{"GET /metrics", d.metrics.handler(d)},
		{"GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }},
		{"GET /readyz", d.serveReady},
		{"GET /health/status", d.serveHealthStatus},
		{"GET /health/live", d.serveLive},
		{"GET /health/ready", d.serveHealthReady},
	}
}

// changing lists what is on admin.socket alone.
func (d *daemon) changing() []route {
	all := []route{
		{"POST /v1/peers", d.servePeers},
		{"POST /v1/health", d.serveHealth},
		{"POST /v1/handoff", d.serveHandoff},
	}
	if d.witness {
		return all
	}
	return append(all,
		route{"POST /v1/check", d.serveCheck},
		route{"POST /v1/fence", d.serveFence},
		route{"POST /v1/unfence", d.serveUnfence},
		route{"POST /v1/accept-loss", d.serveAcceptLoss},
	)
}

// adminHandlers are what the socket and the read-only port serve.
func (d *daemon) adminHandlers() (socket, port http.Handler) {
	ro, rw := http.NewServeMux(), http.NewServeMux()
	elsewhere := map[string]bool{}
	for _, r := range d.readOnly() {
		ro.Handle(r.pattern, r.handler)
		rw.Handle(r.pattern, r.handler)
	}
	for _, r := range d.changing() {
		rw.Handle(r.pattern, r.handler)
		elsewhere[pathOf(r.pattern)] = true
	}
	return ownOnly(explained(rw, nil)), explained(ro, elsewhere)
}

// serveAdmin opens the admin socket, which may change things, and the
// read-only port.
func (d *daemon) serveAdmin() error {
	socket, port := d.adminHandlers()
	sock, err := listenSocket(d.cfg.Admin.Socket)
	if err != nil {
		return err
	}
	d.serve(sock, socket)
	d.defers(func(context.Context) { d.events.close() })
	if d.cfg.Admin.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", d.cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: %w (choose a free port)", err)
	}
	d.serve(l, port)
	return nil
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

func (d *daemon) serveFence(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Reason string `json:"reason"`
	}
	if err := decodeBody(r, &q); err != nil {
		refuse(w, bodyStatus(err), `want a JSON body like {"reason":"maintenance"}: `+err.Error())
		return
	}
	if q.Reason == "" {
		refuse(w, http.StatusBadRequest, "reason: missing; say why, for whoever finds the fence")
		return
	}
	answer(w, struct{}{}, d.node.SetFence(true, q.Reason))
}

func (d *daemon) serveUnfence(w http.ResponseWriter, r *http.Request) {
	if err := noBody(r); err != nil {
		refuse(w, bodyStatus(err), err.Error())
		return
	}
	answer(w, struct{}{}, d.node.SetFence(false, ""))
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	replyJSON(w, http.StatusOK, v)
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
