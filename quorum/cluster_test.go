package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/litefence/litefence/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testGate is a gate without a filesystem behind it.
type testGate struct {
	name   string
	mu     sync.Mutex
	epoch  uint64
	until  int64
	epochs []uint64
}

func (g *testGate) Open(epoch uint64, until int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch, g.until = epoch, until
	g.epochs = append(g.epochs, epoch)
	return nil
}

func (g *testGate) Extend(epoch uint64, until int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if epoch == g.epoch {
		g.until = max(g.until, until)
	}
}

func (g *testGate) Revoke() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch, g.until = 0, 0
}

func (g *testGate) fence(context.Context) error { g.Revoke(); return nil }

func (g *testGate) admits() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.epoch != 0 && systemClock{}.Boot() < g.until
}

// fakeLiteFS plays LiteFS's lease loop (store.go, monitorLease) against a Node,
// with a position per database and streams that copy them.
type fakeLiteFS struct {
	mu      sync.Mutex
	pos     policy.Positions
	history map[string]map[uint64]uint64
	marker  policy.OpenRef
	primary bool
	node    *Node
	peers   map[string]*fakeLiteFS
	stopped atomic.Bool
	stuck   atomic.Bool // as a replica it applies nothing
	barred  atomic.Bool // no candidate: never asks for the key
	fed     atomic.Bool // a stream from a primary lasts
	keeps   atomic.Bool // as a replica it keeps databases that its primary lacks, as LiteFS does
	deaf    sync.Map    // databases of which, as a replica, it applies nothing
	before  func()      // called with the key, before it acts on it
	id      atomic.Pointer[string]
}

func newFakeLiteFS() *fakeLiteFS {
	return &fakeLiteFS{pos: policy.Positions{}, history: map[string]map[uint64]uint64{}}
}

func (f *fakeLiteFS) Positions(context.Context) (policy.Positions, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped.Load() {
		return nil, false, errors.New("stopped")
	}
	return maps.Clone(f.pos), f.primary, nil
}

// Applied looks, where LiteFS says.
func (f *fakeLiteFS) Applied(ctx context.Context, ready func() error, fn func(string, policy.Pos) error) error {
	f.mu.Lock()
	last := maps.Clone(f.pos)
	f.mu.Unlock()
	err := ready()
	for err == nil {
		sleep(ctx, time.Millisecond)
		err = ctx.Err()
		f.mu.Lock()
		now := maps.Clone(f.pos)
		f.mu.Unlock()
		for db, pos := range now {
			if err == nil && last[db] != pos {
				err = fn(db, pos)
			}
		}
		last = now
	}
	return err
}

func (f *fakeLiteFS) ClusterID(context.Context) (string, error) {
	if id := f.id.Load(); id != nil {
		return *id, nil
	}
	return "LFSC1", nil
}

func (f *fakeLiteFS) Marker() (policy.OpenRef, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.marker, nil
}

func (f *fakeLiteFS) SetMarker(r policy.OpenRef) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marker = r
	return nil
}

func (f *fakeLiteFS) checksum(db string, txid uint64) (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.history[db][txid]
	return c, ok
}

func (f *fakeLiteFS) InHistory(p policy.Positions) bool {
	for db, pos := range p {
		if c, ok := f.checksum(db, pos.TXID); !ok || c != pos.Checksum {
			return false
		}
	}
	return true
}

// drop takes a database out of the directory.
func (f *fakeLiteFS) drop(db string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pos, db)
	delete(f.history, db)
}

func (f *fakeLiteFS) NewestOf(db string, of []policy.Pos) (newest policy.Pos) {
	for _, pos := range of {
		if pos.TXID > newest.TXID && f.InHistory(policy.Positions{db: pos}) {
			newest = pos
		}
	}
	return newest
}

// at returns the position of one database.
func (f *fakeLiteFS) at(db string) policy.Pos {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pos[db]
}

// commit adds a transaction with the given checksum.
func (f *fakeLiteFS) commit(db string, sum uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := policy.Pos{TXID: f.pos[db].TXID + 1, Checksum: sum}
	f.pos[db] = p
	if f.history[db] == nil {
		f.history[db] = map[uint64]uint64{}
	}
	f.history[db][p.TXID] = sum
}

func (f *fakeLiteFS) setPrimary(v bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.primary = v
}

func (f *fakeLiteFS) copyFrom(o *fakeLiteFS) {
	o.mu.Lock()
	pos, hist := maps.Clone(o.pos), map[string]map[uint64]uint64{}
	for db, h := range o.history {
		hist[db] = maps.Clone(h)
	}
	o.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keeps.Load() {
		for _, db := range surplus(f.pos, pos) {
			pos[db], hist[db] = f.pos[db], f.history[db]
		}
	}
	for db := range pos {
		if _, deaf := f.deaf.Load(db); deaf {
			pos[db], hist[db] = f.pos[db], f.history[db]
		}
	}
	f.pos, f.history = pos, hist
}

const fakeDelay = 10 * time.Millisecond // LiteFS's reconnect-delay

func (f *fakeLiteFS) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !f.stopped.Load() {
			f.turn(ctx)
		}
		sleep(ctx, fakeDelay)
	}
}

