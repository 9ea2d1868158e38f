package litefs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// LiteFS asks the relay, which it takes for the primary, for the role.
func TestRelayAnswersPromotions(t *testing.T) {
	noLeaks(t)
	p := newPair(t, fakeLiteFS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached LiteFS") }))
	asked, refuse := 0, error(nil)
	p.toPrimary.set(func() {
		p.toPrimary.onPromote = func(ctx context.Context) error {
			_, bounded := ctx.Deadline()
			require.True(t, bounded)
			asked++
			return refuse
		}
	})
	p.replica.nodeID.Store("00000000000000AB")
	for _, c := range []struct {
		path   string
		refuse error
		code   int
		says   string
		asked  int
	}{
		{"/handoff?nodeID=00000000000000AB", nil, 200, "", 1},
		{"/promote", nil, 200, "", 2},
		{"/handoff?nodeID=00000000000000AB", errors.New("n2 is not in step"), 503, "n2 is not in step", 3},
		{"/handoff?nodeID=00000000000000CD", nil, 400, "litefence handoff NODE", 3},
	} {
		refuse = c.refuse
		resp := post(t, p.replica, "POST", c.path, nil)
		b, _ := io.ReadAll(resp.Body)
		require.Equal(t, c.code, resp.StatusCode, c.path)
		require.Contains(t, string(b), c.says)
		require.Equal(t, c.asked, asked)
	}
	// HTTP/1.1 will do: a person with curl.
	resp, err := http.Post(p.replica.URL()+"/promote", "", strings.NewReader(""))
	require.NoError(t, err)
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, 200, resp.StatusCode)
}

// Between nodes only litefence's own handoff counts.
func TestPeersRelayPromotesNobody(t *testing.T) {
	noLeaks(t)
	p := newPair(t, fakeLiteFS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached LiteFS") }))
	for _, path := range []string{"/relay/handoff?nodeID=1", "/relay/promote"} {
		w := httptest.NewRecorder()
		req, err := http.NewRequest("POST", "http://primary"+path, nil)
		require.NoError(t, err)
		p.primary.PeerHandler().ServeHTTP(w, req)
		require.Equal(t, 404, w.Code)
	}
}

// A relay that closes does not wait for a handoff.
func TestCloseEndsPromotions(t *testing.T) {
	noLeaks(t)
	p := newPair(t, fakeLiteFS(t, func(http.ResponseWriter, *http.Request) {}))
	begun := make(chan struct{})
	p.toPrimary.set(func() {
		p.toPrimary.onPromote = func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := http.Post(p.replica.URL()+"/promote", "", strings.NewReader(""))
		if err == nil {
			resp.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, p.replica.Close(ctx))
	<-done
}
