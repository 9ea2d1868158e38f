package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litefence/litefence/test/checker"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/nemesis"
	"github.com/litefence/litefence/test/report"
)

// torture is one run of all rounds.
type torture struct {
	options
	began    time.Time
	say      func(string)
	mu       sync.Mutex
	results  []history.Result
	controls []report.Control
}

func newTorture(o options, say func(string)) *torture {
	return &torture{options: o, began: time.Now(), say: say}
}

func (t *torture) run(ctx context.Context) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range max(1, t.parallel) {
		all.Go(func() {
			for i := next.Add(1); i <= int64(t.rounds) && ctx.Err() == nil; i = next.Add(1) {
				seed := t.seed + uint64(i) - 1
				res, ok := t.round(ctx, int(i), newSetting(seed, t.limits, t.confirm), subject{name: "litefence", litefence: t.litefence, litefs: t.litefs})
				if ok {
					t.mu.Lock()
					t.results = append(t.results, res)
					t.mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	slices.SortFunc(t.results, func(a, b history.Result) int { return a.Round.Number - b.Round.Number })
	for _, c := range t.checks() {
		if t.control != "" && t.control != c.name {
			continue
		}
		if ctx.Err() == nil {
			t.controls = append(t.controls, t.play(ctx, c))
		}
	}
}

// round plays and judges one round; ok is false where it was interrupted. What
// happened in one that failed is kept.
func (t *torture) round(ctx context.Context, number int, s setting, sub subject) (res history.Result, ok bool) {
	began := time.Now()
	dir := filepath.Join(t.out, fmt.Sprintf("%s-%d", slug(sub.name), s.seed))
	r, logs := play(ctx, s, sub)
	if ctx.Err() != nil {
		return res, false
	}
	res = checker.Check(r)
	res.Round.Number, res.Round.Flags = number, strings.Join(t.flags(), " ")
	line := fmt.Sprintf("%s %d seed %d: %d nodes, %s, %s: %s; %d acknowledged, %d refused, %d unknown, %d lost; %.0f s",
		sub.name, number, s.seed, s.nodes, s.journal, res.Round.Confirm, s.plan, res.Counts.Acked, res.Counts.Refused, res.Counts.Unknown, res.Counts.Lost, time.Since(began).Seconds())
	for i, a := range res.Anomalies {
		if i == 5 {
			line += fmt.Sprintf("\n    and %d more", len(res.Anomalies)-i)
			break
		}
		line += fmt.Sprintf("\n    BROKEN %s: %s", a.Rule, a.Text)
	}
	if len(res.Anomalies) > 0 || t.keep {
		if err := keep(dir, r, logs); err != nil {
			line += "\n    not kept: " + err.Error()
		} else {
			line += "\n    kept in " + dir
		}
	}
	t.say(line)
	return res, true
}

// keep writes down all that is known of a round.
func keep(dir string, r *history.Round, logs []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "history.json"), b, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "logs.txt"), logs, 0o644)
}

// failed names what makes the run a failure.
func (t *torture) failed() (why []string) {
	for _, r := range t.results {
		if len(r.Anomalies) > 0 {
			why = append(why, fmt.Sprintf("seed %d: %s", r.Round.Seed, r.Anomalies[0].Rule))
		}
	}
	for _, c := range t.checks() {
		played := slices.IndexFunc(t.controls, func(p report.Control) bool { return p.Name == c.name })
		if played >= 0 && c.want != nil && !slices.ContainsFunc(t.controls[played].Results, c.saw) {
			why = append(why, c.name+": nobody saw that a rule was off")
		}
	}
	if len(t.results) < t.rounds {
		why = append(why, fmt.Sprintf("%d rounds of %d", len(t.results), t.rounds))
	}
	return why
}

// check is a run whose outcome says something about the others: a rule is off,
// and a checker has to see it; or LiteFS as it is without litefence.
type check struct {
	name, what string
	flags      []string
	alone      bool
	bare       bool
	claims     string   // quorum.confirm that is said to be set, and is not
	want       []string // one of these rules must be found broken; nil = whatever it is
	faults     []string // to choose from; nil = all
	steps      int
	rounds     int
	least      time.Duration // that a fault lasts
	lease      time.Duration // 0 = default
}

func (t *torture) checks() []check {
	if t.unsafe == "" {
		return nil
	}
	twoWriters := []string{checker.OneWriter, checker.StaleAck}
	network := []string{nemesis.CutPrimary, nemesis.LoseLastWords, nemesis.PauseBoth, nemesis.PausePrimary}
	return []check{
		{name: "no fence", what: "every write is admitted, and applications are on LiteFS's own mount, for a litefence that is stopped holds back what goes through it",
			flags: []string{"-unsafe-no-fence"}, bare: true, want: twoWriters,
			faults: []string{nemesis.PausePrimary}, steps: 1, rounds: 5, least: 4 * time.Second},
		{name: "raft's state for a lease", what: "writes pass while raft says Leader", flags: []string{"-unsafe-raft-lease"}, want: twoWriters,
			faults: []string{nemesis.LateHandoff}, steps: 1, rounds: 10, lease: time.Second},
		{name: "no wait", what: "a new leader does not wait the old lease out", flags: []string{"-unsafe-no-wait"}, want: twoWriters,
			faults: []string{nemesis.LateHandoff}, steps: 1, rounds: 10, lease: time.Second},
		{name: "blind election", what: "whom raft elects becomes primary, whatever it lacks", flags: []string{"-unsafe-blind-election"}, want: []string{checker.LostKnown},
			faults: []string{nemesis.LaggingWins}, steps: 1, rounds: 10},
		{name: "confirm: lease", what: "commits wait for no copies, and the rounds are judged as if they did", claims: history.Replicated, want: []string{checker.LostReplicated},
			faults: []string{nemesis.CutSending, nemesis.CutPrimary, nemesis.PowerOff}, steps: 2, rounds: 25, least: 2 * time.Second},
		{name: "LiteFS, our endpoint, no fence", what: "LiteFS elects by litefence's quorum; applications are on its own mount", flags: []string{"-unsafe-no-fence"}, bare: true,
			faults: network, steps: 2, rounds: t.compare},
		{name: "LiteFS alone", what: "LiteFS with a static lease, without litefence", alone: true,
			faults: append(network, "primary: LiteFS killed"), steps: 2, rounds: t.compare},
	}
}

// saw reports that the checkers found what c is about.
func (c check) saw(r history.Result) bool {
	return slices.ContainsFunc(r.Anomalies, func(a history.Anomaly) bool { return slices.Contains(c.want, a.Rule) })
}

// play plays a check's rounds; one that must fail ends with the first that
// does.
func (t *torture) play(ctx context.Context, c check) report.Control {
	sub := subject{name: c.name, litefence: t.unsafe, litefs: t.litefs, flags: c.flags, alone: c.alone, bare: c.bare, claims: c.claims}
	out := report.Control{Name: c.name, What: c.what, MustFail: c.want != nil}
	for i := 0; i < c.rounds && ctx.Err() == nil; i++ {
		s := newSetting(t.seed+uint64(i), nemesis.Limits{Steps: c.steps, Hold: 6 * time.Second, Only: c.faults}, "")
		s.plain(c.lease)
		for i := range s.plan.Steps {
			s.plan.Steps[i].Hold = max(s.plan.Steps[i].Hold, c.least)
		}
		res, ok := t.round(ctx, i+1, s, sub)
		if !ok {
			break
		}
		if out.Results = append(out.Results, res); c.saw(res) {
			break
		}
	}
	return out
}
