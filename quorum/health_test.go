package quorum

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

// logLines is a log whose lines can be counted.
type logLines struct{ syncBuffer }

func (l *logLines) all() []string { return strings.Split(strings.TrimSpace(l.String()), "\n") }

func newTestHealth() (*health, *logLines, *atomic.Int64) {
	lines, changes := &logLines{}, &atomic.Int64{}
	return newHealth(slog.New(slog.NewTextHandler(lines, nil)), func() { changes.Add(1) }), lines, changes
}

// looks asks all probes n times and waits for their answers.
func looks(h *health, n int) {
	for range n {
		h.look(context.Background(), time.Minute)
		h.asked.Wait()
	}
}

func TestHealthIsTheWorstOfItsParts(t *testing.T) {
	h, lines, changes := newTestHealth()
	require.Equal(t, policy.Healthy, h.get().Health)
	require.True(t, h.get().LastCheck.IsZero())
	var disk, lag error
	h.add(Probe{"disk", func(context.Context) error { return disk }}, policy.Unhealthy)
	h.add(Probe{"lag", func(context.Context) error { return lag }}, policy.Degraded)
	looks(h, 1)
	require.Equal(t, policy.Healthy, h.get().Health)
	require.False(t, h.get().LastCheck.IsZero())

	lag = errors.New("far behind")
	looks(h, 10)
	require.Equal(t, policy.Degraded, h.get().Health, "lag never makes unhealthy")
	require.Equal(t, "lag: far behind", h.get().Reason)
	require.True(t, h.counts())

	disk = errors.New("full")
	looks(h, policy.FailuresToUnhealthy-1)
	require.Equal(t, policy.Degraded, h.get().Health)
	looks(h, 1)
	require.Equal(t, policy.Unhealthy, h.get().Health)
	require.Equal(t, "disk: full; lag: far behind", h.get().Reason, "the worst first")
	require.False(t, h.counts())

	disk = nil
	looks(h, policy.SuccessesToHealthy-1)
	require.Equal(t, policy.Unhealthy, h.get().Health)
	looks(h, 1)
	require.Equal(t, policy.Degraded, h.get().Health)
	lag = nil
	looks(h, policy.SuccessesToHealthy)
	require.Equal(t, policy.HealthStatus{Health: policy.Healthy, LastCheck: h.get().LastCheck}, h.get())
	require.Equal(t, int64(4), changes.Load())
	require.Len(t, lines.all(), 4, "one line for each change")
	require.Contains(t, lines.all()[1], "health=unhealthy was=degraded")
}

func TestUpdateHealthIsLatched(t *testing.T) {
	h, _, _ := newTestHealth()
	n := &Node{health: h}
	var disk error
	h.add(Probe{"disk", func(context.Context) error { return disk }}, policy.Unhealthy)
	n.UpdateHealth(false, "the application says so")
	require.Equal(t, policy.Unhealthy, n.HealthStatus().Health, "at once")
	looks(h, 2*policy.SuccessesToHealthy)
	require.Equal(t, "the application says so", n.HealthStatus().Reason)
	n.UpdateHealth(true, "")
	require.Equal(t, policy.Healthy, n.HealthStatus().Health)
	n.UpdateHealth(false, "")
	require.Equal(t, policy.Unhealthy, n.HealthStatus().Health)
	require.NotEmpty(t, n.HealthStatus().Reason)
	disk = errors.New("full")
	looks(h, policy.FailuresToUnhealthy)
	n.UpdateHealth(true, "")
	require.Equal(t, policy.Unhealthy, n.HealthStatus().Health, "it cannot say a full disk empty")
	require.Equal(t, "disk: full", n.HealthStatus().Reason)
}

// A late answer is none, whatever it says: it has counted as failed.
func TestLateAnswerDoesNotCount(t *testing.T) {
	h, _, _ := newTestHealth()
	release := make(chan struct{})
	h.add(Probe{"slow", func(context.Context) error { <-release; return nil }}, policy.Unhealthy)
	h.look(t.Context(), time.Minute)
	require.Equal(t, policy.Healthy, h.get().Health, "it has time until the next look")
	for range policy.FailuresToUnhealthy {
		h.look(t.Context(), time.Minute)
	}
	require.Equal(t, policy.Unhealthy, h.get().Health)
	require.Contains(t, h.get().Reason, "slow: no answer for")
	close(release)
	h.asked.Wait()
	looks(h, policy.SuccessesToHealthy-1)
	require.Equal(t, policy.Unhealthy, h.get().Health)
	looks(h, 1)
	require.Equal(t, policy.Healthy, h.get().Health)
}

// hungFS answers no statfs and opens no directory while it hangs.
type hungFS struct {
	fuse.RawFileSystem
	asked   atomic.Int64
	release chan struct{}
	once    sync.Once
}

func (f *hungFS) goOn() { f.once.Do(func() { close(f.release) }) }

func (f *hungFS) hang() { f.asked.Add(1); <-f.release }

func (f *hungFS) StatFs(<-chan struct{}, *fuse.InHeader, *fuse.StatfsOut) fuse.Status {
	f.hang()
	return fuse.OK
}

func (f *hungFS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	f.hang()
	return fuse.OK
}

func (f *hungFS) GetAttr(_ <-chan struct{}, _ *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Mode, out.Nlink = syscall.S_IFDIR|0o755, 2
	return fuse.OK
}

func (f *hungFS) ReadDirPlus(<-chan struct{}, *fuse.ReadIn, *fuse.DirEntryList) fuse.Status {
	return fuse.OK
}

func (f *hungFS) ReadDir(<-chan struct{}, *fuse.ReadIn, *fuse.DirEntryList) fuse.Status {
	return fuse.OK
}

func mountHung(t *testing.T) (string, *hungFS) {
	needRoot(t)
	dir := t.TempDir()
	f := &hungFS{RawFileSystem: fuse.NewDefaultRawFileSystem(), release: make(chan struct{})}
	s, err := fuse.NewServer(f, dir, &fuse.MountOptions{DirectMount: true, FsName: "hung", Name: "hung"})
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	go s.Serve()
	require.NoError(t, s.WaitMount())
	t.Cleanup(func() {
		f.goOn()
		require.NoError(t, unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH))
		s.Wait()
	})
	return dir, f
}

// A mount that does not answer: neither a thread nor a process that asks it can
// be stopped. Each probe asks once, the node is unhealthy, the end does not wait,
// and when the mount answers again so does all that was left.
func TestProbesOfAHungMount(t *testing.T) {
	dir, f := mountHung(t)
	h, _, _ := newTestHealth()
	h.add(FreeDisk(0, dir), policy.Unhealthy)
	h.add(Command("lower mount", "/bin/ls", dir), policy.Unhealthy)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); h.watch(ctx, 20*time.Millisecond) }()
	eventually(t, "both have failed", func() bool {
		s := h.get()
		return s.Health == policy.Unhealthy && strings.Count(s.Reason, "no answer for") == 2
	})
	eventually(t, "both have asked", func() bool { return f.asked.Load() == 2 })
	last := h.get().LastCheck
	eventually(t, "it keeps looking", func() bool { return h.get().LastCheck.Sub(last) > 200*time.Millisecond })
	require.Equal(t, int64(2), f.asked.Load(), "one look of each at a time")
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the end waits for a hung mount")
	}
	f.goOn()
	h.asked.Wait()
	require.NoError(t, FreeDisk(0, dir).Check(t.Context()))
	require.NoError(t, Command("lower mount", "/bin/ls", dir).Check(t.Context()))
}
