package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

// row is what was measured of a workload.
type row struct {
	workload
	Rates map[string][]float64 // operations a second by variant, one of each round
	Fails map[string]string    // variant -> what the application was told
}

// measure runs the rounds. In each, the variants of a workload run one right
// after the other, and another one begins each time.
func (s *site) measure(ctx context.Context, todo []workload) ([]*row, error) {
	var rows []*row
	for _, w := range todo {
		rows = append(rows, &row{workload: w, Rates: map[string][]float64{}, Fails: map[string]string{}})
	}
	for round := range s.o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, s.o.rounds)
		for i, r := range rows {
			for k := range s.variants {
				if err := s.measureOne(ctx, r, s.variants[(k+round+i)%len(s.variants)]); err != nil {
					return nil, fmt.Errorf("%s: %w", r.Name, err)
				}
			}
		}
	}
	return rows, nil
}

// measureOne notes a variant's rate. What SQLite told the application is noted
// too, and not tried again; any other error ends the bench.
func (s *site) measureOne(ctx context.Context, r *row, v variant) error {
	if r.Fails[v.name] != "" {
		return nil
	}
	rate, err := s.slice(ctx, r.workload, v)
	var told appError
	switch {
	case errors.As(err, &told):
		r.Fails[v.name] = told.Error()
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", v.name, err)
	}
	r.Rates[v.name] = append(r.Rates[v.name], rate)
	return s.settle(ctx, r.workload, v)
}

// slice runs one workload for one slice and returns its operations a second.
func (s *site) slice(ctx context.Context, w workload, v variant) (rate float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.slice+time.Minute)
	defer cancel()
	node := s.primary
	if w.side() == "replica" {
		node = s.replica
	}
	if w.busy {
		writer, err := s.startWriter(ctx, w, v)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, stopWriter(ctx, writer)) }()
	}
	args := []string{"-db", w.path(v, node), "-op", w.op, "-rows", fmt.Sprint(s.o.rows), "-for", s.o.slice.String()}
	if w.apps > 1 {
		args = append(args, "-start", fmt.Sprint(now()+int64(together)))
	}
	var apps []*app
	for range max(1, w.apps) {
		a, err := s.startApp(node, append(args, w.flags...)...)
		if err != nil {
			return 0, err
		}
		apps = append(apps, a)
	}
	var errs []error
	for _, a := range apps {
		o, err := a.wait(ctx)
		errs = append(errs, err)
		rate += o.rate()
	}
	return rate, errors.Join(errs...)
}

// together is the time that several applications have to get ready.
const together = 300 * time.Millisecond

// startWriter starts an application that writes the variant's database on the
// primary, equally fast for all variants, and waits for its first commit.
func (s *site) startWriter(ctx context.Context, w workload, v variant) (*app, error) {
	before, err := pos(s.primary, w, v)
	if err != nil {
		return nil, err
	}
	a, err := s.startApp(s.primary, "-db", filepath.Join(v.writerMount(s.primary), w.database(v)),
		"-op", "write", "-for", "1m", "-every", "10ms")
	if err != nil {
		return nil, err
	}
	return a, cluster.WaitFor(ctx, func() error {
		after, err := pos(s.primary, w, v)
		if err == nil && after == before {
			err = fmt.Errorf("the writer has not committed (running: %v)", a.Running())
		}
		return err
	})
}

func stopWriter(ctx context.Context, a *app) error {
	_ = a.Signal(syscall.SIGTERM)
	_, err := a.wait(ctx)
	return err
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
