package fusefs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

// rig is one real LiteFS with a fenced mount over it.
type rig struct {
	t     *testing.T
	dir   string
	lower string
	mount string
	url   string
	gate  *Gate
	fs    *FS
	cfg   Config
	proc  *exec.Cmd
	exit  chan struct{}

	confirm atomic.Pointer[func(context.Context, policy.Commit) error]
	drops   atomic.Int64 // that tellDrops has passed on

	mu    sync.Mutex
	state policy.FenceState
	cmds  []bool
	logs  *lockedBuffer
}

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

const forever = int64(1) << 62

// newRig starts LiteFS as a static primary and mounts over it; the gate is
// open under epoch 1 unless an option says otherwise.
func newRig(t *testing.T, options ...func(*Config)) *rig {
	t.Helper()
	r := startLiteFS(t)
	r.fenceIt(options...)
	require.NoError(t, r.gate.Open(1, forever))
	return r
}

// newReplica starts a LiteFS that follows p's, with a fenced mount over it.
func newReplica(p *rig) *rig {
	p.t.Helper()
	r := startNode(p.t, p.url)
	r.fenceIt()
	r.fence()
	return r
}

// fenceIt mounts over r's LiteFS, with the gate shut.
func (r *rig) fenceIt(options ...func(*Config)) {
	t := r.t
	t.Helper()
	r.gate = NewGate()
	r.cfg = Config{
		Lower: r.lower, Mount: r.mount, AllowOther: true, Enforce: true, Gate: r.gate,
		State: func() policy.FenceState {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.state
		},
		Blocked: func(on bool) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.cmds = append(r.cmds, on)
			return nil
		},
		Halt: r.halt,
		Confirm: func(ctx context.Context, c policy.Commit) error {
			if fn := r.confirm.Load(); fn != nil {
				return (*fn)(ctx, c)
			}
			return nil
		},
		Log: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, o := range options {
		o(&r.cfg)
	}
	fs, err := Mount(r.cfg)
	require.NoError(t, err)
	r.fs = fs
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := fs.Unmount(ctx); err != nil {
			t.Errorf("unmount: %v", err)
		}
		select {
		case <-fs.Done():
		case <-ctx.Done():
			t.Error("the mount did not end")
		}
	})
}

// startLiteFS starts a static primary.
func startLiteFS(t *testing.T) *rig { return startNode(t, "") }

// startNode starts a LiteFS that follows the one at primary, or is primary.
func startNode(t *testing.T, primary string) *rig {
	t.Helper()
	return startNodeOn(t, primary, func(string) {})
}

// startNodeOn is startNode; prepare is called with the data directory before.
func startNodeOn(t *testing.T, primary string, prepare func(data string)) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", tempPrefix)
	require.NoError(t, err)
	r := &rig{t: t, dir: dir, lower: filepath.Join(dir, "lower"), mount: filepath.Join(dir, "fenced"), logs: &lockedBuffer{}}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("fusefs log:\n%s", tail(r.logs.String(), 4000))
			b, _ := os.ReadFile(filepath.Join(dir, "litefs.log"))
			t.Logf("LiteFS log:\n%s", tail(string(b), 4000))
		}
	})
	for _, d := range []string{r.lower, r.mount, filepath.Join(dir, "data")} {
		require.NoError(t, os.Mkdir(d, 0o777))
	}
	prepare(filepath.Join(dir, "data"))
	addr := freeAddr(t)
	r.url = "http://" + addr
	candidate := primary == ""
	if candidate {
		primary = r.url
	}
	config := filepath.Join(dir, "litefs.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
fuse: {dir: %q, allow-other: true}
data: {dir: %q}
http: {addr: %q}
lease: {type: static, candidate: %v, hostname: localhost, advertise-url: %q}
`, r.lower, filepath.Join(dir, "data"), addr, candidate, primary), 0o666))
	r.run(config, candidate)
	return r
}

func (r *rig) run(config string, primary bool) {
	binary, err := filepath.Abs("../bin/litefs")
	require.NoError(r.t, err)
	if _, err := os.Stat(binary); err != nil {
		r.t.Skip("no bin/litefs: build it first (test/litefs)")
	}
	log, err := os.Create(filepath.Join(r.dir, "litefs.log"))
	require.NoError(r.t, err)
	r.proc = exec.Command(binary, "mount", "-config", config)
	r.proc.Stdout, r.proc.Stderr = log, log
	require.NoError(r.t, r.proc.Start())
	_ = log.Close()
	r.exit = make(chan struct{})
	go func() {
		_ = r.proc.Wait()
		close(r.exit)
	}()
	r.t.Cleanup(func() {
		_ = r.proc.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.exit:
		case <-time.After(3 * time.Second):
			_ = r.proc.Process.Kill()
			<-r.exit
		}
		_ = unix.Unmount(r.lower, unix.MNT_DETACH)
	})
	r.eventually(func() bool {
		resp, err := http.Get(r.url + "/info")
		if err != nil {
			return false
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer resp.Body.Close()
		var info struct {
			IsPrimary bool `json:"isPrimary"`
		}
		m, _ := mountAt(r.lower)
		return json.NewDecoder(resp.Body).Decode(&info) == nil && m != nil && info.IsPrimary == primary
	}, "LiteFS runs")
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// eventually waits for a condition, not for a time.
func (r *rig) eventually(cond func() bool, what string) {
	r.t.Helper()
	require.Eventually(r.t, cond, 15*time.Second, 5*time.Millisecond, what)
}

// halt is what the program passes as Config.Halt.
func (r *rig) halt(ctx context.Context, db string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	id := rand.Int64()
	for _, method := range []string{"POST", "DELETE"} {
		req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/halt?name=%s&id=%d", r.url, db, id), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Litefs-Id", "00000000000000AA")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s /halt: %s", method, resp.Status)
		}
	}
	return nil
}

// fence engages the fence as the program does.
func (r *rig) fence() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.setState(policy.FenceState{Fenced: true, Reason: policy.ReasonStale, Node: "n1", Term: 7, Since: time.Unix(1700000000, 0)})
	require.NoError(r.t, r.gate.Fence(ctx))
}

func (r *rig) setState(st policy.FenceState) {
	r.mu.Lock()
	r.state = st
	r.mu.Unlock()
	if r.fs != nil {
		r.fs.NotifyState()
	}
}

func (r *rig) reopen(epoch uint64) {
	r.t.Helper()
	r.setState(policy.FenceState{Node: "n1", Primary: "n1"})
	require.NoError(r.t, r.gate.Open(epoch, forever))
}

func (r *rig) path(name string) string { return filepath.Join(r.mount, name) }

// pos reads the position from the lower mount.
func (r *rig) pos(db string) string {
	b, err := os.ReadFile(filepath.Join(r.lower, db+"-pos"))
	require.NoError(r.t, err)
	return string(b)
}

// onConfirm sets what is asked between a commit point and its second look.
func (r *rig) onConfirm(fn func() error) {
	r.onCommit(func(context.Context, policy.Commit) error { return fn() })
}

func (r *rig) onCommit(fn func(context.Context, policy.Commit) error) { r.confirm.Store(&fn) }
