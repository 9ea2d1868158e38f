package litefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// heard collects what Roles tells.
type heard struct {
	mu    sync.Mutex
	roles []string // changes
	calls int
}

func (h *heard) tell(primary bool, hostname string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	s := fmt.Sprintf("%t %s", primary, hostname)
	if len(h.roles) == 0 || h.roles[len(h.roles)-1] != s {
		h.roles = append(h.roles, s)
	}
}

func (h *heard) all() ([]string, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.roles...), h.calls
}

func (h *heard) last() string {
	all, _ := h.all()
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// listen runs Roles until it ends or the test does.
func listen(t *testing.T, c *Client) (*heard, <-chan error) {
	h, ended := &heard{}, make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- c.Roles(ctx, h.tell)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return h, ended
}

func requireEnds(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		require.Error(t, err)
		return err
	case <-time.After(wait):
		t.Fatal("Roles goes on")
		return nil
	}
}

// fakeAPI is the part of LiteFS's API that Roles uses.
type fakeAPI struct {
	events  chan string
	primary atomic.Bool
	hang    atomic.Bool
	stop    chan struct{}
}

func newFakeAPI(t *testing.T) (*fakeAPI, *Client) {
	f := &fakeAPI{events: make(chan string), stop: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, r *http.Request) {
		if f.hang.Load() {
			select {
			case <-r.Context().Done():
			case <-f.stop:
			}
			return
		}
		fmt.Fprintf(w, `{"isPrimary": %t, "primary": {"hostname": "me"}}`, f.primary.Load())
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		if f.hang.Load() {
			<-f.stop
			return
		}
		w.(http.Flusher).Flush()
		for {
			select {
			case e, ok := <-f.events:
				if !ok {
					return
				}
				_, _ = io.WriteString(w, e+"\n")
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			case <-f.stop:
				return
			}
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() { close(f.stop); s.Close() })
	return f, NewClient(s.URL)
}

func TestRolesTellsEveryChange(t *testing.T) {
	noLeaks(t)
	f, c := newFakeAPI(t)
	h, ended := listen(t, c)
	f.events <- `{"type": "init", "data": {"isPrimary": false, "hostname": "other"}}`
	f.events <- `{"type": "tx", "db": "a", "data": {"txID": "0000000000000001"}}`
	f.events <- `{"type": "primaryChange", "data": {"isPrimary": false}}`
	f.primary.Store(true)
	f.events <- `{"type": "primaryChange", "data": {"isPrimary": true}}`
	eventually(t, func() bool { return h.last() == "true me" }, "primary")
	_, calls := h.all()
	eventually(t, func() bool { _, n := h.all(); return n > calls+1 }, "signs of life")
	f.primary.Store(false)
	f.events <- `{"type": "primaryChange", "data": {"isPrimary": false}}`
	f.events <- `{"type": "primaryChange", "data": {"isPrimary": false, "hostname": "third"}}`
	eventually(t, func() bool { return h.last() == "false third" }, "the next primary")
	all, _ := h.all()
	require.Equal(t, []string{"false other", "false ", "true me", "false ", "false third"}, all)
	close(f.events)
	require.ErrorIs(t, requireEnds(t, ended), io.ErrUnexpectedEOF, "LiteFS has ended the stream")
}

func TestRolesEndsWhereLiteFSIsSilent(t *testing.T) {
	for name, c := range map[string]struct {
		before bool // silent from the beginning
		want   string
	}{
		"from the beginning": {before: true, want: "has not answered"},
		"later":              {want: "has not answered"},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			f, client := newFakeAPI(t)
			f.hang.Store(c.before)
			h, ended := listen(t, client)
			if !c.before {
				f.events <- `{"type": "init", "data": {"isPrimary": false}}`
				eventually(t, func() bool { return h.last() == "false " }, "role")
				f.hang.Store(true)
			}
			require.ErrorContains(t, requireEnds(t, ended), c.want)
		})
	}
}

func TestRolesEndsWhereLiteFSContradictsItself(t *testing.T) {
	noLeaks(t)
	f, c := newFakeAPI(t)
	h, ended := listen(t, c)
	f.events <- `{"type": "init", "data": {"isPrimary": false}}`
	eventually(t, func() bool { return h.last() == "false " }, "role")
	f.primary.Store(true)
	require.ErrorContains(t, requireEnds(t, ended), "disagree")
	require.Equal(t, "false ", h.last(), "it is not called primary")
}

func TestRolesRefusesNonsense(t *testing.T) {
	noLeaks(t)
	f, c := newFakeAPI(t)
	_, ended := listen(t, c)
	f.events <- `no JSON`
	requireEnds(t, ended)
}

func TestRolesEndsWithItsContext(t *testing.T) {
	noLeaks(t)
	_, c := newFakeAPI(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	require.ErrorIs(t, c.Roles(ctx, func(bool, string) {}), why)
}

// The real one: it takes and loses the role, is stopped, and is killed.
func TestRolesLiteFS(t *testing.T) {
	s := &script{}
	e, _ := newEndpoint(t, "http://127.0.0.1:1", s)
	l := newLiteFS(t, "n1", "http://"+e.Addr().String())
	h, ended := listen(t, l.client)
	eventually(t, func() bool { return h.last() == "false " }, "no role yet")
	s.set(func() { s.allow = true })
	eventually(t, func() bool { return h.last() == "true n1" }, "primary, by its own hostname")
	s.set(func() { s.allow = false })
	eventually(t, func() bool { return h.last() == "false " }, "deposed")
	s.set(func() { s.allow = true })
	eventually(t, func() bool { return h.last() == "true n1" }, "primary again")

	l.signal(syscall.SIGSTOP)
	require.ErrorContains(t, requireEnds(t, ended), "has not answered")
	l.signal(syscall.SIGCONT)
	h, ended = listen(t, l.client)
	eventually(t, func() bool { return h.last() == "true n1" }, "heard again")
	l.kill()
	requireEnds(t, ended)
}
