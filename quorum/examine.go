package quorum

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Examined is what a peer says of itself to somebody who takes no part.
type Examined struct {
	Name, Address string
	State         PeerState
	Err           error         // it does not answer
	Mismatch      error         // it answers, and must not run beside the node that asks
	RTT           time.Duration // of the question, with the handshake
	// Skew is by how much its wall clock is ahead, give or take half of RTT; 0
	// where it does not say.
	Skew time.Duration
}

// Examine asks every peer, once and at the same time, how it is. It listens on no
// port and has no say in the cluster: it may run beside the node in whose name it
// asks, and before it was ever started. self is what that node would say of
// itself: name, version, timings, mode, and its cluster where it is known.
func Examine(ctx context.Context, self PeerState, peers map[string]string, secure Secure, log *slog.Logger) []Examined {
	self.Protocol = peerProtocol
	client := newPeerClient(&mux{secure: secure, who: configured(peers), log: log})
	defer client.close()
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		all []Examined
	)
	for name, addr := range peers {
		if name == self.Name {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			x := examine(ctx, client, self, name, addr)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, x)
		}()
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b Examined) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func examine(ctx context.Context, client *peerClient, self PeerState, name, addr string) Examined {
	x := Examined{Name: name, Address: addr}
	asked := time.Now()
	x.State, x.Err = client.state(meaning(ctx, name), addr)
	x.RTT = time.Since(asked)
	if x.Err != nil {
		return x
	}
	if !x.State.Time.IsZero() {
		x.Skew = x.State.Time.Sub(asked.Add(x.RTT / 2))
	}
	x.Mismatch = mismatch(self, name, addr, x.State)
	return x
}

// configured is a directory of the nodes that a config names.
type configured map[string]string

func (c configured) knows(name string) bool { _, ok := c[name]; return ok }

func (c configured) nameAt(addr string) string {
	for name, a := range c {
		if a == addr {
			return name
		}
	}
	return ""
}
