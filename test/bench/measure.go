package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

// measure runs the rounds. In each, the variants of a workload take turns, and
// another one begins each time.
func (s *site) measure(ctx context.Context, rows []*row) error {
	for round := range s.o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, s.o.rounds)
		for i, r := range rows {
			if err := s.round(ctx, r, round+i); err != nil {
				return fmt.Errorf("%s: %w", r.Name, err)
			}
		}
	}
	return nil
}

// round measures one workload once. The variants' processes live side by side;
// only the one whose turn it is works. Short turns, many times round: what the
// machine does meanwhile slows all of them.
func (s *site) round(ctx context.Context, r *row, first int) (err error) {
	var teams []*team
	defer func() {
		for _, t := range teams {
			err = errors.Join(err, t.end(ctx))
		}
	}()
	for k := range s.variants {
		t := &team{v: s.variants[(k+first)%len(s.variants)]}
		teams = append(teams, t)
		if err := s.note(r, t, s.start(ctx, t, r.workload)); err != nil {
			return err
		}
	}
	for range s.o.turns {
		for _, t := range teams {
			// One operation may last for many turns. A few must be there for a median.
			if t.failed || len(t.rates) >= 5 && t.worked >= s.o.slice {
				continue
			}
			if err := s.note(r, t, s.turn(ctx, t, r.workload)); err != nil {
				return err
			}
		}
	}
	rates := map[string]float64{}
	for _, t := range teams {
		if !t.failed {
			rates[t.v.name] = median(t.rates)
		}
	}
	r.add(rates)
	return nil
}

// note keeps what an application was told. Any other error ends the bench, and
// so does a change of primary: what is measured after it is something else.
func (s *site) note(r *row, t *team, err error) error {
	var told appError
	if err == nil {
		return nil
	}
	if !errors.As(err, &told) {
		return fmt.Errorf("%s: %w", t.v.name, err)
	}
	fmt.Fprintf(os.Stderr, "%s: %s fails: %s\n", r.Name, t.v.name, told)
	t.failed = true
	r.Fails[t.v.name] = append(r.Fails[t.v.name], told.Error())
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
	writer *app // on the primary, where that is asked for
	failed bool
	worked time.Duration
	// Operations a second of all together, one of each turn. The median counts: a
	// machine that stalls for seconds, as a busy disk does, spoils a turn only.
	rates []float64
}

// start starts the team's processes; those that run are t's, also after an
// error.
func (s *site) start(ctx context.Context, t *team, w workload) (err error) {
	node := s.primary
	if w.side() == "replica" {
		node = s.replica
	}
	length := (s.o.slice / time.Duration(s.o.turns)).String()
	for range max(1, w.apps) {
		args := []string{"-db", filepath.Join(t.v.mount(node), w.database(t.v)), "-op", w.op, "-rows", fmt.Sprint(s.o.rows), "-for", length}
		a, err := startApp(ctx, node, append(args, w.flags...)...)
		if err != nil {
			return err
		}
		t.apps = append(t.apps, a)
	}
	if w.busy {
		path := filepath.Join(t.v.writerMount(s.primary), w.database(t.v))
		t.writer, err = startApp(ctx, s.primary, "-db", path, "-op", "write", "-for", length, "-every", "10ms")
	}
	return err
}

// all lists the processes, the writer last.
func (t *team) all() []*app {
	if t.writer == nil {
		return t.apps
	}
	return append(t.apps[:len(t.apps):len(t.apps)], t.writer)
}

// turn lets all of a team work for a moment, at once.
func (s *site) turn(ctx context.Context, t *team, w workload) error {
	for _, a := range t.all() {
		a.begin()
	}
	var errs []error
	for _, a := range t.all() {
		errs = append(errs, a.answer(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	sum := 0.0
	for _, a := range t.apps {
		sum += a.last.rate()
	}
	t.rates = append(t.rates, sum)
	t.worked += time.Duration(t.apps[0].last.NS)
	return s.settle(ctx, t.v, w)
}

// settle waits until the replica has what was written: that work is not the
// next turn's.
func (s *site) settle(ctx context.Context, v variant, w workload) error {
	if s.replica == nil || w.op != "write" && !w.busy {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	name := w.database(v) + "-pos"
	return cluster.WaitFor(ctx, func() error {
		p, err := os.ReadFile(filepath.Join(s.primary.Lower(), name))
		q, err2 := os.ReadFile(filepath.Join(s.replica.Lower(), name))
		if err == nil && err2 == nil && string(p) != string(q) {
			err = fmt.Errorf("%s: the replica stands at %q, the primary at %q", name, q, p)
		}
		return errors.Join(err, err2)
	})
}

func (t *team) end(ctx context.Context) error {
	var errs []error
	for _, a := range t.all() {
		errs = append(errs, a.end(ctx))
	}
	return errors.Join(errs...)
}
