package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Nothing on admin.listen changes anything: each route that does is on the
// socket alone, and the others take nothing but GET and HEAD.
func TestReadOnlyPortChangesNothing(t *testing.T) {
	d := startLive(t)
	data := &daemon{} // its routes are more than a witness's
	changing := data.changing()
	require.Greater(t, len(changing), 4)
	for _, r := range changing {
		method, path, _ := strings.Cut(r.pattern, " ")
		require.Equal(t, http.MethodPost, method)
		for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "GET"} {
			status, text, _ := d.ask(false, m, path, "{}")
			require.Equal(t, http.StatusNotFound, status, "%s %s", m, path)
			require.NotEmpty(t, text)
		}
	}
	for _, r := range d.readOnly() {
		method, path, _ := strings.Cut(r.pattern, " ")
		require.Equal(t, http.MethodGet, method)
		path = strings.TrimSuffix(path, "{$}") // the pattern's "nothing more"
		for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			status, text, header := d.ask(false, m, path, "{}")
			require.Equal(t, http.StatusMethodNotAllowed, status, "%s %s", m, path)
			require.Contains(t, text, "want GET")
			require.Contains(t, header.Get("Allow"), "GET")
			require.Empty(t, header.Get("Access-Control-Allow-Origin"))
		}
	}
	status, text, _ := d.ask(false, "POST", "/v1/health", `{"healthy":false,"reason":"x"}`)
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, text, "/v1/health changes something: it is on admin.socket only")
	require.Equal(t, "healthy", string(d.glance().HealthStatus))
	status, text, _ = d.ask(false, "GET", "/nothing", "")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, text, "there is nothing here")
}

// Wrong input gets a 4xx with a reason and changes nothing.
func TestWrongInput(t *testing.T) {
	d := startLive(t)
	long := `{"healthy":false,"reason":"` + strings.Repeat("x", maxAdminBody) + `"}`
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/v1/health", ``, 400, "the body is empty"},
		{"POST", "/v1/health", `{`, 400, "unexpected EOF"},
		{"POST", "/v1/health", `{"healthy":false,"reason":"x","force":true}`, 400, `unknown field "force"`},
		{"POST", "/v1/health", `{"healthy":"no","reason":"x"}`, 400, "cannot unmarshal string"},
		{"POST", "/v1/health", `{"healthy":false,"reason":"x"} {}`, 400, "more behind the JSON value"},
		{"POST", "/v1/health", `{"healthy":false}`, 400, "reason: missing"},
		{"POST", "/v1/health", `[]`, 400, "cannot unmarshal array"},
		{"POST", "/v1/health", long, 413, "too large"},
		{"GET", "/v1/health", ``, 405, "want POST"},
		{"PUT", "/v1/health", `{"healthy":false,"reason":"x"}`, 405, "want POST"},
		{"POST", "/v1/status", ``, 405, "want GET"},
		{"POST", "/v1/peers", `{"op":"add","node":"n4"}`, 400, "is not an address"},
		{"POST", "/v1/peers", `{"op":"add","node":"n4","address":"10.0.0.4:7400","now":1}`, 400, "unknown field"},
		{"POST", "/v1/handoff", `{"to":"n2","timeout":"soon"}`, 400, "invalid duration"},
		{"POST", "/v1/handoff", `{"to":"n2","timeout":"-1s"}`, 400, "want more than 0"},
		{"POST", "/v1/handoff", `{"too":"n2"}`, 400, "unknown field"},
		{"POST", "/v1/fence", `{"reason":"x"}`, 404, "nothing here"}, // of a witness
	} {
		status, text, _ := d.ask(true, c.method, c.path, c.body)
		require.Equal(t, c.status, status, "%s %s %.60s: %s", c.method, c.path, c.body, text)
		require.Contains(t, text, c.says, "%s %s", c.method, c.path)
	}
	require.Equal(t, "healthy", string(d.glance().HealthStatus))
	status, text, _ := d.ask(true, "POST", "/v1/health", `{"healthy":false,"reason":"x"}`)
	require.Equal(t, http.StatusOK, status, text)
	require.Equal(t, "unhealthy", string(d.glance().HealthStatus))
}

// The kernel says who asks on the socket, whatever its mode is.
func TestSocketIsForOwnUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it needs root to be somebody else")
	}
	d := startLive(t)
	require.NoError(t, os.Chmod(d.cfg.Admin.Socket, 0o666))
	status, _, _ := d.ask(true, "GET", "/v1/status", "")
	require.Equal(t, http.StatusOK, status)
	const nobody = 65534
	for _, path := range []string{"GET /v1/status", "POST /v1/health"} {
		answer := make(chan string, 1)
		go func() {
			// Only this thread becomes nobody, and ends with the goroutine.
			runtime.LockOSThread()
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
				answer <- errno.Error()
				return
			}
			answer <- askRaw(d.cfg.Admin.Socket, path)
		}()
		text := <-answer
		require.Contains(t, text, "403 Forbidden", path)
		require.Contains(t, text, "uid 65534", path)
		require.Contains(t, text, "it is for root", path)
	}
}

// askRaw asks in the calling goroutine's own thread.
func askRaw(socket, line string) string {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "%s HTTP/1.0\r\nHost: x\r\n\r\n", line)
	buf := make([]byte, 4096)
	n := 0
	for n < len(buf) {
		m, err := c.Read(buf[n:])
		n += m
		if err != nil {
			break
		}
	}
	return string(buf[:n])
}

// A client that never ends its request, or sends an endless head, is let go.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	d := startLive(t)
	began := time.Now()
	c, err := net.Dial("tcp", d.cfg.Admin.Listen)
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprintf(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n")
	_ = c.SetDeadline(time.Now().Add(4 * adminReadLimit))
	buf := make([]byte, 512)
	_, err = c.Read(buf)
	require.Error(t, err, "it is hung up on")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, time.Since(began), 3*adminReadLimit)

	req, err := http.NewRequest("GET", d.url+"/v1/status", nil)
	require.NoError(t, err)
	req.Header.Set("X-Long", strings.Repeat("x", 2*maxAdminHeader))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
}
