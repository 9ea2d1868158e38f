// Command torture lets a nemesis loose on clusters of real nodes, round after
// round, has what happened there checked, and writes a report. `make torture`
// starts it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/litefence/litefence/test/checker"
	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/nemesis"
	"github.com/litefence/litefence/test/report"
	"github.com/litefence/litefence/test/torture/app"
)

// What a plan has where no flag says otherwise.
const (
	mostSteps   = 3
	longestHold = 30 * time.Second
)

type options struct {
	rounds    int
	seed      uint64
	litefence string
	unsafe    string
	litefs    string
	out       string
	markdown  string
	control   string
	keep      bool
	parallel  int
	compare   int
	only      string
	confirm   string
	limits    nemesis.Limits
}

func main() {
	if app.IsRequested(os.Args) {
		os.Exit(app.Main(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(runMain(ctx))
}

func runMain(ctx context.Context) int {
	var o options
	flag.IntVar(&o.rounds, "rounds", 20, "how many rounds")
	flag.Uint64Var(&o.seed, "seed", 1, "of the first round; each later one has the next")
	flag.StringVar(&o.litefence, "litefence", "bin/litefence", "litefence `program`")
	flag.StringVar(&o.unsafe, "unsafe", "", "litefence `program` built with the tag litefence_unsafe; with it the checkers are checked")
	flag.StringVar(&o.litefs, "litefs", "bin/litefs", "LiteFS `program`")
	flag.StringVar(&o.out, "out", "bin/torture", "`directory` for the page, the histories and the logs of rounds that failed")
	flag.StringVar(&o.markdown, "md", "", "`file` for the summary")
	flag.IntVar(&o.parallel, "parallel", 1, "rounds that are played side by side; what they measure is worse then")
	flag.IntVar(&o.compare, "compare", 10, "rounds of each comparison with LiteFS without litefence's fence; they come with -unsafe")
	flag.BoolVar(&o.keep, "keep", false, "keep what happened in rounds that did not fail too")
	flag.StringVar(&o.control, "control", "", "only this one of the runs that check the checkers")
	flag.StringVar(&o.only, "only", "", "faults to choose from, separated by semicolons (default all)")
	flag.StringVar(&o.confirm, "confirm", "", "quorum.confirm of every round: lease, quorum or replicated (default: drawn from the seed, never replicated)")
	flag.DurationVar(&o.limits.Hold, "hold", longestHold, "longest that a fault lasts")
	flag.IntVar(&o.limits.Steps, "steps", mostSteps, "most faults in a round")
	flag.BoolVar(&o.limits.Clock, "clock", false, "step this machine's clock too, by up to two minutes and back")
	recheck := flag.String("recheck", "", "judge again what happened in a round: its history.json")
	flag.Parse()
	if *recheck != "" {
		return judgeAgain(*recheck)
	}
	if o.only != "" {
		o.limits.Only = strings.Split(o.only, ";")
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 2
	}
	t := newTorture(o, func(s string) { fmt.Println(s) })
	t.run(ctx)
	if err := t.write(); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 1
	}
	if leaks := cluster.Leaks(); len(leaks) > 0 {
		fmt.Fprintln(os.Stderr, "torture: left behind:", strings.Join(leaks, ", "))
		return 1
	}
	if failed := t.failed(); len(failed) > 0 {
		fmt.Printf("torture: FAILED: %s\n", strings.Join(failed, "; "))
		return 1
	}
	fmt.Printf("torture: no promise was broken in %d rounds\n", len(t.results))
	return 0
}

// judgeAgain judges a round that was kept.
func judgeAgain(name string) int {
	var r history.Round
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 2
	}
	for _, a := range checker.Check(&r).Anomalies {
		fmt.Printf("BROKEN %s: %s\n", a.Rule, a.Text)
	}
	return 0
}

// check makes paths absolute, for processes run elsewhere, and finds what is
// missing before hours have gone by.
func (o *options) check() (err error) {
	for _, f := range o.limits.Only {
		if !slices.Contains(nemesis.Names(), f) {
			return fmt.Errorf("-only: no fault %q; there are: %s", f, strings.Join(nemesis.Names(), "; "))
		}
	}
	if modes := []string{"", history.Lease, history.Quorum, history.Replicated}; !slices.Contains(modes, o.confirm) {
		return fmt.Errorf("-confirm: no quorum.confirm %q; there are:%s", o.confirm, strings.Join(modes, " "))
	}
	for _, p := range []*string{&o.litefence, &o.unsafe, &o.litefs} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
		if _, err := os.Stat(*p); err != nil {
			return fmt.Errorf("%w; run `make build`", err)
		}
	}
	return os.MkdirAll(o.out, 0o755)
}

// write writes the page, and the summary where one is wanted.
func (t *torture) write() error {
	r := t.report()
	page, err := os.Create(filepath.Join(t.out, "torture.html"))
	if err != nil {
		return err
	}
	defer page.Close()
	if err := report.HTML(page, r); err != nil {
		return err
	}
	if t.markdown == "" {
		return page.Close()
	}
	md, err := os.Create(t.markdown)
	if err != nil {
		return err
	}
	defer md.Close()
	if err := report.Markdown(md, r); err != nil {
		return err
	}
	return md.Close()
}
