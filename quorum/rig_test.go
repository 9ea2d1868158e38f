package quorum

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// A rig is raft, transport, lease and records without the choice of a primary:
// whoever leads waits (or not), commits an Open and opens. It shows what the
// wait alone is worth.
type rig struct {
	t      *testing.T
	D      time.Duration
	noWait bool
	links  *links
	nodes  map[string]*rigNode

	mu       sync.Mutex
	overlaps int
	opens    int
}

type rigNode struct {
	rig    *rig
	name   string
	H      time.Duration
	store  *raft.InmemStore // survives a restart, as a disk does
	stable raft.StableStore
	addr   string
	gate   *monitoredGate

	raft   *raft.Raft
	trans  *transport
	lease  *lease
	fsm    *fsm
	notify chan bool
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	fastPath       bool          // raft's own heartbeat fast path
	holdTimeoutNow chan struct{} // while set, TimeoutNow waits for it: a paused process
}

// monitoredGate looks, whenever it opens, whether another gate admits.
type monitoredGate struct {
	testGate
	rig *rig
}

func (g *monitoredGate) Open(epoch uint64, until int64) error {
	g.rig.mu.Lock()
	defer g.rig.mu.Unlock()
	g.rig.opens++
	for _, n := range g.rig.nodes {
		if n.gate != g && n.gate.admits() {
			g.rig.overlaps++
		}
	}
	return g.testGate.Open(epoch, until)
}

func (r *rig) seen() (opens, overlaps int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opens, r.overlaps
}

// links says which pairs of nodes cannot talk.
type links struct {
	mu  sync.Mutex
	cut map[[2]string]bool
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (l *links) set(a, b string, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut[pair(a, b)] = cut
}

func (l *links) isCut(p [2]string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut[p]
}

// linkConn loses the bytes of both directions while its link is cut.
type linkConn struct {
	net.Conn
	links *links
	pair  [2]string
}

func (c *linkConn) Write(b []byte) (int, error) {
	if c.links.isCut(c.pair) {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.links.isCut(c.pair) {
			return n, err
		}
	}
}

// rigStream is a StreamLayer on loopback TCP with cuttable links.
type rigStream struct {
	net.Listener
	n     *rigNode
	mu    sync.Mutex
	conns []net.Conn
}

func (s *rigStream) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err == nil {
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
	}
	return c, err
}

func (s *rigStream) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

func (s *rigStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", string(addr), timeout)
	if err != nil {
		return nil, err
	}
	for name, n := range s.n.rig.nodes {
		if n.addr == string(addr) {
			return &linkConn{c, s.n.rig.links, pair(s.n.name, name)}, nil
		}
	}
	return c, nil
}

func newRig(t *testing.T, noWait bool, heartbeats map[string]time.Duration) *rig {
	r := &rig{t: t, D: 1200 * time.Millisecond, noWait: noWait, links: &links{cut: map[[2]string]bool{}}, nodes: map[string]*rigNode{}}
	var conf raft.Configuration
	addrs := freeAddrs(t, len(heartbeats))
	for name, h := range heartbeats {
		n := &rigNode{rig: r, name: name, H: h, store: raft.NewInmemStore(), addr: addrs[len(r.nodes)]}
		n.stable, n.gate = n.store, &monitoredGate{rig: r}
		r.nodes[name] = n
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(n.addr)})
	}
	for _, n := range r.nodes {
		cfg := n.raftConfig()
		_, trans := raft.NewInmemTransport("")
		require.NoError(t, raft.BootstrapCluster(cfg, n.store, n.stable, raft.NewDiscardSnapshotStore(), trans, conf))
		n.start()
	}
	t.Cleanup(func() {
		for _, n := range r.nodes {
			n.stop()
		}
	})
	return r
}

func (n *rigNode) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.name)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = n.H, n.H, n.H
	c.CommitTimeout = 10 * time.Millisecond
	c.Logger = hclog.NewNullLogger()
	c.NotifyCh = n.notify
	return c
}

