package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/nemesis"
	"github.com/litefence/litefence/test/torture/app"
	"github.com/litefence/litefence/test/workload"
)

// subject is what a round is played with.
type subject struct {
	name      string
	litefence string   // binary
	flags     []string // of `litefence run`
	litefs    string   // binary
	alone     bool     // LiteFS with a static lease, without litefence
	bare      bool     // applications on LiteFS's own mount
	claims    string   // quorum.confirm that its rounds are judged by; "" = that which they have
}

const (
	patience  = 60 * time.Second       // for what must come
	warmUp    = 500 * time.Millisecond // of writes before the first fault
	afterward = 700 * time.Millisecond // of writes after all is normal
)

// play plays one round. What cannot be done is among the round's errors.
// The logs are those of all its processes.
func play(ctx context.Context, s setting, sub subject) (r *history.Round, logs []byte) {
	r = &history.Round{
		Seed: s.seed, Journal: s.journal, Confirm: cmp.Or(sub.claims, s.confirm), Subject: sub.name, Lease: s.lease, Heartbeat: s.heartbeat,
		Sum: app.Accounts * app.Opening, Final: map[string]history.State{},
	}
	c, err := cluster.New(s.options(sub))
	if err != nil {
		r.Errors = append(r.Errors, err.Error())
		return r, nil
	}
	p := &player{Round: r, c: c, s: s, sub: sub}
	p.failed("", p.play(ctx))
	var b bytes.Buffer
	c.DumpLogs(&b, 1e6)
	p.failed("clean up", c.Close())
	return r, b.Bytes()
}

// player plays one round.
type player struct {
	*history.Round
	c   *cluster.Cluster
	s   setting
	sub subject
}

func (p *player) failed(what string, err error) {
	if err != nil {
		p.Errors = append(p.Errors, strings.TrimPrefix(what+": "+err.Error(), ": "))
	}
}

func (p *player) path(n *cluster.Node) string {
	if p.sub.alone || p.sub.bare {
		return filepath.Join(n.Lower(), "app.db")
	}
	return filepath.Join(n.Fenced(), "app.db")
}

func (p *player) play(ctx context.Context) error {
	for _, n := range p.c.Nodes {
		p.Nodes = append(p.Nodes, n.Name)
	}
	start := (*cluster.Node).Start
	if p.sub.alone {
		start = (*cluster.Node).StartLiteFS
	}
	for _, n := range p.c.Nodes {
		if err := start(n); err != nil {
			return err
		}
	}
	if err := p.makeDB(ctx); err != nil {
		return err
	}
	a, err := startApps(p.c.Nodes, p.path, p.s.seed)
	defer a.finish()
	if err != nil {
		return err
	}
	p.Start = workload.Now()
	said := p.c.Watch()
	nem := nemesis.New(p.c, a)
	supervised, stop := context.WithCancel(ctx)
	var bystander sync.WaitGroup
	bystander.Go(func() { nem.Supervise(supervised) })
	pause(ctx, warmUp)
	p.Faults, err = nem.Run(ctx, p.s.plan)
	p.failed("nemesis", err)
	p.Healed = workload.Now()
	p.failed("after the faults", p.normal(ctx, a))
	pause(ctx, afterward)
	ops, errs := a.finish()
	p.Ops, p.Errors = ops, append(p.Errors, errs...)
	p.End = workload.Now()
	p.failed("in the end", p.within(ctx, p.inStep))
	stop()
	bystander.Wait()
	said.Stop()
	p.Samples = samples(said.Statements())
	p.deaths(nem.Deaths())
	for _, n := range p.c.Nodes {
		state, err := dump(p.path(n))
		p.failed("read all on "+n.Name, err)
		p.Final[n.Name] = state
	}
	return nil
}

// deaths makes one error of all ends of a daemon.
func (p *player) deaths(all []nemesis.Death) {
	count := map[string]int{}
	for _, d := range all {
		if !excused(d, p.Faults) {
			if count[d.String()]++; count[d.String()] == 1 {
				p.failed("", errors.New(d.String()))
			}
		}
	}
}

// excused: a daemon may end when its disk is full, and litefence when it finds
// itself without what it needs.
func excused(d nemesis.Death, faults []history.Fault) bool {
	for _, f := range faults {
		if slices.Contains(f.Stops, d.Node) && f.Start <= d.At && d.At <= f.End+int64(5*time.Second) {
			return true
		}
	}
	return false
}

func (p *player) within(ctx context.Context, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return cluster.WaitFor(ctx, cond)
}

// makeDB makes the tables on whichever node is primary, and waits until every
// node has them.
func (p *player) makeDB(ctx context.Context) error {
	err := p.within(ctx, func() error {
		n, err := p.writable()
		if err == nil {
			err = mounted(filepath.Dir(p.path(n))) // else the file would lie beneath
		}
		if err == nil {
			err = makeDB(p.path(n), p.s.journal)
		}
		if err != nil && strings.Contains(err.Error(), "already exists") {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.within(ctx, p.inStep)
}

func mounted(dir string) error {
	var st, up unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &st), unix.Stat(filepath.Dir(dir), &up)); err != nil {
		return err
	}
	if st.Dev == up.Dev {
		return fmt.Errorf("nothing is mounted on %s yet", dir)
	}
	return nil
}

// normal waits until a node acknowledges writes again and every other may
// become primary after it.
func (p *player) normal(ctx context.Context, a *apps) error {
	err := p.within(ctx, func() error {
		if a.lastAck() < p.Healed {
			return errors.New("no write has been acknowledged since the faults ended")
		}
		return p.marked()
	})
	if err == nil {
		p.Normal = workload.Now()
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func newCommand(args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // or each takes a second more under the race detector
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, err
}
