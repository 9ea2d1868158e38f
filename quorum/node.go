package quorum

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// LocalLiteFS is what a node asks of the LiteFS beside it.
type LocalLiteFS interface {
	// Positions returns the position of every database, and whether LiteFS
	// holds itself for the primary.
	Positions(ctx context.Context) (pos policy.Positions, primary bool, err error)
	// ClusterID returns the cluster id on LiteFS's disk, "" for none.
	ClusterID(ctx context.Context) (string, error)
	// Applied tells fn of every transaction that LiteFS has carried out and has on
	// disk, its own or its primary's, in order for each database; ready before,
	// once none will be missed. It ends with ctx or LiteFS, always with an error.
	Applied(ctx context.Context, ready func() error, fn func(db string, pos policy.Pos) error) error
	// Marker and SetMarker read and durably write the Open that the data in
	// LiteFS's directory follows. The marker lives in that directory: data that
	// is wiped or restored takes it along.
	Marker() (policy.OpenRef, error)
	SetMarker(policy.OpenRef) error
	// InHistory reports whether every position given occurs in this LiteFS's
	// retained transactions.
	InHistory(policy.Positions) bool
	// NewestOf returns which of the positions of db occurs in this LiteFS's
	// retained transactions, the newest of several; the zero Pos for none.
	NewestOf(db string, of []policy.Pos) policy.Pos
}

// Config is what a Node needs. All fields but those marked optional are
// required.
type Config struct {
	Name      string
	Listen    string            // host:port of the one port between nodes
	Advertise string            // host:port under which the others reach it
	Peers     map[string]string // name to host:port, this node included
	DataDir   string

	HeartbeatTimeout time.Duration // H, also raft's election timeout
	Lease            time.Duration // D
	ClockDrift       float64       // 0.01 = two clocks' rates differ by at most 1 %
	Replicated       bool          // Replicated is asked before a commit is acknowledged
	RequireSynced    bool          // no new primary while a position known of the old one is missing
	ReaderGrace      time.Duration // how long a read transaction may hold up a change of role

	Secure Secure
	LiteFS LocalLiteFS // nil: a witness, a voter without data, gate and fence
	// LiteFSDir is LiteFS's data directory, for what an operator is told.
	LiteFSDir string
	// Roles, where set, says that LiteFS elects by a lease of its own, static or
	// Consul's: leadership follows its primary, and it is asked for nothing.
	Roles RoleSource
	// SingleClaim says that this lease is static: a second primary is a mistake
	// and never the newer one.
	SingleClaim bool
	Gate        Gate
	// Fence shuts the gate and returns when no admitted write is in flight.
	Fence func(ctx context.Context) error
	// Quiesce makes room for LiteFS's own writer until the returned function is
	// called. Optional.
	Quiesce func(ctx context.Context, grace time.Duration) (release func())
	// OnChange is called, from one goroutine, after every change of the fence.
	// Optional.
	OnChange func(policy.FenceState)
	// Strategy is what the operator has chosen for a split brain, beside the
	// fence: called after it, with the event. It bounds itself in time, and is
	// called again where it has failed. Optional.
	Strategy func(context.Context, policy.Event) error
	// Rollback, where set, sets aside what LiteFS is about to discard, before it
	// follows.
	Rollback Keeper
	// RecoverManual keeps this node fenced after a split brain, across restarts,
	// until SetFence lifts that.
	RecoverManual bool
	// OnEvent is told of every change of this node's state; it gives the event its
	// ID. It may be called from several goroutines and must not block. Optional.
	OnEvent func(policy.Event)
	// OnHeartbeat is told how long each answered heartbeat to a peer took, there
	// and back. It must not block. Optional.
	OnHeartbeat func(peer string, took time.Duration)
	// RenewWithin says how long LiteFS may stay silent as primary: twice its
	// ttl. Optional: one second.
	RenewWithin func() time.Duration
	// SetAside stops LiteFS, asks sure, and where that returns nil moves the
	// databases of e out of LiteFS's reach and writes e down; LiteFS runs again
	// when it returns. Optional: where LiteFS is started by somebody else such
	// databases are reported only.
	SetAside func(ctx context.Context, e Lost, sure func(context.Context) error) error
	Version  string
	Log      *slog.Logger
	Clock    Clock // optional: the system's

	// Probes are asked every ProbeEvery; this node's health rests on them. A
	// replica that is behind its primary for longer than MaxLag is degraded; 0 =
	// never. Optional.
	Probes     []Probe
	ProbeEvery time.Duration
	MaxLag     time.Duration

	// Unsafe takes rules away, in test builds; no other has any to take.
	Unsafe Unsafe

	acquireWithin time.Duration // the constant's; tests have less patience
}

