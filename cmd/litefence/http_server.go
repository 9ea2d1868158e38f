package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxAdminBody    = 64 << 10
	maxAdminHeader  = 16 << 10
	adminReadLimit  = 5 * time.Second  // for a whole request
	adminWriteLimit = 10 * time.Second // for the answer to a GET
	adminIdleLimit  = time.Minute
)

// serve answers on l until the daemon stops.
func (d *daemon) serve(l net.Listener, h http.Handler) {
	s := &http.Server{
		Handler:           http.MaxBytesHandler(bounded(h), maxAdminBody),
		ReadTimeout:       adminReadLimit,
		ReadHeaderTimeout: adminReadLimit,
		IdleTimeout:       adminIdleLimit,
		MaxHeaderBytes:    maxAdminHeader,
		ConnContext:       withPeer,
		ErrorLog:          nil,
	}
	go func() { _ = s.Serve(l) }()
	d.defers(func(context.Context) { s.Close() })
}

// bounded limits how long a client may take to read the answer to a GET. What a
// POST asks for may take long by itself; its answer is small.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var until time.Time
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			until = time.Now().Add(adminWriteLimit)
		}
		_ = http.NewResponseController(w).SetWriteDeadline(until)
		h.ServeHTTP(w, r)
	})
}

// explained answers what m has no handler for with a reason. changes are paths
// that exist elsewhere only.
func explained(m *http.ServeMux, changes map[string]bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := m.Handler(r)
		if pattern != "" {
			m.ServeHTTP(w, r) // not h: that would leave the path's values out
			return
		}
		probe := &statusOnly{header: http.Header{}}
		h.ServeHTTP(probe, r)
		switch allow := probe.header.Get("Allow"); {
		case probe.status == http.StatusMethodNotAllowed:
			w.Header().Set("Allow", allow)
			refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s %s: want %s", r.Method, r.URL.Path, allow))
		case changes[r.URL.Path]:
			refuse(w, http.StatusNotFound, r.URL.Path+" changes something: it is on admin.socket only")
		case probe.status/100 == 3:
			m.ServeHTTP(w, r) // to the cleaned path
		default:
			refuse(w, http.StatusNotFound, r.URL.Path+": there is nothing here; see docs/http.md")
		}
	})
}

// statusOnly is a ResponseWriter that keeps nothing but status and header.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }

// refuse answers with a reason, as plain text.
func refuse(w http.ResponseWriter, status int, why string) { http.Error(w, why, status) }

// decodeBody reads one JSON object into v. Anything that v has no place for is
// an error: a slip of the pen in a command must not pass for another command.
func decodeBody(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the body is empty")
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the JSON value")
	}
	return nil
}

// noBody refuses a body where none has a meaning.
func noBody(r *http.Request) error {
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && n > 0 {
		err = fmt.Errorf("%s takes no body", r.URL.Path)
	}
	return err
}

// bodyStatus is the status for an error of decodeBody.
func bodyStatus(err error) int {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

// peerKey is the context key of a connection's *unix.Ucred.
type peerKey struct{}

// withPeer notes who is at the other end of a Unix socket.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) {
		cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || cred == nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred)
}

// ownOnly lets root and the daemon's own user pass. The socket's mode says the
// same; this holds too where somebody has loosened that.
func ownOnly(h http.Handler) http.Handler {
	own := uint32(os.Geteuid())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cred, ok := r.Context().Value(peerKey{}).(*unix.Ucred)
		switch {
		case !ok:
			refuse(w, http.StatusForbidden, "admin.socket: the kernel does not say who is asking")
		case cred.Uid != 0 && cred.Uid != own:
			refuse(w, http.StatusForbidden, fmt.Sprintf("admin.socket: uid %d (pid %d) may not; it is for root%s", cred.Uid, cred.Pid, orOwn(own)))
		default:
			h.ServeHTTP(w, r)
		}
	})
}

func orOwn(uid uint32) string {
	if uid == 0 {
		return ""
	}
	return fmt.Sprintf(" and uid %d", uid)
}

// pathOf is the path of a pattern of http.ServeMux with a method before it.
func pathOf(pattern string) string {
	_, path, _ := strings.Cut(pattern, " ")
	return path
}
