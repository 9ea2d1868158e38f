package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

// alone is LiteFS without litefence, which all others are divided by.
const alone = "LiteFS alone"

// isMode: what is none of these is a mode of quorum.confirm.
func isMode(variant string) bool {
	return !slices.Contains([]string{alone, "again", "rqlite"}, variant)
}

// A commitLoad is one part of the table: so many writers, one row in each
// transaction, WAL, synchronous=FULL.
type commitLoad struct {
	Name               string
	key                string // begins the names of its databases
	writers, databases int
	Variants           []string // in the table's order
}

var commitLoads = []commitLoad{
	{Name: "commit/1 writer", key: "one", writers: 1, databases: 1},
	{Name: "commit/8 writers, one database", key: "shared", writers: 8, databases: 1},
	{Name: "commit/8 writers, 8 databases", key: "own", writers: 8, databases: 8},
}

// selectedCommits is what is to be measured, and in what.
func (o options) selectedCommits() (out []commitLoad) {
	if len(o.commits) == 0 {
		return nil
	}
	for _, l := range commitLoads {
		if !o.only.MatchString(l.Name) {
			continue
		}
		l.Variants = []string{alone}
		for _, v := range o.commits {
			// rqlite has one database only.
			if v != "rqlite" || l.databases == 1 && o.rqliteMissing() == "" {
				l.Variants = append(l.Variants, v)
			}
		}
		out = append(out, l)
	}
	return out
}

// database that a writer of a variant writes.
func (l commitLoad) database(variant string, writer int) string {
	if variant == alone {
		variant = "alone"
	}
	return fmt.Sprintf("%s-%s-%d.db", l.key, variant, writer%l.databases)
}

func (l commitLoad) allDatabases(variant string) (names []string) {
	for i := range l.databases {
		names = append(names, l.database(variant, i))
	}
	return names
}

// benchCommits measures small commits in clusters of their own, which stand side
// by side.
func benchCommits(ctx context.Context, o options, rows []*commitRow, out io.Writer) (err error) {
	dbs := map[string][]string{}
	for _, r := range rows {
		for _, v := range r.Variants {
			dbs[siteOf(v)] = append(dbs[siteOf(v)], r.allDatabases(v)...)
		}
	}
	sites, err := startSites(ctx, o, dbs)
	defer func() {
		var clusters []*cluster.Cluster
		for _, s := range sites {
			if s.c != nil {
				clusters = append(clusters, s.c)
			}
		}
		err = tearDown(ctx, err, clusters...)
	}()
	if err != nil {
		return err
	}
	defer func() { printCommits(out, rows) }() // also what an interrupted bench has come to
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "commits: round %d of %d\n", round+1, o.rounds)
		for i, r := range rows {
			if err := commitRound(ctx, o, sites, r, round+i); err != nil {
				return fmt.Errorf("%s: %w", r.Name, err)
			}
		}
	}
	return nil
}

// commitTurns is into how many turns a slice is cut. Longer ones than the mount's:
// SQLite's busy handler sleeps for up to 100 ms.
const commitTurns = 2

func (o options) commitTurn() time.Duration { return o.commitSlice / commitTurns }

// writers are the processes of one variant in one round.
type writers struct {
	variant string
	site    *commitSite
	dbs     []string
	apps    []*app
	failed  bool
	rates   []float64       // commits a second of all together, one of each turn
	took    []time.Duration // every commit
}

// commitRound measures one load once in all its variants, as round does: they
// take turns, and another one begins each time.
func commitRound(ctx context.Context, o options, sites map[string]*commitSite, r *commitRow, first int) (err error) {
	var all []*writers
	defer func() {
		for _, w := range all {
			err = errors.Join(err, w.end(ctx))
		}
	}()
	for k := range r.Variants {
		v := r.Variants[(k+first)%len(r.Variants)]
		w := &writers{variant: v, site: sites[siteOf(v)], dbs: r.allDatabases(v)}
		all = append(all, w)
		if err := w.note(r, w.start(ctx, o, r)); err != nil {
			return err
		}
	}
	for range commitTurns {
		for _, w := range all {
			if !w.failed {
				if err := w.note(r, w.turn(ctx, o.commitTurn())); err != nil {
					return err
				}
			}
		}
	}
	sums := map[string]commitRoundSum{}
	for _, w := range all {
		if !w.failed {
			sums[w.variant] = commitRoundSum{median(w.rates), w.took}
		}
		if err := w.site.same(); err != nil {
			return fmt.Errorf("%s: %w", w.variant, err)
		}
	}
	r.add(sums)
	return nil
}

func (w *writers) start(ctx context.Context, o options, r *commitRow) error {
	for i := range r.writers {
		a, err := spawnApp(w.site.node, append(w.site.writer(r.database(w.variant, i)), "-each", "-for", o.commitTurn().String())...)
		if err != nil {
			return err
		}
		w.apps = append(w.apps, a)
	}
	var errs []error
	for _, a := range w.apps {
		errs = append(errs, a.answer(ctx)) // ready
	}
	return errors.Join(errs...)
}

// turn lets all work for a moment, at once, and waits until the other nodes have
// what was written: that work is not the next turn's.
func (w *writers) turn(ctx context.Context, length time.Duration) error {
	for _, a := range w.apps {
		a.begin()
	}
	var errs []error
	within := 0
	for _, a := range w.apps {
		errs = append(errs, a.answer(ctx))
		w.took = append(w.took, a.last.Took...)
		within += doneWithin(length, a.last.Took)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	w.rates = append(w.rates, float64(within)/length.Seconds())
	return w.site.wait(ctx, func() error { return w.site.settled(w.dbs) })
}

// doneWithin is how many operations, one after the other, had ended when so much
// time was over. A writer that others kept waiting ends its last one long after
// the turn, when nobody competes any more: that one counts for its time only.
func doneWithin(length time.Duration, took []time.Duration) (n int) {
	for _, d := range took {
		if length -= d; length < 0 {
			break
		}
		n++
	}
	return n
}

// note keeps what an application was told; any other error ends the bench.
func (w *writers) note(r *commitRow, err error) error {
	var told appError
	if err == nil {
		return nil
	}
	if !errors.As(err, &told) {
		return fmt.Errorf("%s: %w", w.variant, err)
	}
	fmt.Fprintf(os.Stderr, "%s: %s fails: %s\n", r.Name, w.variant, told)
	w.failed = true
	r.Figures[w.variant].Fails = append(r.Figures[w.variant].Fails, told.Error())
	return nil
}

func (w *writers) end(ctx context.Context) error {
	var errs []error
	for _, a := range w.apps {
		errs = append(errs, a.end(ctx))
	}
	return errors.Join(errs...)
}
