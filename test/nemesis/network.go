package nemesis

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"sync"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

type direction int

const (
	in direction = iota
	out
)

func (a *acting) links(drop map[link]packets) (func() error, error) {
	a.fault.Cuts = true
	return a.cut(drop)
}

func cutPrimary(ways ...direction) func(*acting) (func() error, error) {
	return func(a *acting) (func() error, error) {
		n := a.primary()
		a.hits(n)
		return a.links(around(a.c, n, ways...))
	}
}

func around(c *cluster.Cluster, n *cluster.Node, ways ...direction) map[link]packets {
	drop := map[link]packets{}
	for _, o := range c.Others(n) {
		for _, w := range ways {
			if w == in {
				drop[link{o, n}] = packets{}
			} else {
				drop[link{n, o}] = packets{}
			}
		}
	}
	return drop
}

func cutReplica(a *acting) (func() error, error) {
	n := replica(a)
	a.hits(n)
	return a.links(around(a.c, n, in, out))
}

// halves splits the cluster in two; the primary is in the smaller part, or
// anywhere.
func halves(minor bool) func(*acting) (func() error, error) {
	return func(a *acting) (func() error, error) {
		order := shuffled(a)
		if p := a.primary(); minor {
			order = append([]*cluster.Node{p}, a.c.Others(p)...)
		}
		small := len(order) / 2
		a.hits(order[:small]...)
		return a.links(between(order[:small], order[small:]))
	}
}

func shuffled(a *acting) []*cluster.Node {
	order := append([]*cluster.Node{}, a.c.Nodes...)
	a.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// bridge splits the cluster in two halves that both reach one node.
func bridge(a *acting) (func() error, error) {
	order := shuffled(a)
	a.hits(order[0])
	half := 1 + (len(order)-1)/2
	return a.links(between(order[1:half], order[half:]))
}

// flapping cuts a node off and heals it, again and again.
func flapping(a *acting) (func() error, error) {
	n := anyNode(a)
	a.hits(n)
	a.fault.Cuts = true
	stop := make(chan struct{})
	var done sync.WaitGroup
	var failed error
	rng := rand.New(rand.NewPCG(a.rng.Uint64(), 4))
	done.Go(func() {
		for {
			undo, err := a.cut(around(a.c, n, in, out))
			if err == nil {
				wait(stop, rng)
				err = undo()
			}
			if failed = err; err != nil || wait(stop, rng) {
				return
			}
		}
	})
	return func() error {
		close(stop)
		done.Wait()
		return failed
	}, nil
}

// wait is 20 to 700 ms long; it reports whether stop was closed.
func wait(stop chan struct{}, rng *rand.Rand) bool {
	select {
	case <-stop:
		return true
	case <-time.After(20*ms + time.Duration(rng.Int64N(int64(680*ms)))):
		return false
	}
}

func randomLinks(a *acting) (func() error, error) {
	drop := map[link]packets{}
	part := 0.2 + 0.5*a.rng.Float64()
	for _, from := range a.c.Nodes {
		for _, to := range a.c.Others(from) {
			if a.rng.Float64() < part {
				drop[link{from, to}] = packets{}
			}
		}
	}
	return a.links(drop)
}

func lossy(a *acting) (func() error, error) {
	drop := map[link]packets{}
	part := 0.05 + 0.4*a.rng.Float64()
	for _, from := range a.c.Nodes {
		for _, to := range a.c.Others(from) {
			drop[link{from, to}] = some(part)
		}
	}
	return a.links(drop)
}

// slow delays what nodes send: by netem where the kernel has it, else by a
// narrow link with a long queue.
func slow(a *acting) (func() error, error) {
	nodes := shuffled(a)[:1+a.rng.IntN(len(a.c.Nodes))]
	a.hits(nodes...)
	var errs []error
	for _, n := range nodes {
		if tc(n, "add", "netem", "delay", "80ms", "60ms") != nil {
			errs = append(errs, tc(n, "add", "tbf", "rate", "400kbit", "burst", "4k", "latency", "400ms"))
		}
	}
	return func() error {
		var errs []error
		for _, n := range nodes {
			errs = append(errs, tc(n, "del"))
		}
		return errors.Join(errs...)
	}, errors.Join(errs...)
}

// tc replaces the queue of what n sends; two slow faults at once are one.
func tc(n *cluster.Node, verb string, args ...string) error {
	if verb == "add" {
		verb = "replace"
	}
	_, err := n.Exec(append([]string{"tc", "qdisc", verb, "dev", "eth0", "root"}, args...)...)
	var exit *exec.ExitError
	if verb == "del" && errors.As(err, &exit) {
		return nil // an overlapping fault has taken it away
	}
	return err
}