// Node is this node's part in the cluster. It is safe for concurrent use.
type Node struct {
	cfg   Config
	log   *slog.Logger
	clock Clock

	mux   *mux
	store *store
	trans *transport
	lease *lease
	fsm   *fsm
	raft  *raft.Raft
	live  atomic.Pointer[raft.Raft] // raft, for what raft itself may call while it starts
	http  *http.Server
	relay http.Handler
	peers *peerClient

	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	starting sync.Mutex    // orders wg's Add and the end of ctx
	notify   chan bool     // raft: leadership gained or lost
	changed  chan struct{} // something that verdict may depend on has changed
	fatal    chan error
	grantSeq atomic.Uint64
	joined   atomic.Bool // this node holds a raft configuration or was shown one with its ID
	closing  atomic.Bool // no role is taken any more
	closed   atomic.Bool
	leaving  atomic.Bool // leadership is to be handed on, as this node is to be removed

	mu         sync.Mutex
	followed   leadership // as last seen
	reigning   uint64     // term in which this node leads; 0 = it does not
	grant      *grant     // offered, taken or open; nil = none
	role       policy.Role
	own        ownRole
	handedIn   map[string]uint64 // term in which leadership was last handed to a claimant
	loops      uint64            // turns of LiteFS's lease loop
	looped     chan struct{}
	cutLoops   uint64 // value of loops when the last upstream was cut
	ineligible bool
	conflict   string
	skip       map[string]skipped
	fence      manualFence
	resolve    resolving
	verdict    policy.Verdict
	told       policy.FenceState
	pictured   picture       // of the last evaluation; publish's alone
	silence    silence       // publish's alone
	quorumLost atomic.Uint64 // see QuorumLost
	started    bool          // a leader was known once
	warm       bool          // this process has been primary or followed one
	born       time.Time
	lastResult policy.ElectionResult
	// lastReports are what lastResult rests on.
	lastReports []policy.Report
	since       time.Time
	heard       map[raft.ServerID]int64
	rtts        map[raft.ServerID]time.Duration
	peerStates  map[string]peerRecord
	wakeLead    chan struct{}
	upstream    upstream
	handing     *handover     // a planned change of the primary; nil = none
	wantRound   chan struct{} // somebody waits for answers to heartbeats yet to be sent

	membership string     // what its operator should know of this node's part; "" = nothing
	changing   sync.Mutex // one change of the members at a time

	asiding    bool      // LiteFS is, or is about to be, stopped to set databases aside
	asides     uint64    // how often that has begun
	asideNext  time.Time // no other attempt before; asideRetry after the last
	asideRetry time.Duration
	outOfStep  string // what keeps this follower out of step, and the mend; "" = nothing is known

	saving    sync.Mutex     // orders the writers of the fence on disk
	keepAsked policy.OpenRef // whose opener is asked what it has in common
	keepSince time.Time

	markMu    sync.Mutex // orders the writers of the in-step marker
	recording sync.Mutex // one record at a time

	copies copies // of what is acknowledged here, with Config.Replicated

	health *health
	giving givingWay
}

