package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == appCommand {
		os.Exit(appMain(os.Args[2:]))
	}
	// With the race detector a program sleeps for a second at its end, and the
	// bench runs hundreds.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// measured runs a quick bench with more flags. Nothing fails, and nothing is left.
func measured(t *testing.T, flags ...string) (*report, options) {
	t.Helper()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(append([]string{"-quick", "-litefence", "../../bin/litefence", "-litefs", "../../bin/litefs"}, flags...))
	require.NoError(t, err)
	var out bytes.Buffer
	r, err := bench(ctx, o, &out)
	if errors.Is(err, cluster.ErrUnable) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Log("\n" + out.String())
	require.NoError(t, r.failed())
	require.Empty(t, cluster.Leaks())
	return r, o
}

// The whole bench, briefly: every row that is asked for gets its ratio, and
// nothing is left. How fast anything is, no test says.
func TestBenchMeasuresEveryWorkload(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no clusters")
	}
	file := filepath.Join(t.TempDir(), "bench.json")
	r, _ := measured(t, "-commits", "", "-json", file)
	require.Len(t, r.Rows, len(workloads))

	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var read report
	require.NoError(t, json.Unmarshal(b, &read))
	for _, row := range read.Rows {
		for _, name := range []string{baseline, "again", "fenced"} {
			require.Greater(t, row.Median[name], 0.0, "%s: %s", row.Name, name)
		}
	}
}

func TestRatiosAreOfOneRound(t *testing.T) {
	r := newRow(workload{Target: 2})
	r.add(map[string]float64{baseline: 100, "fenced": 200})
	r.add(map[string]float64{baseline: 10, "fenced": 30})
	r.add(map[string]float64{baseline: 0, "fenced": 7}) // the baseline failed
	r.add(map[string]float64{baseline: 100, "fenced": 0})
	require.Equal(t, []float64{2, 3}, r.Ratios["fenced"])
	require.Equal(t, []float64{200, 30, 7}, r.Rates["fenced"])
	require.Equal(t, 2.5, r.Median["fenced"])
	require.Equal(t, "2.50 (2.00..3.00)", r.cell("fenced"))
	require.Equal(t, "2.00\tok", r.verdict())
	require.Equal(t, "-", r.cell("bindfs"))
	r.Fails["bindfs"] = []string{"EIO", "EIO"}
	require.Equal(t, "fails (EIO) 2x ", r.cell("bindfs"))
}

func TestMedian(t *testing.T) {
	require.Equal(t, 0.0, median(nil))
	require.Equal(t, 2.0, median([]float64{3, 1, 2}))
	require.Equal(t, 2.5, median([]float64{4, 1, 3, 2}))
}
