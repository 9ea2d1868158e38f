package quorum

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// simNet carries bytes between simulated machines. Each direction of each pair
// has a delay, a loss (which on a stream is a delay, by retransmission) and can
// be cut by itself. What was written before a cut arrives after it, also when
// the writer has given up and closed: that is how a late TimeoutNow or an old
// leader's heartbeat comes about. Connections overtake each other; a stream does
// not reorder or duplicate, so neither does this.
type simNet struct {
	mu     sync.Mutex
	rng    *rand.Rand
	ways   map[way]wayState
	hosts  map[string]*simStream
	thaw   map[string]chan struct{} // of frozen machines; closed when they go on
	halves map[*half]bool
}

type way struct{ from, to string }

type wayState struct {
	cut           bool
	delay, jitter time.Duration
	loss          float64 // of segments; each costs a retransmission
}

const retransmit = 200 * time.Millisecond

func newSimNet(rng *rand.Rand) *simNet {
	return &simNet{
		rng: rng, ways: map[way]wayState{}, hosts: map[string]*simStream{},
		thaw: map[string]chan struct{}{}, halves: map[*half]bool{},
	}
}

// set changes one direction.
func (n *simNet) set(w way, change func(*wayState)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.ways[w]
	change(&s)
	n.ways[w] = s
	n.wakeLocked()
}

func (n *simNet) wakeLocked() {
	for h := range n.halves {
		h.nudge()
	}
}

func (n *simNet) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.ways)
	n.wakeLocked()
}

// freeze stops a machine's reading and writing, from the next byte on.
func (n *simNet) freeze(host string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch ch := n.thaw[host]; {
	case on && ch == nil:
		n.thaw[host] = make(chan struct{})
	case !on && ch != nil:
		close(ch)
		delete(n.thaw, host)
	}
	n.wakeLocked()
}

// thawed returns once host runs.
func (n *simNet) thawed(host string) {
	for {
		n.mu.Lock()
		ch := n.thaw[host]
		n.mu.Unlock()
		if ch == nil {
			return
		}
		<-ch
	}
}

func (n *simNet) open(w way) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.ways[w].cut
}

func (n *simNet) delayLocked(w way) time.Duration {
	s := n.ways[w]
	d := 100*time.Microsecond + s.delay + time.Duration(n.rng.Int64N(int64(s.jitter+900*time.Microsecond)))
	for s.loss > 0 && n.rng.Float64() < s.loss {
		d += retransmit
	}
	return d
}

// reset tears all connections between two machines down.
func (n *simNet) reset(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for h := range n.halves {
		if h.way == (way{a, b}) || h.way == (way{b, a}) {
			h.reset = true
			h.nudge()
		}
	}
}

// half is one direction of a connection. It has one reader at a time.
type half struct {
	net *simNet
	way way
	// The net's lock guards the rest.
	queue []segment
	last  time.Time // arrivals do not overtake each other
	reset bool
	wake  chan struct{}
}

type segment struct {
	at   time.Time
	data []byte
	fin  bool
}

func (h *half) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *half) put(s segment) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	s.at = time.Now().Add(h.net.delayLocked(h.way))
	if s.at.Before(h.last) {
		s.at = h.last
	}
	h.last = s.at
	h.queue = append(h.queue, s)
	h.nudge()
}

// simConn is one end of a connection.
type simConn struct {
	in, out  *half
	stream   *simStream // of the end's machine
	mu       sync.Mutex
	deadline time.Time
	closed   bool
}

var errLater = errors.New("nothing yet")

// take reads what has arrived, or says when to look again; 0 = when nudged.
func (c *simConn) take(b []byte) (n int, wait time.Duration, err error) {
	c.mu.Lock()
	deadline, closed := c.deadline, c.closed
	c.mu.Unlock()
	net_, now := c.in.net, time.Now()
	net_.mu.Lock()
	defer net_.mu.Unlock()
	if !deadline.IsZero() {
		wait = deadline.Sub(now)
	}
	switch {
	case closed:
		return 0, 0, net.ErrClosed
	case c.in.reset:
		return 0, 0, syscall.ECONNRESET
	case !deadline.IsZero() && wait <= 0:
		return 0, 0, os.ErrDeadlineExceeded
	case len(c.in.queue) == 0 || net_.ways[c.in.way].cut:
		return 0, wait, errLater
	}
	s := &c.in.queue[0]
	if left := s.at.Sub(now); left > 0 {
		if wait == 0 || left < wait {
			wait = left
		}
		return 0, wait, errLater
	}
	if s.fin {
		return 0, 0, io.EOF
	}
	n = copy(b, s.data)
	if s.data = s.data[n:]; len(s.data) == 0 {
		c.in.queue = c.in.queue[1:]
	}
	return n, 0, nil
}

