package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newTestProber(t *testing.T, script string) *prober {
	p, err := startProber("/bin/sh", "-c", script)
	require.NoError(t, err)
	t.Cleanup(func() { p.stop(context.Background()) })
	return p
}

func checkWithin(p *prober, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return p.check(ctx)
}

func TestProberAsksAgainAndAgain(t *testing.T) {
	ill := filepath.Join(t.TempDir(), "ill")
	p := newTestProber(t, "[ ! -e "+ill+" ] || { cat "+ill+"; exit 1; }")
	require.NoError(t, checkWithin(p, time.Minute))
	require.NoError(t, os.WriteFile(ill, []byte("the \"disk\"\nis dying"), 0o600))
	for range 3 {
		require.EqualError(t, checkWithin(p, time.Minute), `the "disk"`)
	}
	require.NoError(t, os.Remove(ill))
	require.NoError(t, checkWithin(p, time.Minute))
}

func TestProberKillsWhatIsLate(t *testing.T) {
	p := newTestProber(t, "sleep 1000")
	for range 2 { // a busy machine may take longer to notice
		require.Regexp(t, `not done within \d+ms; killed`, checkWithin(p, 100*time.Millisecond).Error())
	}
}

// The end of the daemon, or of the prober, ends what it runs and whoever waits.
func TestProberEndsInTheMiddle(t *testing.T) {
	for name, end := range map[string]func(*prober){
		"stopped": func(p *prober) { p.in.Close() },
		"killed":  func(p *prober) { _ = p.cmd.Process.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			began := filepath.Join(t.TempDir(), "began")
			p := newTestProber(t, "echo $$ > "+began+".new; mv "+began+".new "+began+"; exec sleep 1000")
			got := make(chan error, 1)
			go func() { got <- p.check(context.Background()) }()
			var pid string
			require.Eventually(t, func() bool {
				b, err := os.ReadFile(began)
				pid = strings.TrimSpace(string(b))
				return err == nil
			}, time.Minute, time.Millisecond)
			end(p)
			require.ErrorContains(t, <-got, "the process for the probes is gone")
			require.ErrorContains(t, p.check(context.Background()), "restart litefence", "and stays so")
			if name == "killed" {
				n, err := strconv.Atoi(pid) // nobody else is left to end the command
				require.NoError(t, err)
				require.NoError(t, syscall.Kill(n, syscall.SIGKILL))
				return
			}
			require.Eventually(t, func() bool {
				_, err := os.Stat("/proc/" + pid)
				return os.IsNotExist(err)
			}, time.Minute, time.Millisecond)
		})
	}
}