func (n *rigNode) start() {
	t := n.rig.t
	ln, err := net.Listen("tcp", n.addr)
	require.NoError(t, err)
	stream := &rigStream{Listener: ln, n: n}
	n.notify = make(chan bool, 64)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.lease = &lease{clock: systemClock{}, duration: n.rig.D, self: raft.ServerID(n.name), gate: n.gate, voters: n.voters}
	inner := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: 2, MaxRPCsInFlight: 1, Timeout: 200 * time.Millisecond, Logger: hclog.NewNullLogger(),
	})
	n.trans = newTransport(inner, systemClock{}, n.lease)
	n.fsm = &fsm{log: testLog(n.name), changed: func() {}}
	n.raft, err = raft.NewRaft(n.raftConfig(), n.fsm, n.store, n.stable, raft.NewDiscardSnapshotStore(), n.front())
	require.NoError(t, err)
	n.trans.start()
	n.wg.Add(1)
	go func() { defer n.wg.Done(); n.lead() }()
	ctx := n.ctx
	go func() { <-ctx.Done(); stream.closeConns() }()
}

func (n *rigNode) voters() ([]raft.ServerID, bool) {
	var ids []raft.ServerID
	for name := range n.rig.nodes {
		ids = append(ids, raft.ServerID(name))
	}
	return ids, true
}

// front is the transport as raft sees it: with raft's heartbeat fast path, if
// the test wants it, and with TimeoutNow held back while the test says so.
func (n *rigNode) front() raft.Transport {
	if n.fastPath {
		return fastTransport{n.trans}
	}
	h := &heldTransport{transport: n.trans, n: n, out: make(chan raft.RPC)}
	n.wg.Add(1)
	go func() { defer n.wg.Done(); h.pump() }()
	return h
}

type fastTransport struct{ *transport }

func (f fastTransport) SetHeartbeatHandler(h func(raft.RPC)) {
	f.NetworkTransport.SetHeartbeatHandler(h)
}

type heldTransport struct {
	*transport
	n   *rigNode
	out chan raft.RPC
}

func (h *heldTransport) Consumer() <-chan raft.RPC { return h.out }

func (h *heldTransport) pump() {
	for {
		select {
		case <-h.n.ctx.Done():
			return
		case rpc := <-h.transport.Consumer():
			h.pass(rpc)
		}
	}
}

func (h *heldTransport) pass(rpc raft.RPC) {
	h.n.rig.mu.Lock()
	hold := h.n.holdTimeoutNow
	h.n.rig.mu.Unlock()
	send := func() {
		select {
		case h.out <- rpc:
		case <-h.n.ctx.Done():
		}
	}
	if _, ok := rpc.Command.(*raft.TimeoutNowRequest); !ok || hold == nil {
		send()
		return
	}
	h.n.wg.Add(1)
	go func() {
		defer h.n.wg.Done()
		select {
		case <-hold:
			send()
		case <-h.n.ctx.Done():
		}
	}()
}

func (n *rigNode) lead() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case leads := <-n.notify:
			if leads {
				n.open(n.raft.CurrentTerm())
			}
		}
	}
}

// open is what Node.open does, without the choice of a primary.
func (n *rigNode) open(term uint64) {
	n.lease.lead(term)
	if n.raft.Barrier(time.Second).Error() != nil {
		return
	}
	wait := waitFor(n.fsm.state().Newest, n.name, 0.01)
	if n.rig.noWait {
		wait = 0
	}
	for !n.lease.over(term) && n.ctx.Err() == nil {
		if left, ok := n.lease.leftToWait(term, wait, n.fsm.state().creditable()); ok && left <= 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	r := Record{Kind: KindOpen, Term: term, RaftID: n.name, ID: randomHex(4), Lease: n.rig.D}
	f := n.raft.Apply(r.encode(), time.Second)
	if f.Error() == nil && f.Response() == nil {
		_ = n.lease.open(term, f.Index())
	}
}

func (n *rigNode) stop() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.lease.saw(^uint64(0)) // a process that is gone admits nothing
	_ = n.raft.Shutdown().Error()
	_ = n.trans.Close()
	n.wg.Wait()
	n.cancel = nil
}

// leadBy makes name the leader, with its gate open.
func (r *rig) leadBy(name string) *rigNode {
	n := r.nodes[name]
	eventually(r.t, name+" leads and has opened", func() bool {
		for _, other := range r.nodes {
			if other != n && other.raft.State() == raft.Leader {
				f := other.raft.LeadershipTransferToServer(raft.ServerID(name), raft.ServerAddress(n.addr))
				_ = f.Error()
			}
		}
		return n.raft.State() == raft.Leader && n.gate.admits()
	})
	return n
}