func (c *simConn) Read(b []byte) (int, error) {
	for {
		c.in.net.thawed(c.in.way.to)
		n, wait, err := c.take(b)
		if err != errLater {
			return n, err
		}
		var at <-chan time.Time
		if wait > 0 {
			at = time.After(wait)
		}
		select {
		case <-c.in.wake:
		case <-at:
		}
	}
}

func (c *simConn) Write(b []byte) (int, error) {
	c.out.net.thawed(c.out.way.from)
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	c.out.put(segment{data: slices.Clone(b)})
	return len(b), nil
}

func (c *simConn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return nil
	}
	c.out.put(segment{fin: true})
	c.in.net.mu.Lock()
	delete(c.in.net.halves, c.in)
	delete(c.stream.conns, c)
	c.in.nudge()
	c.in.net.mu.Unlock()
	return nil
}

func (c *simConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	c.in.nudge()
	return nil
}

func (c *simConn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }
func (c *simConn) SetWriteDeadline(time.Time) error  { return nil }
func (c *simConn) LocalAddr() net.Addr               { return simAddr(c.out.way.from) }
func (c *simConn) RemoteAddr() net.Addr              { return simAddr(c.out.way.to) }

type simAddr string

func (simAddr) Network() string  { return "sim" }
func (a simAddr) String() string { return string(a) }

// simStream is the StreamLayer of one process.
type simStream struct {
	net     *simNet
	host    string
	backlog chan *simConn
	done    chan struct{}
	once    sync.Once
	conns   map[*simConn]bool // guarded by the net's lock
}

func (n *simNet) listen(host string) *simStream {
	s := &simStream{net: n, host: host, backlog: make(chan *simConn, 64), done: make(chan struct{}), conns: map[*simConn]bool{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = s
	return s
}

func (s *simStream) Addr() net.Addr { return simAddr(s.host) }

func (s *simStream) Accept() (net.Conn, error) {
	select {
	case c := <-s.backlog:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends the process's networking: no more is heard here, what is on its
// way still arrives.
func (s *simStream) Close() error {
	s.once.Do(func() {
		s.net.mu.Lock()
		if s.net.hosts[s.host] == s {
			delete(s.net.hosts, s.host)
		}
		close(s.done)
		var conns []*simConn
		for c := range s.conns {
			conns = append(conns, c)
		}
		s.net.mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	return nil
}

func (s *simStream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	s.net.thawed(s.host)
	there, back := way{s.host, string(to)}, way{string(to), s.host}
	s.net.mu.Lock()
	d := s.net.delayLocked(there) + s.net.delayLocked(back)
	s.net.mu.Unlock()
	if !s.net.open(there) || !s.net.open(back) || d > timeout {
		time.Sleep(timeout)
		return nil, os.ErrDeadlineExceeded
	}
	time.Sleep(d)
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	peer := s.net.hosts[string(to)]
	select {
	case <-s.done:
		return nil, net.ErrClosed
	default:
	}
	if peer == nil {
		return nil, syscall.ECONNREFUSED
	}
	a, b := &half{net: s.net, way: there, wake: make(chan struct{}, 1)}, &half{net: s.net, way: back, wake: make(chan struct{}, 1)}
	near, far := &simConn{in: b, out: a, stream: s}, &simConn{in: a, out: b, stream: peer}
	select {
	case peer.backlog <- far:
	default:
		return nil, syscall.ECONNREFUSED
	}
	s.net.halves[a], s.net.halves[b] = true, true
	s.conns[near], peer.conns[far] = true, true
	return near, nil
}
