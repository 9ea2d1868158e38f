package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHandoffExitCodes: the codes are an interface; the reason is always said.
func TestHandoffExitCodes(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	var got handoffBody
	status, reply := 200, handoffReply{}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = handoffBody{}
		_ = json.NewDecoder(r.Body).Decode(&got)
		replyHandoff(w, status, reply)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })

	c := newAdminClient(socket)
	for s, want := range map[int]int{200: exitDone, 409: exitUnsafe, 504: exitNotReady, 500: exitFailed, 400: exitUsage, 418: exitFailed} {
		status, reply = s, handoffReply{}
		if s != 200 {
			reply.Error = fmt.Sprint("because of ", s)
		}
		code, _, err := c.handoff(context.Background(), "n2", 3*time.Second)
		require.Equal(t, want, code)
		require.Equal(t, handoffBody{To: "n2", Timeout: "3s"}, got)
		if s != 200 {
			require.ErrorContains(t, err, reply.Error)
		}
	}

	status, reply = 200, handoffReply{}
	require.Equal(t, exitDone, litefence("handoff", "-socket", socket, "n3", "-timeout", "2s"), "flags on both sides")
	require.Equal(t, handoffBody{To: "n3", Timeout: "2s"}, got)
	require.Equal(t, exitDone, litefence("handoff", "-socket", socket))
	require.Equal(t, handoffBody{Timeout: "10s"}, got)
	require.Equal(t, exitUsage, litefence("handoff", "-socket", socket, "n2", "n3"))
	require.Equal(t, exitUsage, litefence("handoff", "-socket", socket, "-timeout", "0s"))
	srv.Close()
	require.Equal(t, exitNotReady, litefence("handoff", "-socket", socket))
}

// A bad body is answered with what a good one looks like, and asks nobody.
func TestHandoffBadBody(t *testing.T) {
	for _, body := range []string{"", "n2", `{"timeout":"soon"}`, `{"timeout":"-1s"}`} {
		var d daemon
		w := httptest.NewRecorder()
		r, err := http.NewRequest("POST", "/v1/handoff", strings.NewReader(body))
		require.NoError(t, err)
		d.serveHandoff(w, r)
		require.Equal(t, 400, w.Code, body)
		require.Contains(t, w.Body.String(), `to\":\"n2\"`)
	}
}
