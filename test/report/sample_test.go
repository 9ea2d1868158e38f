package report

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litefence/litefence/test/history"
	"github.com/stretchr/testify/require"
)

var sampleDir = flag.String("sample", "", "write the reports of made-up rounds into this directory")

// TestSample is for looking at: go test ./test/report -run TestSample -args -sample DIR
func TestSample(t *testing.T) {
	if *sampleDir == "" {
		t.Skip("no -sample")
	}
	for name, write := range map[string]func(f *os.File) error{
		"sample.html": func(f *os.File) error { return HTML(f, sampleRun(40, true)) },
		"good.html":   func(f *os.File) error { return HTML(f, sampleRun(40, false)) },
		"sample.md":   func(f *os.File) error { return Markdown(f, sampleRun(40, true)) },
		"empty.html":  func(f *os.File) error { return HTML(f, Run{}) },
	} {
		f, err := os.Create(filepath.Join(*sampleDir, name))
		require.NoError(t, err)
		require.NoError(t, write(f))
		require.NoError(t, f.Close())
	}
}

// sampleRun makes up a run; with bad, rounds with anomalies and a blind control.
func sampleRun(rounds int, bad bool) Run {
	r := Run{
		Command: "make torture ROUNDS=40 SEED=1", Began: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Took: 83*time.Minute + 12*time.Second,
		Versions: map[string]string{"Go": "1.26.0", "litefence": "v1.2.0 (0123abc)", "LiteFS": "v0.5.14", "kernel": "6.12.1", "cores": "2", "SQLite": "3.50.1", "a tool": "1"},
	}
	for i := range rounds {
		r.Results = append(r.Results, sampleRound(i+1))
	}
	broken := sampleRound(1)
	broken.Anomalies = []history.Anomaly{{Rule: "one-writer", At: broken.Round.Start + 9e9, Text: "n1 acknowledged w17 after n2 acknowledged w18"}}
	r.Controls = []Control{
		{Name: "no fence", What: "The gate admits every write.", Results: []history.Result{sampleRound(1), broken}, MustFail: true},
		{Name: "LiteFS, static lease", What: "Without litefence.", Results: []history.Result{broken, sampleRound(2)}},
	}
	if bad {
		r.Results[6].Anomalies = []history.Anomaly{
			{Rule: "stale-ack", At: r.Results[6].Round.Start + 12e9, Text: "n2 acknowledged <script>alert(1)</script> | at 12.01 s, n3 had at 11.80 s"},
			{Rule: "bank", Text: "n1 read a sum of 990, not 1000"},
		}
		r.Results[20].Anomalies = []history.Anomaly{{Rule: "round", Text: "n3 does not start: exit status 1"}}
		r.Results[20].Round.Normal, r.Results[20].Back = 0, 0
		r.Controls = append(r.Controls, Control{Name: "no wait", What: "A new leader does not wait the old lease out.", Results: []history.Result{sampleRound(3)}, MustFail: true})
	}
	return r
}

// sampleRound is a round of 20 s in which one fault follows the other.
func sampleRound(number int) history.Result {
	g := rand.New(rand.NewPCG(uint64(number), 1))
	seed := g.Uint64()
	nodes := []string{"n1", "n2", "n3", "n4", "n5"}[:3+2*g.IntN(2)]
	const start, second = int64(500e9), int64(1e9)
	res := history.Result{Round: history.RoundInfo{Number: number, Flags: "-steps 2", Seed: seed, Nodes: nodes, Journal: []string{"wal", "delete", "truncate"}[g.IntN(3)], Confirm: []string{"lease", "replicated"}[number%2], Subject: "litefence", Start: start}}
	names := []string{"cut off, both ways", "cut off, sends nothing", "litefence killed", "LiteFS stopped for 2s", "disk full", "handoff while the target is stopped"}
	now, primary := start, g.IntN(len(nodes))
	for i := range 2 + g.IntN(4) {
		n := g.IntN(len(names))
		at := now + second + g.Int64N(2*second)
		f := history.Fault{Name: names[n], Targets: []string{nodes[primary]}, Start: at, End: at + second + g.Int64N(3*second), Cuts: n < 2}
		if n == 2 || n == 3 {
			f.Stops = f.Targets
		}
		fence, outage := time.Duration(g.Int64N(3e8)), time.Duration(8e8+g.ExpFloat64()*4e8)
		e := history.Epoch{Node: nodes[primary], First: now + 1e7, Last: at + int64(fence), Acked: 100 + g.IntN(300)}
		if i%2 == 0 && res.Round.Confirm != "replicated" {
			e.LostHere = g.IntN(4)
		}
		res.Counts.Lost += e.LostHere
		for k := range e.LostHere {
			res.Counts.LostIDs = append(res.Counts.LostIDs, fmt.Sprintf("w%d-%d", i, k))
		}
		res.Counts.Acked += e.Acked
		res.Epochs, res.Faults = append(res.Epochs, e), append(res.Faults, f)
		res.Fence, res.FenceOf, res.Outages = append(res.Fence, fence), append(res.FenceOf, i), append(res.Outages, outage)
		now, primary = at+int64(outage), (primary+1+g.IntN(len(nodes)-1))%len(nodes)
	}
	for _, f := range res.Faults {
		res.Round.Healed = max(res.Round.Healed, f.End)
	}
	res.Back = time.Duration(4e8 + g.ExpFloat64()*3e8)
	res.Round.Normal = res.Round.Healed + int64(res.Back)
	res.Round.End = res.Round.Normal + second
	res.Epochs = append(res.Epochs, history.Epoch{Node: nodes[primary], First: now, Last: max(now+second, res.Round.End), Acked: 200})
	res.Counts.Acked += 200
	for range res.Counts.Acked {
		res.Commits = append(res.Commits, time.Duration(1e6+g.ExpFloat64()*2e6))
	}
	res.Counts.Refused, res.Counts.Unknown, res.Counts.Reads, res.Counts.ReadErrors = g.IntN(900), g.IntN(9), 3000+g.IntN(900), g.IntN(2)
	return res
}