// Open makes a Node: it takes the port and the state on disk and reads what is
// there, but neither votes nor serves yet. Errors name the thing and the mend.
func Open(cfg Config) (*Node, error) {
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	if cfg.acquireWithin == 0 {
		cfg.acquireWithin = acquireWithin
	}
	if cfg.Quiesce == nil {
		cfg.Quiesce = func(context.Context, time.Duration) func() { return func() {} }
	}
	if cfg.RenewWithin == nil {
		cfg.RenewWithin = func() time.Duration { return time.Second }
	}
	if cfg.LiteFS == nil {
		cfg.Gate, cfg.Fence = noGate{}, func(context.Context) error { return nil }
	}
	n := &Node{
		cfg: cfg, log: cfg.Log.With("component", "quorum"), clock: cfg.Clock,
		notify: make(chan bool, 16), changed: make(chan struct{}, 1), fatal: make(chan error, 1),
		looped: make(chan struct{}), skip: map[string]skipped{}, handedIn: map[string]uint64{},
		heard: map[raft.ServerID]int64{}, rtts: map[raft.ServerID]time.Duration{},
		peerStates: map[string]peerRecord{}, since: time.Now(),
		wakeLead: make(chan struct{}, 1), wantRound: make(chan struct{}, 1), born: time.Now(),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.fsm = &fsm{log: n.log, changed: func() {
		n.endUpstream()
		n.poke()
	}}
	n.health = newHealth(n.log.With("node", cfg.Name), func() {
		n.poke()
		n.wake()
	})
	n.newCoordinator()
	var err error
	if n.store, err = openStore(cfg.DataDir, cfg.Name, cfg.Log); err != nil {
		return nil, err
	}
	n.fence = n.store.fence
	addr, err := net.ResolveTCPAddr("tcp", cfg.Advertise)
	if err != nil {
		n.store.close()
		return nil, fmt.Errorf("quorum.advertise %s: %w", cfg.Advertise, err)
	}
	if n.mux, err = listen(cfg.Listen, addr, cfg.Secure, n, n.log); err != nil {
		n.store.close()
		return nil, err
	}
	if n.store.cluster != "" {
		n.mux.cluster.Store(&n.store.cluster)
	}
	n.peers = newPeerClient(n.mux)
	return n, nil
}

// Start joins the cluster. relay serves the primary's side of the replication
// relay under /relay/; it may be nil.
func (n *Node) Start(relay http.Handler) error {
	n.relay = relay
	n.lease = &lease{
		clock: n.clock, duration: n.cfg.Lease, self: n.raftID(), gate: n.cfg.Gate,
		voters: n.voters, word: n.raftWord(),
	}
	in := &inbound{
		protoListener: n.mux.protocol(n.mux.raft), open: n.networkTransport,
		receive: func(rpc raft.RPC, names []string) { n.receiveFrom(rpc, names) },
		ready:   make(chan struct{}), layers: map[string]*identityLayer{},
	}
	n.trans = newTransport(n.networkTransport(in), n.clock, n.lease)
	n.trans.admitted, n.trans.heard, n.trans.rtt, n.trans.beat = n.joined.Load, n.noteHeard, n.noteRTT, n.noteBeat
	n.trans.healthy = n.health.counts
	disk := &guardedStore{BoltStore: n.store.bolt, failed: n.diskFailed}
	r, err := newRaft(n.raftConfig(), n.fsm, disk, n.store.snapshots, n.trans)
	if err != nil {
		return fmt.Errorf("raft does not start on %s: %w; restore the directory, or move it away to start this node empty", n.cfg.DataDir, err)
	}
	n.raft = r
	n.live.Store(r)
	disk.running.Store(true)
	n.serveHTTP()
	n.joined.Store(len(n.servers()) > 0)
	n.trans.start()
	close(in.ready)
	n.goes(n.watchPeers)
	n.goes(n.watchLeadership)
	n.goes(n.reign)
	n.goes(n.publish)
	n.goes(n.rounds)
	if n.follows() {
		n.goes(n.watchRole)
	}
	n.startHealth()
	return nil
}

func (n *Node) networkTransport(s raft.StreamLayer) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:          s,
		MaxPool:         3,
		MaxRPCsInFlight: 1,
		// One stuck connection blocks a peer's only heartbeat goroutine until
		// this deadline; it must leave room for another try within the lease.
		Timeout: n.cfg.Lease / 2,
		Logger:  bridge(n.cfg.Log, "raft-net"),
	})
}

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = n.raftID()
	c.HeartbeatTimeout = n.cfg.HeartbeatTimeout
	c.ElectionTimeout = n.cfg.HeartbeatTimeout
	c.LeaderLeaseTimeout = n.cfg.HeartbeatTimeout
	c.CommitTimeout = min(50*time.Millisecond, n.cfg.HeartbeatTimeout/4)
	c.SnapshotInterval = time.Minute
	c.SnapshotThreshold = 2048
	c.TrailingLogs = 512
	c.NotifyCh = n.notify // read by reign at all times: raft blocks on it
	c.Logger = bridge(n.cfg.Log, "raft")
	c.NoLegacyTelemetry = true
	c.ShutdownOnRemove = false // a removed node goes on, fenced, and says why
	return c
}

// goes runs f; Close waits for it. What a caller from outside begins after that
// finds n.ctx at its end.
func (n *Node) goes(f func()) {
	n.starting.Lock()
	defer n.starting.Unlock()
	if n.ctx.Err() != nil {
		go f()
		return
	}
	n.wg.Go(f)
}

func (n *Node) raftID() raft.ServerID { return n.store.id.raftID() }

// Addr is where the one port listens.
func (n *Node) Addr() net.Addr { return n.mux.ln.Addr() }

// Fatal delivers an error that this node cannot run with, found only after the
// start: a peer with other timings, or a disk that fails (ErrDisk).
func (n *Node) Fatal() <-chan error { return n.fatal }

// servers returns raft's latest configuration. It is a copy: raft hands out the
// very slice that it works with.
func (n *Node) servers() []raft.Server {
	r := n.live.Load()
	if r == nil {
		return nil
	}
	f := r.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return slices.Clone(f.Configuration().Servers)
}

func (n *Node) voters() (ids []raft.ServerID, self bool) {
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			ids = append(ids, s.ID)
			self = self || s.ID == n.raftID()
		}
	}
	return ids, self
}

// server finds a member of the configuration by its name.
func (n *Node) server(name string) (raft.Server, bool) {
	for _, s := range n.servers() {
		if nodeName(s.ID) == name {
			return s, true
		}
	}
	return raft.Server{}, false
}

func (n *Node) noteHeard(id raft.ServerID) {
	now := n.clock.Boot()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard[id] = now
}

func (n *Node) noteRTT(id raft.ServerID, nanos int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rtts[id] = time.Duration(nanos)
}
