package nemesis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

// timeoutNow is raft's request to be elected at once, among what nodes say to
// each other without TLS: the only short message of raft's protocol that a
// leader sends.
const timeoutNow = "-p tcp -m length --length 53:150 -m string --algo bm --string ProtocolVersion"

// lateHandoff: the message by which leadership is handed over arrives when
// nobody expects it any more, and makes its receiver leader at once while the
// old one, just cut off, believes that it still leads: hashicorp/raft's
// TimeoutNow has no term, and no timeout takes it back. The message is kept back
// until the handoff has failed and the old primary writes again; TCP then sends
// it once more at a time that can be foretold.
func lateHandoff(a *acting) (func() error, error) {
	old := a.primary()
	target := a.another(old)
	a.hits(old, target)
	arrive, err := a.cut(map[link]packets{{old, target}: {match: timeoutNow}})
	if err != nil {
		return arrive, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, 20*sec)
	defer cancel()
	sent := watchDrops(ctx, target)
	_, _ = old.CLI("handoff", target.Name) // in vain
	if a.awaitFollowed(ctx, old, target) != nil {
		return arrive, nil // somebody else leads by now: nothing is late
	}
	if sent.beforeNext(ctx, 80*ms) != nil {
		return arrive, nil // over TLS it went through, or it was never sent
	}
	cut := around(a.c, old, in, out)
	cut[link{old, target}] = packets{except: timeoutNow}
	heal, err := a.links(cut)
	return heal, errors.Join(err, arrive())
}

// awaitFollowed waits until old writes again and target has followed so far.
func (a *acting) awaitFollowed(ctx context.Context, old, target *cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 5*sec)
	defer cancel()
	return cluster.WaitFor(ctx, func() error {
		s, err := old.Status()
		if err != nil || !s.Writable {
			return fmt.Errorf("%s does not write: %s (%w)", old.Name, s.Reason, err)
		}
		t, err := target.Status()
		if err != nil || t.Open != s.Open {
			return fmt.Errorf("%s is at Open %d, %s at %d (%w)", target.Name, t.Open, old.Name, s.Open, err)
		}
		return nil
	})
}

// drops is when a node's filter has dropped a packet.
type drops struct{ at chan time.Time }

// watchDrops looks at n's only rule for dropping until ctx ends.
func watchDrops(ctx context.Context, n *cluster.Node) drops {
	d := drops{make(chan time.Time, 1000)}
	go func() {
		defer close(d.at)
		for seen := 0; sleep(ctx, 10*ms) == nil; {
			out, _ := n.Exec("iptables", "-nvxL", "INPUT")
			for _, line := range strings.Split(out, "\n") {
				f := strings.Fields(line)
				if !strings.Contains(line, "DROP") || !strings.Contains(line, "ProtocolVersion") {
					continue
				}
				if count, _ := strconv.Atoi(f[0]); count > seen {
					seen = count
					d.at <- time.Now()
				}
			}
		}
	}()
	return d
}

// beforeNext returns a moment before a dropped packet comes again: TCP doubles
// its patience each time.
func (d drops) beforeNext(ctx context.Context, moment time.Duration) error {
	var last time.Time
	var gap time.Duration
	for {
		var next <-chan time.Time
		if left := time.Until(last.Add(2*gap - moment)); gap > 100*ms && left > 0 {
			next = time.After(left)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
			return nil
		case at, ok := <-d.at:
			if !ok {
				return errors.New("nothing more was dropped")
			}
			if !last.IsZero() {
				gap = at.Sub(last)
			}
			last = at
		}
	}
}
