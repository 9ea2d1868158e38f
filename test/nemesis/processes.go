package nemesis

import (
	"errors"
	"slices"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

type selector func(*acting) *cluster.Node

func of(n *cluster.Node, programs []program) (ps []process) {
	for _, p := range programs {
		if one := (process{n, p}); one.used() {
			ps = append(ps, one)
		}
	}
	return ps
}

func pause(who selector, programs ...program) func(*acting) (func() error, error) {
	return func(a *acting) (func() error, error) {
		n := who(a)
		a.stops(n)
		return a.stop(of(n, programs)...)
	}
}

func kill(who selector, programs ...program) func(*acting) (func() error, error) {
	return func(a *acting) (func() error, error) {
		n := who(a)
		a.stops(n)
		return a.kill(of(n, programs)...)
	}
}

// powerOff: the primary's machine goes while it writes, its network first: what it
// acknowledges in that moment nobody else has. It may stay away for long enough
// that another takes over, and comes back with all that it had on its disk.
func powerOff(a *acting) (func() error, error) {
	n := a.primary()
	a.stops(n)
	heal, err := a.links(around(a.c, n, in, out))
	if err != nil {
		return heal, err
	}
	_ = sleep(a.ctx, time.Duration(a.rng.Int64N(int64(200*ms))))
	start, err := a.kill(of(n, []program{litefence, liteFS})...)
	return func() error { return errors.Join(heal(), start()) }, err
}

// killAll is a power loss of everything; the nodes come back in some order.
func killAll(a *acting) (func() error, error) {
	var ps []process
	nodes := shuffled(a)
	for _, n := range nodes {
		ps = append(ps, process{n, litefence}, process{n, liteFS})
	}
	a.stops(nodes...)
	return a.kill(ps...)
}

func (a *acting) app() int {
	n := anyNode(a)
	a.hits(n)
	return slices.Index(a.c.Nodes, n)
}

func killApp(a *acting) (func() error, error) {
	i := a.app()
	return func() error { return a.apps.Restart(i) }, a.apps.Kill(i)
}

func pauseApp(a *acting) (func() error, error) {
	i := a.app()
	return func() error { return a.apps.Continue(i) }, a.apps.Stop(i)
}

// laggingWins: a replica whose LiteFS was away for some time comes back just as
// the primary, whose last rows it lacks, goes. Its raft lacks nothing, so that it
// may well be elected.
func laggingWins(a *acting) (func() error, error) {
	old := a.primary()
	target := a.another(old)
	a.stops(old, target)
	back, err := a.kill(process{target, liteFS})
	if err != nil {
		return back, err
	}
	_ = sleep(a.ctx, 5*sec) // rows that the others have had for more than three seconds
	start, err := a.kill(process{old, litefence}, process{old, liteFS})
	return start, errors.Join(err, back())
}
