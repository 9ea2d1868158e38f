package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/checker"
	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/nemesis"
	"github.com/litefence/litefence/test/report"
	"github.com/litefence/litefence/test/torture/app"
)

func TestMain(m *testing.M) {
	if app.IsRequested(os.Args) {
		os.Exit(app.Main(os.Args[2:]))
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // or each application takes a second more to end
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Fprintln(os.Stderr, "interrupted:", cluster.CloseAll())
		os.Exit(1)
	}()
	code := m.Run()
	if leaks := cluster.Leaks(); len(leaks) > 0 {
		fmt.Fprintln(os.Stderr, "left behind:", strings.Join(leaks, ", "))
		code = 1
	}
	os.Exit(code)
}

// TestTorture is `make torture` for some minutes: the same rounds each time, so
// that who changed something else does not meet what another has left, and every
// rule switched off once, which the checkers have to see.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no clusters")
	}
	c, err := cluster.New(cluster.Options{})
	if errors.Is(err, cluster.ErrUnable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.NoError(t, c.Close())

	dir := t.TempDir()
	o := options{
		rounds: 6, seed: 1, parallel: 2, out: filepath.Join(dir, "out"),
		litefence: built(t, dir, "litefence"), unsafe: built(t, dir, "litefence-unsafe", "-tags", "litefence_unsafe"),
		litefs: liteFSBin(t, dir),
	}
	o.limits.Steps, o.limits.Hold = 2, 4*time.Second
	t.Logf("seed %d: repeat with make torture ROUNDS=%d SEED=%d PARALLEL=2 TORTUREFLAGS='-steps 2 -hold 4s'", o.seed, o.rounds, o.seed)
	tort := newTorture(o, func(s string) { t.Log(s) })
	require.NoError(t, tort.check())
	tort.run(context.Background())
	require.Empty(t, tort.failed())
	require.NoError(t, tort.write())
	page, err := os.ReadFile(filepath.Join(o.out, "torture.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), fmt.Sprint(o.seed))

	// Nothing that was acknowledged may be lost, whatever the same faults do.
	o.confirm, o.rounds, o.unsafe = history.Replicated, 3, ""
	tort = newTorture(o, func(s string) { t.Log(s) })
	tort.run(context.Background())
	require.Empty(t, tort.failed())
}

func built(t *testing.T, dir, name string, flags ...string) string {
	bin := filepath.Join(dir, name)
	goBuild(t, filepath.Join("..", ".."), append(append(flags, "-o", bin), "./cmd/litefence")...)
	return bin
}

// liteFSBin is what `make build` has made, or one of its own.
func liteFSBin(t *testing.T, dir string) string {
	bin, err := filepath.Abs(filepath.Join("..", "..", "bin", "litefs"))
	require.NoError(t, err)
	if _, err := os.Stat(bin); err != nil {
		bin = filepath.Join(dir, "litefs")
		goBuild(t, filepath.Join("..", "litefs"), "-o", bin, "github.com/superfly/litefs/cmd/litefs")
	}
	return bin
}

func goBuild(t *testing.T, dir string, args ...string) {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// What a user gets wrong is found before anything starts.
func TestOptions(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	good := options{litefence: self, litefs: self, out: t.TempDir()}
	require.NoError(t, good.check())
	bad := good
	bad.litefs = "/nowhere/litefs"
	require.ErrorContains(t, bad.check(), "make build")
	bad = good
	bad.limits.Only = []string{"no such fault"}
	require.ErrorContains(t, bad.check(), `no fault "no such fault"`)
	bad = good
	bad.confirm = "copies"
	require.ErrorContains(t, bad.check(), `no quorum.confirm "copies"; there are: lease quorum replicated`)
}

// What commits wait for may be given; then it is in all rounds, and they are
// otherwise those of the same seeds.
func TestConfirmIsTheOnlyDifference(t *testing.T) {
	drawn := map[string]bool{}
	for seed := range uint64(100) {
		want := newSetting(seed, nemesis.Limits{}, "")
		drawn[want.confirm] = true
		for _, mode := range []string{history.Lease, history.Quorum, history.Replicated} {
			got := newSetting(seed, nemesis.Limits{}, mode)
			require.Equal(t, mode, got.confirm)
			got.confirm = want.confirm
			require.Equal(t, want, got)
		}
	}
	require.Equal(t, map[string]bool{"": true, history.Quorum: true}, drawn)
	run := newTorture(options{rounds: 1, seed: 9, confirm: history.Replicated, limits: nemesis.Limits{Steps: 2, Hold: longestHold, Only: []string{"a", "b"}}}, nil)
	require.Equal(t, `make torture ROUNDS=1 SEED=9 TORTUREFLAGS='-steps 2 -confirm replicated -only "a;b"'`, run.command())
}

// A run whose checkers were blind, or that did not come to its end, is a
// failure.
func TestFailed(t *testing.T) {
	run := newTorture(options{}, nil)
	require.Empty(t, run.failed())
	run.rounds = 1
	require.Equal(t, []string{"0 rounds of 1"}, run.failed())

	run = newTorture(options{unsafe: "built"}, nil)
	for _, c := range run.checks() {
		// Something else than what it must show.
		other := history.Result{Anomalies: []history.Anomaly{{Rule: checker.NotBack}}}
		run.controls = []report.Control{{Name: c.name, MustFail: c.want != nil, Results: []history.Result{{}, other}}}
		if c.want == nil {
			require.Empty(t, run.failed())
			continue
		}
		require.Equal(t, []string{c.name + ": nobody saw that a rule was off"}, run.failed())
		run.controls[0].Results[0].Anomalies = []history.Anomaly{{Rule: c.want[0]}}
		require.Empty(t, run.failed())
	}
}

// The report has a sentence for every rule of the checker, and no other.
func TestRulesAreExplained(t *testing.T) {
	explained := map[string]bool{}
	for _, r := range report.Rules() {
		explained[r.Name] = true
	}
	all := []string{
		checker.OneWriter, checker.StaleAck, checker.LostKnown, checker.LostReplicated, checker.RefusedPresent, checker.MadeUp, checker.Diverged,
		checker.Corrupt, checker.Bank, checker.Register, checker.RegisterUnchecked, checker.List, checker.ReadFailed,
		checker.ReadsStopped, checker.NotBack, checker.Round,
	}
	for _, name := range all {
		require.True(t, explained[name], name)
	}
	require.Len(t, explained, len(all))
}
