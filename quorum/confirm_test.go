package quorum

import (
	"context"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestConfirmCountsMessagesSentAfterTheCall(t *testing.T) {
	l, c, _ := newTestLease(3)
	_, err := l.ask()
	require.ErrorIs(t, err, errLeaseOver, "no term yet")
	l.lead(5)
	l.acked(5, "b", c.Boot(), 0)
	before := l.number()
	q, err := l.ask()
	require.NoError(t, err)
	open := func() {
		t.Helper()
		news, _, err := l.answer(q)
		require.NoError(t, err)
		require.NotNil(t, news)
	}
	l.answered(5, "b", before)
	l.answered(5, "c", before)
	open() // everybody has answered, but to older messages
	after := l.number()
	l.answered(4, "b", after)
	l.answered(5, "stranger", after)
	open() // another term, not a voter
	l.answered(5, "c", after)
	news, _, err := l.answer(q)
	require.NoError(t, err)
	require.Nil(t, news, "one of two others and this node are a majority")

	l.saw(6)
	_, _, err = l.answer(q)
	require.ErrorIs(t, err, errLeaseOver, "a dead lease confirms nothing, whatever was answered before")
}

func TestConfirmEndsWithTheLease(t *testing.T) {
	l, c, _ := newTestLease(3)
	l.lead(5)
	l.acked(5, "b", c.Boot(), 0)
	q, err := l.ask()
	require.NoError(t, err)
	news, left, err := l.answer(q)
	require.NoError(t, err)
	require.Equal(t, 100+lapseGrace, left)
	l.lead(7)
	select {
	case <-news:
	default:
		t.Fatal("the end of the term does not wake who waits")
	}
	_, _, err = l.answer(q)
	require.ErrorIs(t, err, errLeaseOver)
	q, err = l.ask()
	require.NoError(t, err)
	c.add(101 + lapseGrace)
	_, _, err = l.answer(q)
	require.ErrorIs(t, err, errLeaseOver, "lapsed")
}

// A dumb oracle keeps every answer and counts heads.
func TestConfirmAgreesWithOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 3, 4, 5, 7}).Draw(t, "n")
		l, c, _ := newTestLease(n)
		ids, _ := l.voters()
		l.lead(1)
		for _, id := range ids {
			l.acked(1, id, c.Boot(), 0)
		}
		var asked []question
		type sent struct {
			id     raft.ServerID
			number int64
		}
		var out, in []sent
		for range rapid.IntRange(1, 60).Draw(t, "moves") {
			switch rapid.IntRange(0, 2).Draw(t, "move") {
			case 0:
				q, err := l.ask()
				require.NoError(t, err)
				asked = append(asked, q)
			case 1:
				out = append(out, sent{rapid.SampledFrom(ids).Draw(t, "to"), l.number()})
			case 2:
				if len(out) > 0 {
					m := rapid.SampledFrom(out).Draw(t, "answered")
					in = append(in, m)
					l.answered(1, m.id, m.number)
				}
			}
			for _, q := range asked {
				yes := map[raft.ServerID]bool{"me": true}
				for _, m := range in {
					if m.number > q.after {
						yes[m.id] = true
					}
				}
				news, _, err := l.answer(q)
				require.NoError(t, err)
				require.Equal(t, len(yes) > n/2, news == nil)
			}
		}
	})
}

// confirmWithin calls Confirm and requires an answer in the end.
func confirmWithin(t *testing.T, n *testNode, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return n.Confirm(ctx)
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	const calls = 200
	start := time.Now()
	for range calls {
		require.NoError(t, confirmWithin(t, w, 10*time.Second))
	}
	t.Logf("%v for one after the other", time.Since(start)/calls)

	sent, start := w.lease.numbers.Load(), time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, calls)
	for range calls {
		wg.Go(func() { errs <- confirmWithin(t, w, 10*time.Second) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	sent = w.lease.numbers.Load() - sent
	t.Logf("%d at once: %v, %d messages", calls, time.Since(start), sent)
	require.Less(t, sent, int64(calls), "concurrent calls share rounds")

	for name, n := range c.nodes {
		if name != w.name {
			require.ErrorIs(t, confirmWithin(t, n, 10*time.Second), errLeaseOver, "a follower")
		}
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	require.Error(t, w.Confirm(done))
}

func TestConfirmAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	require.NoError(t, confirmWithin(t, c.writer(), 10*time.Second))
}

func TestConfirmFailsWithoutAMajority(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	var lapsed, stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				late := lapsed.Load()
				if confirmWithin(t, w, 10*time.Second) == nil && late {
					t.Error("confirmed without a majority")
					return
				}
			}
		})
	}
	for _, n := range c.nodes {
		if n != w {
			c.cut.set(n.name, true)
		}
	}
	// What was answered before the cut may be on its way; the lease has lapsed
	// when nothing is any more.
	eventually(t, "the lease has lapsed", func() bool { return !w.gate.admits() })
	lapsed.Store(true)
	eventually(t, "raft steps down", func() bool { return w.raft.State() != raft.Leader })
	stop.Store(true)
	wg.Wait()
	for name := range maps.Clone(c.nodes) {
		c.cut.set(name, false)
	}
	eventually(t, "a new writer is confirmed", func() bool {
		for _, n := range c.nodes {
			if n.gate.admits() && confirmWithin(t, n, time.Second) == nil {
				return true
			}
		}
		return false
	})
}