func (f *fakeLiteFS) turn(ctx context.Context) {
	n := f.node
	n.Looped()
	if host, ok := n.Primary(); ok {
		f.follow(ctx, host)
		return
	}
	if f.barred.Load() {
		return
	}
	id, ok := n.Acquire(ctx, n.cfg.Name)
	if !ok {
		return
	}
	if f.before != nil {
		f.before()
	}
	f.setPrimary(true)
	defer f.setPrimary(false)
	for ctx.Err() == nil && !f.stopped.Load() && n.Renew(ctx, id) {
		sleep(ctx, 2*fakeDelay)
	}
}

func (f *fakeLiteFS) follow(ctx context.Context, host string) {
	up, dial, err := f.node.Upstream()
	if err != nil {
		return
	}
	c, err := dial(up)
	if err != nil {
		return
	}
	c.Close()
	p := f.peers[host]
	if p == nil {
		return // one that was removed
	}
	p.mu.Lock()
	from := p.node
	p.mu.Unlock()
	if from == nil {
		return // its machine has a new disk and is not up yet
	}
	if _, err := from.Serving(); err != nil {
		return
	}
	f.fed.Store(true)
	defer f.fed.Store(false)
	pos, _, _ := f.Positions(ctx)
	if f.node.Connected(up, pos) != nil {
		return
	}
	for up.Err() == nil && ctx.Err() == nil && !f.stopped.Load() {
		if s, err := from.Serving(); err != nil || s.Err() != nil {
			return
		}
		if !f.stuck.Load() {
			f.copyFrom(p)
		}
		sleep(up, fakeDelay)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

type testNode struct {
	*Node
	name   string
	gate   *testGate
	lite   *fakeLiteFS
	dir    string
	cancel context.CancelFunc
	done   chan struct{}
}

type testCluster struct {
	t     *testing.T
	H, D  time.Duration
	addrs map[string]string
	lites map[string]*fakeLiteFS
	nodes map[string]*testNode
	cut   *cutSecure
	edit  func(*Config)
}

// cutSecure sits where TLS sits and breaks connections of cut-off nodes, in
// silence: bytes vanish.
type cutSecure struct {
	mu  sync.Mutex
	off map[string]bool // node name
}

func (c *cutSecure) isOff(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off[name]
}

func (c *cutSecure) set(name string, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off[name] = off
}

type cutFor struct {
	*cutSecure
	name string
}

func (c cutFor) Server(conn net.Conn) (net.Conn, error) { return &cutConn{conn, c}, nil }
func (c cutFor) Client(_ context.Context, conn net.Conn, _ string) (net.Conn, error) {
	return &cutConn{conn, c}, nil
}

type cutConn struct {
	net.Conn
	by cutFor
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.by.isOff(c.by.name) {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.by.isOff(c.by.name) {
			return n, err
		}
	}
}

func newCluster(t *testing.T, n int, edit func(*Config)) *testCluster {
	c := &testCluster{
		t: t, H: 300 * time.Millisecond, D: 150 * time.Millisecond, edit: edit,
		addrs: map[string]string{}, lites: map[string]*fakeLiteFS{}, nodes: map[string]*testNode{},
		cut: &cutSecure{off: map[string]bool{}},
	}
	for i, addr := range freeAddrs(t, n) {
		name := fmt.Sprintf("n%d", i+1)
		c.addrs[name] = addr
		c.lites[name] = newFakeLiteFS()
	}
	for name := range c.addrs {
		c.start(name, t.TempDir())
	}
	t.Cleanup(c.stopAll)
	return c
}

func (c *testCluster) start(name, dir string) *testNode {
	gate := &testGate{name: name}
	lite := c.lites[name]
	cfg := Config{
		Name: name, Listen: c.addrs[name], Advertise: c.addrs[name], Peers: c.addrs, DataDir: dir,
		HeartbeatTimeout: c.H, Lease: c.D, ClockDrift: 0.01, ReaderGrace: 200 * time.Millisecond,
		Secure: cutFor{c.cut, name}, LiteFS: lite, Gate: gate, Fence: gate.fence,
		Log: testLog(name),
	}
	if c.edit != nil {
		c.edit(&cfg)
	}
	node, err := Open(cfg)
	require.NoError(c.t, err)
	require.NoError(c.t, node.Start(nil))
	ctx, cancel := context.WithCancel(context.Background())
	tn := &testNode{Node: node, name: name, gate: gate, lite: lite, dir: dir, cancel: cancel, done: make(chan struct{})}
	lite.mu.Lock()
	lite.node, lite.peers = node, c.lites
	lite.mu.Unlock()
	c.nodes[name] = tn
	go func() { defer close(tn.done); lite.run(ctx) }()
	return tn
}

func testLog(name string) *slog.Logger {
	var w io.Writer = io.Discard
	level := slog.LevelInfo
	if os.Getenv("LITEFENCE_TEST_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})).With("n", name)
}

func (c *testCluster) stop(name string) {
	n := c.nodes[name]
	if n == nil {
		return
	}
	delete(c.nodes, name)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = n.Close(ctx)
	n.cancel()
	<-n.done
}

func (c *testCluster) stopAll() {
	for name := range maps.Clone(c.nodes) {
		c.cut.set(name, false)
	}
	for name := range maps.Clone(c.nodes) {
		c.stop(name)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 20*time.Second, 5*time.Millisecond, what)
}

// writer returns the node whose gate admits, once there is one.
func (c *testCluster) writer(not ...string) *testNode {
	c.t.Helper()
	var w *testNode
	eventually(c.t, "a node becomes writable", func() bool {
		for name, n := range c.nodes {
			if n.gate.admits() && (len(not) == 0 || name != not[0]) {
				w = n
				return true
			}
		}
		return false
	})
	return w
}
