package quorum

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
}

func TestFreeDisk(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	p := FreeDisk(2<<20, dir)
	require.NoError(t, p.Check(t.Context()))
	file := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(file, make([]byte, 3<<20), 0o600))
	require.EqualError(t, p.Check(t.Context()), dir+" has 1 MiB free; policy.health.min-free-disk is 2 MiB")
	require.Error(t, FreeDisk(2<<20, "/", dir).Check(t.Context()), "every directory is looked at")
	require.NoError(t, os.Remove(file))
	require.NoError(t, p.Check(t.Context()))
	require.ErrorContains(t, FreeDisk(1, dir+"/gone").Check(t.Context()), dir+"/gone: no such file")
}

func writePressure(t *testing.T, dir, what, avg10 string) {
	text := "some avg10=" + avg10 + " avg60=59.47 avg300=39.85 total=324520003\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, what), []byte(text), 0o600))
}

func TestPressure(t *testing.T) {
	dir := t.TempDir()
	_, err := pressureIn(dir, 40)
	require.ErrorContains(t, err, "policy.health.max-pressure: this kernel does not tell the pressure")
	writePressure(t, dir, "cpu", "39.99")
	_, err = pressureIn(dir, 40)
	require.ErrorContains(t, err, "memory: no such file")
	writePressure(t, dir, "memory", "0.00")
	p, err := pressureIn(dir, 40)
	require.NoError(t, err)
	require.NoError(t, p.Check(t.Context()))
	writePressure(t, dir, "cpu", "40.01")
	require.EqualError(t, p.Check(t.Context()), "cpu pressure 40.01 %; policy.health.max-pressure is 40")
	writePressure(t, dir, "cpu", "0.00")
	writePressure(t, dir, "memory", "83.20")
	require.ErrorContains(t, p.Check(t.Context()), "memory pressure 83.2 %")
	for _, bad := range []string{"", "full avg10=1.00", "some", "some avg60=1.00", "some avg10=x"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "memory"), []byte(bad), 0o600))
		require.ErrorContains(t, p.Check(t.Context()), "has no line", "%q", bad)
	}
}

func TestPressureOfThisKernel(t *testing.T) {
	if _, err := os.ReadFile(pressureDir + "/cpu"); err != nil {
		t.Skip(err)
	}
	p, err := Pressure(100)
	require.NoError(t, err)
	require.NoError(t, p.Check(t.Context()), "it is a percentage")
}

func sh(script string) Probe { return Command("command", "/bin/sh", "-c", script) }

func TestCommand(t *testing.T) {
	require.NoError(t, sh("echo all is well; exit 0").Check(t.Context()))
	require.EqualError(t, sh("echo; echo '  replica is ill '; echo more; exit 3").Check(t.Context()), "replica is ill")
	require.EqualError(t, sh("echo on stderr >&2; exit 1").Check(t.Context()), "on stderr")
	require.EqualError(t, sh("exit 3").Check(t.Context()), "exit status 3")
	require.EqualError(t, sh("kill -SEGV $$").Check(t.Context()), "signal: segmentation fault")
	require.ErrorContains(t, Command("command", "/surely/not/there").Check(t.Context()), "no such file")
	require.NoError(t, sh("head -c 10000000 /dev/zero; exit 0").Check(t.Context()), "much output does not block it")
	err := sh("yes x | tr -d '\\n' | head -c 1000000; exit 1").Check(t.Context())
	require.Len(t, err.Error(), headMax)
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// A command that hangs dies with all that it has started, also where a child
// keeps its output open.
func TestHangingCommandIsKilledWithItsGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- sh("trap '' TERM; sleep 1000 & echo $! > " + pidFile + ".new; mv " + pidFile + ".new " + pidFile + "; wait").Check(ctx)
	}()
	var child int
	eventually(t, "it has started its child", func() bool {
		b, err := os.ReadFile(pidFile)
		child, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	require.True(t, alive(child))
	cancel()
	require.ErrorContains(t, <-done, "not done within")
	eventually(t, "the child is dead too", func() bool { return !alive(child) })
}

// A command that has said yes and left a child behind has said yes.
func TestCommandLeavesAChildBehind(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	t.Cleanup(func() {
		if b, err := os.ReadFile(pidFile); err == nil {
			pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, sh("sleep 1000 & echo $! > "+pidFile+"; exit 0").Check(ctx))
	require.NoError(t, ctx.Err())
}
