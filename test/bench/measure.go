package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

// row is what was measured of a workload.
type row struct {
	workload
	Rates map[string][]float64 // operations a second by variant, one of each round
	Fails map[string]string    // variant -> what the application was told
}

// measure runs the rounds. In each, the variants of a workload take turns, and
// another one begins each time.
func (s *site) measure(ctx context.Context, todo []workload) ([]*row, error) {
	var rows []*row
	for _, w := range todo {
		rows = append(rows, &row{workload: w, Rates: map[string][]float64{}, Fails: map[string]string{}})
	}
	for round := range s.o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, s.o.rounds)
		for i, r := range rows {
			if err := s.round(ctx, r, round+i); err != nil {
				return nil, fmt.Errorf("%s: %w", r.Name, err)
			}
		}
	}
	return rows, nil
}

// round measures one workload once. The variants' processes live side by side;
// only the one whose turn it is works. Short turns, many times round: what the
// machine does meanwhile slows all of them.
func (s *site) round(ctx context.Context, r *row, first int) (err error) {
	var teams []*team
	defer func() {
		for _, t := range teams {
			err = errors.Join(err, t.end())
		}
	}()
	for k := range s.variants {
		v := s.variants[(k+first)%len(s.variants)]
		if r.Fails[v.name] != "" {
			continue // told once, and not tried again
		}
		t, err := s.newTeam(ctx, r.workload, v)
		if t != nil {
			teams = append(teams, t)
		}
		if err := r.note(v, err); err != nil {
			return err
		}
	}
	for range s.o.turns {
		for _, t := range teams {
			if r.Fails[t.v.name] != "" {
				continue
			}
			if err := r.note(t.v, t.turn(ctx)); err != nil {
				return err
			}
			if err := s.settle(ctx, r.workload, t.v); err != nil {
				return err
			}
		}
	}
	for _, t := range teams {
		r.Rates[t.v.name] = append(r.Rates[t.v.name], t.rate())
	}
	return nil
}

// note keeps what SQLite told an application; any other error ends the bench.
func (r *row) note(v variant, err error) error {
	var told appError
	if errors.As(err, &told) {
		r.Fails[v.name] = told.Error()
		return nil
	}
	return err
}

// team is all processes of one variant in one round.
type team struct {
	v      variant
	apps   []*app
	sums   []outcome // of each app
	writer *app      // on the primary, where that is asked for
}

func (s *site) newTeam(ctx context.Context, w workload, v variant) (*team, error) {
	node := s.primary
	if w.side() == "replica" {
		node = s.replica
	}
	length := (s.o.slice / time.Duration(s.o.turns)).String()
	t := &team{v: v}
	for range max(1, w.apps) {
		args := []string{"-db", w.path(v, node), "-op", w.op, "-rows", fmt.Sprint(s.o.rows), "-for", length}
		a, err := startApp(ctx, node, append(args, w.flags...)...)
		if err != nil {
			return t, err
		}
		t.apps = append(t.apps, a)
	}
	t.sums = make([]outcome, len(t.apps))
	if !w.busy {
		return t, nil
	}
	path := filepath.Join(v.writerMount(s.primary), w.database(v))
	var err error
	t.writer, err = startApp(ctx, s.primary, "-db", path, "-op", "write", "-for", length, "-every", "10ms")
	return t, err
}

func (t *team) all() []*app {
	if t.writer == nil {
		return t.apps
	}
	return append([]*app{t.writer}, t.apps...)
}

// turn lets all work for a moment, at once.
func (t *team) turn(ctx context.Context) error {
	for _, a := range t.all() {
		if err := a.begin(); err != nil {
			return err
		}
	}
	var errs []error
	for i, a := range t.apps {
		o, err := a.answer(ctx)
		t.sums[i].Ops += o.Ops
		t.sums[i].NS += o.NS
		errs = append(errs, err)
	}
	if t.writer != nil {
		_, err := t.writer.answer(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// rate is operations a second, of all together.
func (t *team) rate() (sum float64) {
	for _, o := range t.sums {
		sum += o.rate()
	}
	return sum
}

func (t *team) end() error {
	var errs []error
	for _, a := range t.all() {
		errs = append(errs, a.end())
	}
	return errors.Join(errs...)
}

// settle waits until the replica has what a slice wrote: its work is not the
// next slice's.
func (s *site) settle(ctx context.Context, w workload, v variant) error {
	if s.replica == nil || w.op != "write" && !w.busy {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return cluster.WaitFor(ctx, func() error {
		p, err := pos(s.primary, w, v)
		q, err2 := pos(s.replica, w, v)
		if err == nil && err2 == nil && p != q {
			err = fmt.Errorf("%s: the replica stands at %q, the primary at %q", w.database(v), q, p)
		}
		return errors.Join(err, err2)
	})
}

// pos is LiteFS's position of the database.
func pos(n *cluster.Node, w workload, v variant) (string, error) {
	b, err := os.ReadFile(filepath.Join(n.Lower(), w.database(v)+"-pos"))
	return string(b), err
}

// ratios of a variant to the baseline, one of each round.
func (r *row) ratios(name string) (out []float64) {
	base := r.Rates[baseline]
	for i, rate := range r.Rates[name] {
		if i < len(base) {
			out = append(out, rate/base[i])
		}
	}
	return out
}

// median is 0 where there is nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