// stall sits where TLS sits, on the connections that one node opens for raft:
// it can keep answers from it, and make what it sends vanish.
type stall struct {
	mu      sync.Mutex
	held    chan struct{} // closed to let answers pass; nil = they pass
	swallow bool
	late    map[string]int // answers held, by peer
}

type stallConn struct {
	net.Conn
	s     *stall
	addr  string
	fresh bool
	raft  bool
}

func (s *stall) Server(c net.Conn) (net.Conn, error) { return c, nil }
func (s *stall) Client(_ context.Context, c net.Conn, addr string) (net.Conn, error) {
	return &stallConn{Conn: c, s: s, addr: addr, fresh: true}, nil
}

func (c *stallConn) Write(b []byte) (int, error) {
	if c.fresh {
		c.fresh, c.raft = false, b[0] == protoRaft
		return c.Conn.Write(b)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if !c.raft {
		return c.Conn.Write(b)
	}
	if c.s.swallow {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *stallConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.mu.Lock()
	held := c.s.held
	if c.raft && held != nil {
		c.s.late[c.addr]++
	}
	c.s.mu.Unlock()
	if c.raft && held != nil {
		<-held
	}
	return n, err
}

// hold keeps answers back and returns once every one of peers has answered both
// of raft's goroutines for it, heartbeat and replicate (replication.go): then
// the newest answer to each peer's messages is among those that are held.
func (s *stall) hold(t *testing.T, peers int) {
	s.mu.Lock()
	s.held, s.late = make(chan struct{}), map[string]int{}
	s.mu.Unlock()
	eventually(t, "answers are late", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		both := 0
		for _, n := range s.late {
			if n == 2 {
				both++
			}
		}
		return both == peers
	})
}

// release lets the late answers pass.
func (s *stall) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
}

// A majority answers, after the call and with Success, but to messages that
// were sent before it. That proves nothing about now.
func TestConfirmIsNotSatisfiedByOlderMessages(t *testing.T) {
	t.Parallel()
	stalls := map[string]*stall{}
	c := newCluster(t, 3, func(cfg *Config) {
		s := &stall{}
		stalls[cfg.Name] = s
		cfg.Secure = s
		// The lease must outlast the wait for late answers.
		cfg.HeartbeatTimeout, cfg.Lease = 2*time.Second, 2*time.Second
	})
	w := c.writer()
	s := stalls[w.name]
	t.Cleanup(s.release)
	require.NoError(t, confirmWithin(t, w, 10*time.Second))

	s.hold(t, 2)
	s.mu.Lock()
	s.swallow = true
	s.mu.Unlock()
	result := make(chan error, 1)
	go func() { result <- confirmWithin(t, w, 20*time.Second) }()
	eventually(t, "Confirm waits", func() bool {
		w.lease.mu.Lock()
		defer w.lease.mu.Unlock()
		return w.lease.news != nil
	})
	called := w.clock.Boot()
	acks := func() map[raft.ServerID]int64 {
		w.lease.mu.Lock()
		defer w.lease.mu.Unlock()
		return maps.Clone(w.lease.acks)
	}
	before := acks()
	s.release()
	eventually(t, "both late answers prolong the lease", func() bool {
		n := 0
		for id, at := range acks() {
			require.Less(t, at, called, "%s answered a message that was sent after the call", id)
			if at > before[id] {
				n++
			}
		}
		return n == 2
	})
	require.ErrorIs(t, <-result, errLeaseOver)
}
