package litefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	wait = 15 * time.Second // for a condition; two busy cores
	tick = 5 * time.Millisecond
)

// noLeaks fails the test on goroutines that are left when all later clean-ups
// have run.
func noLeaks(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func eventually(t *testing.T, cond func() bool, what string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(wait); !cond(); time.Sleep(tick) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", wait, fmt.Sprintf(what, args...))
		}
	}
}

// syncBuffer collects a log or a process's output.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newLog() (*slog.Logger, *syncBuffer) {
	b := &syncBuffer{}
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})), b
}

// freeAddr is a loopback address that was free just now.
func freeAddr(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// script is an Authority that does as it is told and remembers what it heard.
type script struct {
	mu        sync.Mutex
	primary   string // "" = none
	allow     bool   // Acquire, Renew
	setErr    error  // SetClusterID
	clusterID string
	serveID   bool // ClusterID answers with it

	loops, renewals int
	lastGrant       uint64
	hostname        string
	released        []uint64
	onRenew         func(grant uint64)
	onAcquire       func(ctx context.Context)
}

func (s *script) Looped() { s.set(func() { s.loops++ }) }

func (s *script) ClusterID() (id string) {
	s.set(func() {
		if s.serveID {
			id = s.clusterID
		}
	})
	return id
}

func (s *script) SetClusterID(_ context.Context, id string) (err error) {
	s.set(func() {
		if err = s.setErr; err == nil {
			s.clusterID = id
		}
	})
	return err
}

func (s *script) Primary() (h string, ok bool) {
	s.set(func() { h, ok = s.primary, s.primary != "" })
	return h, ok
}

func (s *script) Acquire(ctx context.Context, hostname string) (grant uint64, ok bool) {
	var f func(context.Context)
	s.set(func() { f = s.onAcquire })
	if f != nil {
		f(ctx)
	}
	s.set(func() {
		if ok = s.allow; ok {
			s.lastGrant++
			s.hostname = hostname
			grant = s.lastGrant
		}
	})
	return grant, ok
}

func (s *script) Renew(_ context.Context, grant uint64) (ok bool) {
	var f func(uint64)
	s.set(func() { s.renewals++; f = s.onRenew })
	if f != nil {
		f(grant)
	}
	s.set(func() { ok = s.allow && grant == s.lastGrant })
	return ok
}

func (s *script) Release(_ context.Context, grant uint64) {
	s.set(func() { s.released = append(s.released, grant) })
}

// set changes, or reads, the script under its lock.
func (s *script) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *script) get(f func() int) (n int) {
	s.set(func() { n = f() })
	return n
}

func (s *script) loopCount() int    { return s.get(func() int { return s.loops }) }
func (s *script) renewalCount() int { return s.get(func() int { return s.renewals }) }
func (s *script) grants() int       { return s.get(func() int { return int(s.lastGrant) }) }

func (s *script) releases() (r []uint64) {
	s.set(func() { r = append(r, s.released...) })
	return r
}

func newEndpoint(t *testing.T, relayURL string, a Authority) (*Endpoint, *syncBuffer) {
	t.Helper()
	log, out := newLog()
	e, err := NewEndpoint("127.0.0.1:0", relayURL, a, log)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		require.NoError(t, e.Close(ctx))
	})
	return e, out
}

// liteFS is the real one.
type liteFS struct {
	t        *testing.T
	dir      string
	addr     string
	leaseURL string
	name     string
	cmd      *exec.Cmd
	out      *syncBuffer
	client   *Client
}

// newLiteFS starts LiteFS; its clean-up leaves no process and no mount.
func newLiteFS(t *testing.T, name, leaseURL string) *liteFS {
	t.Helper()
	return newLiteFSAt(t, name, freeAddr(t), leaseURL)
}

