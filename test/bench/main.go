// Command bench measures SQLite through the fenced mount against SQLite on the
// LiteFS mount itself, in one run: both at once in turns, so that what the
// machine does meanwhile hits both. It prints ratios, with LiteFS against
// itself as the noise and bindfs beside it.
//
// Then small commits on three nodes: in each mode of quorum.confirm, and in
// rqlite, against LiteFS without litefence, in turns too.
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
	"strings"
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
	rqlite            string
	commits           []string // variants beside LiteFS alone; none = no commits
	commitNodes       int
	commitSlice       time.Duration
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
	fs.StringVar(&o.rqlite, "rqlite", "bin/rqlited", "rqlited `binary`; without it the bench goes on without rqlite")
	commits := fs.String("commits", "again,lease,quorum,replicated,rqlite", "`list` of what small commits are measured in beside LiteFS alone: LiteFS again, modes of quorum.confirm, rqlite; empty = not measured")
	fs.IntVar(&o.commitNodes, "commit-nodes", 3, "nodes of each cluster for small commits")
	fs.DurationVar(&o.commitSlice, "commit-slice", 800*time.Millisecond, "how long small commits are measured in each of them in a round")
	only := fs.String("only", "", "`regexp` of the workloads to run, as primary/WAL or commit/8")
	fs.StringVar(&o.json, "json", "", "write the figures to this `file` as well")
	fs.BoolVar(&o.quick, "quick", false, "2 short rounds on a small table: does it run at all?")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.quick {
		o.rounds, o.turns, o.slice, o.rows = 2, 2, 20*time.Millisecond, 1000
		o.commitSlice = 40 * time.Millisecond
		o.heartbeat, o.lease = 2*time.Second, 2*time.Second // the first election takes as long
	}
	if min(o.nodes, o.rounds, o.rows, o.turns, o.commitNodes) < 1 {
		return o, errors.New("-nodes, -commit-nodes, -rounds, -rows and -turns must be at least 1")
	}
	o.commits = strings.FieldsFunc(*commits, func(r rune) bool { return r == ',' })
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, err
	}
	// The processes run in the cluster's directory.
	for _, p := range []*string{&o.litefence, &o.litefs, &o.rqlite} {
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

// bench is everything from an empty cluster to the tables. Nothing is left when
// it returns, whatever happened.
func bench(ctx context.Context, o options, out io.Writer) (*report, error) {
	todo, commits := o.selected(), o.selectedCommits()
	if len(todo)+len(commits) == 0 {
		return nil, errors.New("-only matches no workload")
	}
	r := newReport(ctx, o, todo, commits)
	r.printSetup(out)
	var err error
	if len(todo) > 0 {
		err = benchMount(ctx, o, todo, r, out)
	}
	if err == nil && len(commits) > 0 {
		err = benchCommits(ctx, o, r.Commits, out)
	}
	if err == nil && o.json != "" {
		err = r.writeJSON(o.json)
	}
	return r, err
}

// benchMount measures SQLite through the fenced mount.
func benchMount(ctx context.Context, o options, todo []workload, r *report, out io.Writer) (err error) {
	s, err := setUp(ctx, o, todo)
	if s != nil {
		defer func() { err = tearDown(ctx, err, s.c) }()
	}
	if err != nil {
		return err
	}
	defer func() { r.printRows(out) }() // also what an interrupted bench has come to
	return s.measure(ctx, r.Rows)
}
