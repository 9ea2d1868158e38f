// Command bench measures SQLite through the fenced mount against SQLite on the
// LiteFS mount itself, in one run: both at once in turns, so that what the
// machine does meanwhile hits both. It prints ratios, with LiteFS against
// itself as the noise and bindfs beside it.
//
// It knows how to start a cluster (test/cluster) and what an application does;
// it must never know how the fence works.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

type options struct {
	litefence, litefs string
	nodes, rounds     int
	rows, turns       int
	slice             time.Duration
	heartbeat, lease  time.Duration
	only              *regexp.Regexp
	json              string
	quick             bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == appCommand {
		os.Exit(appMain(os.Args[2:]))
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err == nil {
		var r *report
		if r, err = bench(ctx, o, os.Stdout); err == nil {
			err = r.failed()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&o.litefence, "litefence", "bin/litefence", "litefence `binary`")
	fs.StringVar(&o.litefs, "litefs", "bin/litefs", "LiteFS `binary`")
	fs.IntVar(&o.nodes, "nodes", 2, "nodes of the cluster; 1 = no replica")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds; every ratio is the median of as many")
	fs.IntVar(&o.rows, "rows", 12000, "rows of the table that is read, 2 kB each")
	fs.DurationVar(&o.slice, "slice", 500*time.Millisecond, "how long each variant runs in a round")
	fs.IntVar(&o.turns, "turns", 10, "into how many turns a slice is cut")
	fs.DurationVar(&o.heartbeat, "heartbeat", 4*time.Second, "quorum.heartbeat-timeout; long, so that the load does not cost the lease")
	fs.DurationVar(&o.lease, "lease", 4*time.Second, "quorum.lease")
	only := fs.String("only", "", "`regexp` of the workloads to run, as primary/WAL")
	fs.StringVar(&o.json, "json", "", "write the figures to this `file` as well")
	fs.BoolVar(&o.quick, "quick", false, "2 short rounds on a small table: does it run at all?")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.quick {
		o.rounds, o.turns, o.slice, o.rows = 2, 2, 20*time.Millisecond, 1000
		o.heartbeat, o.lease = 2*time.Second, 2*time.Second // the first election takes as long
	}
	if min(o.nodes, o.rounds, o.rows, o.turns) < 1 {
		return o, errors.New("-nodes, -rounds, -rows and -turns must be at least 1")
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, err
	}
	// The processes run in the cluster's directory.
	for _, p := range []*string{&o.litefence, &o.litefs} {
		if *p, err = filepath.Abs(*p); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o options) selected() (out []workload) {
	for _, w := range workloads {
		if o.only.MatchString(w.Name) && (o.nodes > 1 || w.side() != "replica") {
			out = append(out, w)
		}
	}
	return out
}

// bench is everything from an empty cluster to the table. Nothing is left when
// it returns, whatever happened.
func bench(ctx context.Context, o options, out io.Writer) (r *report, err error) {
	todo := o.selected()
	if len(todo) == 0 {
		return nil, errors.New("-only matches no workload")
	}
	s, err := setUp(ctx, o, todo)
	if s != nil {
		defer func() { err = s.tearDown(ctx, err) }()
	}
	if err != nil {
		return nil, err
	}
	r = newReport(ctx, o, s, todo)
	r.printSetup(out)
	err = s.measure(ctx, r.Rows)
	r.printRows(out) // also what an interrupted bench has come to
	if err == nil && o.json != "" {
		err = r.writeJSON(o.json)
	}
	return r, err
}
