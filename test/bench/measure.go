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
	Rates  map[string][]float64 // operations a second by variant, one of each round; 0 = failed
	Fails  map[string]string    // variant -> what its application was told last
	Failed map[string]int       // variant -> rounds
}

// measure runs the rounds. In each, the variants of a workload take turns, and
// another one begins each time.
func (s *site) measure(ctx context.Context, todo []workload) ([]*row, error) {
	var rows []*row
	for _, w := range todo {
		rows = append(rows, &row{workload: w, Rates: map[string][]float64{}, Fails: map[string]string{}, Failed: map[string]int{}})
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
		t := &team{v: s.variants[(k+first)%len(s.variants)]}
		teams = append(teams, t)
		if t.failed = s.start(ctx, t, r.workload); t.failed != nil {
			if err := s.tell(r, t); err != nil {
				return err
			}
		}
	}
	for range s.o.turns {
		for _, t := range teams {
			if t.failed != nil {
				continue
			}
			if t.failed = t.turn(ctx); t.failed != nil {
				if err := s.tell(r, t); err != nil {
					return err
				}
			} else if err := s.settle(ctx, r.workload, t.v); err != nil {
				return err
			}
		}
	}
	for _, t := range teams {
		r.Rates[t.v.name] = append(r.Rates[t.v.name], t.rate())
	}
	return nil
}

// tell notes what an application was told. Any other error ends the bench, and
// so does a change of primary: what is measured after it is something else.
func (s *site) tell(r *row, t *team) error {
	var told appError
	if !errors.As(t.failed, &told) {
		return fmt.Errorf("%s: %w", t.v.name, t.failed)
	}
	fmt.Fprintf(os.Stderr, "%s: %s fails: %s\n", r.Name, t.v.name, told)
	r.Fails[t.v.name] = told.Error()
	r.Failed[t.v.name]++
	st, err := s.primary.Status()
	if err == nil && (!st.Writable || st.Term != s.term) {
		err = fmt.Errorf("it is %s, %s, in term %d", st.Role, st.Reason, st.Term)
	}
	if err != nil {
		return fmt.Errorf("%s lost the lease of term %d meanwhile (%w); is the machine too busy? A longer -heartbeat and -lease may do", s.primary.Name, s.term, err)
	}
	return nil
}

// team is all processes of one variant in one round.
type team struct {
	v      variant
	apps   []*app
	sums   []outcome // of each app
	writer *app      // on the primary, where that is asked for
	failed error
}

// start starts the team's processes; those that run are t's, also after an
// error.
func (s *site) start(ctx context.Context, t *team, w workload) error {
	node := s.primary
	if w.side() == "replica" {
		node = s.replica
	}
	length := (s.o.slice / time.Duration(s.o.turns)).String()
	for range max(1, w.apps) {
		args := []string{"-db", w.path(t.v, node), "-op", w.op, "-rows", fmt.Sprint(s.o.rows), "-for", length}
		a, err := startApp(ctx, node, append(args, w.flags...)...)
		if err != nil {
			return err
		}
		t.apps = append(t.apps, a)
	}
	t.sums = make([]outcome, len(t.apps))
	if !w.busy {
		return nil
	}
	path := filepath.Join(t.v.writerMount(s.primary), w.database(t.v))
	var err error
	t.writer, err = startApp(ctx, s.primary, "-db", path, "-op", "write", "-for", length, "-every", "10ms")
	return err
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
		a.begin()
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

// rate is operations a second, of all together; 0 where something failed.
func (t *team) rate() (sum float64) {
	if t.failed != nil {
		return 0
	}
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

// ratios of a variant to the baseline, one of each round that both came through.
func (r *row) ratios(name string) (out []float64) {
	base := r.Rates[baseline]
	for i, rate := range r.Rates[name] {
		if rate > 0 && base[i] > 0 {
			out = append(out, rate/base[i])
		}
	}
	return out
}

// rates of the rounds that the variant came through.
func (r *row) rates(name string) []float64 {
	return slices.DeleteFunc(slices.Clone(r.Rates[name]), func(rate float64) bool { return rate == 0 })
}

// median is 0 where there is nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