func newLiteFSAt(t *testing.T, name, addr, leaseURL string) *liteFS {
	t.Helper()
	bin, err := filepath.Abs("../../bin/litefs")
	require.NoError(t, err)
	if _, err := os.Stat(bin); errors.Is(err, os.ErrNotExist) {
		t.Skipf("NOT TESTED AGAINST LITEFS: build it first: go build -C test/litefs -o ../../bin/litefs github.com/superfly/litefs/cmd/litefs")
	}
	l := &liteFS{t: t, dir: t.TempDir(), addr: addr, leaseURL: leaseURL, name: name}
	l.client = NewClient("http://" + l.addr)
	require.NoError(t, os.MkdirAll(l.mnt(), 0o755))
	l.start()
	t.Cleanup(l.kill)
	return l
}

func (l *liteFS) mnt() string  { return filepath.Join(l.dir, "mnt") }
func (l *liteFS) data() string { return filepath.Join(l.dir, "data") }

func (l *liteFS) start() {
	l.t.Helper()
	config := fmt.Sprintf(`
fuse: {dir: %q}
data: {dir: %q}
http: {addr: %q}
skip-sync: true
exit-on-error: true
lease:
  type: consul
  hostname: %s
  advertise-url: "http://%s"
  reconnect-delay: 20ms
  consul: {url: %q, key: litefs/primary, ttl: 100ms}
`, l.mnt(), l.data(), l.addr, l.name, l.addr, l.leaseURL)
	path := filepath.Join(l.dir, "litefs.yml")
	require.NoError(l.t, os.WriteFile(path, []byte(config), 0o600))
	l.out = &syncBuffer{}
	l.cmd = exec.Command("../../bin/litefs", "mount", "-config", path)
	l.cmd.Stdout, l.cmd.Stderr = l.out, l.out
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(l.t, l.cmd.Start())
	eventually(l.t, func() bool { _, err := l.client.Info(l.t.Context()); return err == nil }, "LiteFS serves its API: %s", l.out)
}

// kill is kill -9, and the mount's corpse with it.
func (l *liteFS) kill() {
	if l.cmd == nil {
		return
	}
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait()
	l.cmd = nil
	_ = syscall.Unmount(l.mnt(), syscall.MNT_DETACH)
	if l.t.Failed() {
		l.t.Logf("LiteFS %s:\n%s", l.name, l.out)
	}
}

func (l *liteFS) signal(s os.Signal) { require.NoError(l.t, l.cmd.Process.Signal(s)) }

// stop is an orderly end.
func (l *liteFS) stop() {
	l.t.Helper()
	l.signal(syscall.SIGTERM)
	require.NoError(l.t, l.cmd.Wait(), l.out)
	l.cmd = nil
}

func (l *liteFS) isPrimary() bool {
	info, err := l.client.Info(l.t.Context())
	return err == nil && info.IsPrimary
}

func (l *liteFS) waitPrimary(want bool) {
	l.t.Helper()
	eventually(l.t, func() bool { return l.isPrimary() == want }, "isPrimary = %v: %s", want, l.out)
}

func (l *liteFS) sql(db, stmt string) string {
	l.t.Helper()
	out, err := exec.Command("sqlite3", filepath.Join(l.mnt(), db), stmt).CombinedOutput()
	require.NoError(l.t, err, "%s: %s", stmt, out)
	return strings.TrimSpace(string(out))
}

// session is a sqlite3 with an open connection; it has done stmts when it
// returns.
func (l *liteFS) session(db, stmts string) (in io.WriteCloser, end func()) {
	l.t.Helper()
	cmd := exec.Command("sqlite3", filepath.Join(l.mnt(), db))
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(l.t, err)
	require.NoError(l.t, cmd.Start())
	var once sync.Once
	end = func() { once.Do(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) }
	l.t.Cleanup(end)
	_, err = io.WriteString(in, stmts+"\nSELECT 'do'||'ne';\n")
	require.NoError(l.t, err)
	eventually(l.t, func() bool { return strings.Contains(out.String(), "done") }, "%s: %s", stmts, out)
	return in, end
}
