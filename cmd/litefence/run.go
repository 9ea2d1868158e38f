package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/fusefs"
	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
	"github.com/litefence/litefence/quorum/litefs"
)

// stopWithin bounds the polite part of a shutdown: drain, key, leadership.
const stopWithin = 10 * time.Second

func runMain(fs *cli) int {
	path := fs.String("config", "", "config `file` (default /etc/litefence.yml, then ./litefence.yml)")
	lowerTimeout := fs.Duration("lower-timeout", 30*time.Second, "how long (`duration`) to wait for the LiteFS mount")
	rules := unsafeFlags(fs)
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	if isInit() {
		return asInit()
	}
	cfg, err := LoadConfig(*path)
	if err == nil && cfg.data == nil {
		err = cfg.readLiteFSConfig() // a config of a witness names no LiteFS
	}
	if err != nil {
		return fail(exitUsage, err)
	}
	d := &daemon{cfg: cfg, unsafe: rules, lowerTimeout: *lowerTimeout, app: fs.Args(), log: newLogger(cfg.Log, os.Stderr), ends: make(chan error, 1)}
	return d.untilSignal()
}

// untilSignal runs the daemon until it ends or is told to by a signal.
func (d *daemon) untilSignal() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	code, err := d.run(ctx)
	if err != nil {
		return fail(code, err)
	}
	return code
}

// daemon is one run of litefence.
type daemon struct {
	cfg          *Config
	unsafe       *unsafeRules // none in any build but one for tests
	app          []string
	lowerTimeout time.Duration
	log          *slog.Logger

	gate     *fusefs.Gate
	client   *litefs.Client
	node     *quorum.Node
	relay    *litefs.Relay // nil in a witness, as all of this but node
	endpoint *litefs.Endpoint
	fs       *fusefs.FS
	mounted  atomic.Pointer[fusefs.FS] // fs, for callbacks
	litefs   atomic.Pointer[child]
	// liteFSStop takes what is to be done while litefs.command is stopped;
	// liteFSLeft is closed when nobody takes it any more.
	liteFSStop chan func(context.Context)
	liteFSLeft chan struct{}

	appChild *child
	custom   *custom    // nil unless policy.strategy is custom
	ends     chan error // why the daemon is to stop by itself
	witness  bool
	guarded  bool // guard.go

	events    *events
	metrics   *metrics
	shared    sharedStatus
	lowerGone atomic.Bool             // LiteFS has died below the mount
	undo      []func(context.Context) // in order of creation; run in reverse
}

// exitError is an error with its exit code.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

func usageError(err error) error    { return exitError{exitUsage, err} }
func notReadyError(err error) error { return exitError{exitNotReady, err} }

// fatalError sorts what the node cannot run with.
func fatalError(err error) error {
	if errors.Is(err, quorum.ErrDisk) {
		return err
	}
	return usageError(err)
}

// run builds everything, waits for the end, and takes it down in reverse.
func (d *daemon) run(ctx context.Context) (int, error) {
	start, wait := d.start, d.wait
	if d.witness {
		start, wait = d.startWitness, d.waitWitness
	}
	err := start(ctx)
	code := exitDone
	if err == nil {
		code, err = wait(ctx)
	}
	d.stop()
	d.unguard(err == nil || ctx.Err() != nil || errors.Is(err, errUnmounted))
	var x exitError
	switch {
	case err == nil:
		return code, nil
	case errors.As(err, &x):
		return x.code, x.error
	case ctx.Err() != nil:
		return exitDone, nil // told to stop while starting
	}
	return exitFailed, err
}

// start is the wiring, in one straight sequence.
func (d *daemon) start(ctx context.Context) error {
	cfg := d.cfg
	if os.Getenv("GOMAXPROCS") == "" {
		// Threads block in system calls on the lower mount; measured better for
		// writes than one thread a core.
		runtime.GOMAXPROCS(max(4, runtime.NumCPU()))
	}
	// The process's descriptors on the lower mount would be a way round the gate.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_DUMPABLE): %w", err)
	}
	if err := fusefs.Preflight(cfg.Fence.Lower, cfg.Fence.Mount); err != nil {
		return notReadyError(err)
	}
	if err := d.guard(); err != nil {
		return notReadyError(err)
	}
	d.announce()

	// The node: port and state on disk; it does not take part yet.
	d.gate = fusefs.NewGate()
	d.client = litefs.NewClient(cfg.LiteFS.URL)
	d.liteFSStop, d.liteFSLeft = make(chan func(context.Context)), make(chan struct{})
	probes, err := d.probes()
	if err == nil {
		err = d.startStrategy()
	}
	if err != nil {
		return usageError(err)
	}
	if err := d.openNode(&localLiteFS{client: d.client, dataDir: cfg.LiteFS.DataDir}, probes); err != nil {
		return err
	}

	// The relay's and the lease endpoint's ports are taken before the node takes
	// part, so that a port in use harms nobody.
	relay, err := d.serveLease()
	if err != nil {
		return notReadyError(err)
	}
	if err := d.takePart(relay); err != nil {
		return err
	}

	// LiteFS, then the fenced mount over it.
	if err := d.startLiteFS(ctx); err != nil {
		return usageError(err)
	}
	late, cancel := context.WithTimeoutCause(ctx, d.lowerTimeout, errLate)
	defer cancel()
	if err := d.mountLower(late); err != nil {
		return err
	}
	d.defers(func(ctx context.Context) { d.logged("unmount", d.fs.Unmount(ctx)) })
	d.followDrops()

	// From here on the way down begins with the gate: drain, key, leadership.
	d.defers(d.node.StepDown)
	return d.startApp()
}

// openNode makes the node; local is nil for a witness.
func (d *daemon) openNode(local quorum.LocalLiteFS, probes []quorum.Probe) error {
	secure, err := secureTransport(d.cfg, d.log)
	if err != nil {
		return usageError(err)
	}
	d.watchOver()
	d.node, err = quorum.Open(d.quorumConfig(local, secure, probes))
	var unfit quorum.ConfigError
	if errors.As(err, &unfit) {
		return usageError(err)
	}
	if err != nil {
		return notReadyError(err)
	}
	d.defers(func(ctx context.Context) { d.logged("quorum", d.node.Close(ctx)) })
	return nil
}

// takePart has the node join the cluster and answer on its admin socket.
func (d *daemon) takePart(relay http.Handler) error {
	if err := d.node.Start(relay); err != nil {
		return notReadyError(err)
	}
	if err := d.serveAdmin(); err != nil {
		return notReadyError(err)
	}
	if err := d.node.CheckPeers(); err != nil {
		return fatalError(err)
	}
	return nil
}

func (d *daemon) defers(f func(context.Context)) { d.undo = append(d.undo, f) }

func (d *daemon) logged(what string, err error) {
	if err != nil {
		d.log.Error("shutdown", "step", what, "err", err)
	}
}

// announce says aloud what weakens the promises.
func (d *daemon) announce() {
	if d.cfg.Quorum.Insecure {
		d.log.Warn("quorum.insecure: true: whoever reaches the port between the nodes can take part; for trying out only")
	}
	if d.cfg.LiteFS.follows() {
		d.log.Info("litefs.mode: follow: LiteFS elects by its own lease; that, and not the quorum, says which acknowledged writes outlive a primary")
	}
	if !d.cfg.Fence.Enforce {
		d.log.Warn("fence.enforce: false: observing only; writes are NOT refused")
	}
	d.unsafe.announce(d.log)
}

// wait returns when the daemon has to end. Until then it sees to a LiteFS that
// has died below.
func (d *daemon) wait(ctx context.Context) (int, error) {
	dead := d.watchLower()
	for {
		select {
		case <-ctx.Done():
			return exitDone, nil
		case err := <-d.node.Fatal():
			return 0, fatalError(err)
		case why := <-d.ends:
			return 0, why
		case <-d.appChild.exited():
			return d.appChild.code(), nil
		case <-d.fs.Done():
			return 0, fmt.Errorf("%s %w", d.cfg.Fence.Mount, errUnmounted)
		case <-dead:
			d.lowerGone.Store(true)
			if err := d.replaceLower(ctx); err != nil {
				return exitDone, err
			}
			d.lowerGone.Store(false)
			dead = d.watchLower()
		}
	}
}

// stop takes everything down in reverse.
func (d *daemon) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i](ctx)
	}
}

func (d *daemon) quorumConfig(local quorum.LocalLiteFS, secure quorum.Secure, probes []quorum.Probe) quorum.Config {
	q := d.cfg.Quorum
	return d.rollback(d.asides(d.followLease(quorum.Config{
		Name: d.cfg.Node, Listen: q.Listen, Advertise: q.Advertise, Peers: q.Peers, DataDir: q.DataDir,
		HeartbeatTimeout: q.HeartbeatTimeout, Lease: q.Lease, ClockDrift: q.ClockDrift,
		RequireSynced: d.cfg.Policy.RequireSynced,
		Replicated:    d.cfg.Quorum.Confirm == confirmReplicated,
		ReaderGrace:   d.cfg.Policy.ReaderGrace,
		Secure:        secure, LiteFS: local, LiteFSDir: d.cfg.LiteFS.DataDir, Gate: d.gate, Fence: d.gate.Fence,
		Quiesce:  d.quiesce,
		Strategy: d.resolve, RecoverManual: d.cfg.Policy.Recover == "manual" && d.cfg.Fence.Enforce,
		OnChange:    func(policy.FenceState) { d.withMount(func(f *fusefs.FS) { f.NotifyState() }) },
		OnEvent:     d.events.publish,
		OnHeartbeat: d.metrics.heartbeat,
		RenewWithin: d.renewWithin,
		Unsafe:      d.unsafe.ofQuorum(),
		Version:     version(),
		Log:         d.log,
		Probes:      probes, ProbeEvery: d.cfg.Policy.Health.Interval, MaxLag: d.cfg.Policy.Health.MaxLag,
	})))
}

// withMount calls f once the mount is there.
func (d *daemon) withMount(f func(*fusefs.FS)) {
	if m := d.mounted.Load(); m != nil {
		f(m)
	}
}

func (d *daemon) quiesce(ctx context.Context, grace time.Duration) func() {
	release := func() {}
	d.withMount(func(f *fusefs.FS) { release = f.Quiesce(ctx, grace) })
	return release
}

// renewWithin is how long LiteFS may be silent as primary: twice the ttl that
// its session names.
func (d *daemon) renewWithin() time.Duration {
	if d.endpoint == nil {
		return followSilence
	}
	if _, ttl, ok := d.endpoint.LastRenewal(); ok && ttl > 0 {
		return max(2*ttl, minSilence)
	}
	return time.Second
}

// minSilence keeps a busy machine from taking a slow LiteFS for a stopped one.
const minSilence = 400 * time.Millisecond

func (d *daemon) mountConfig() fusefs.Config {
	c := fusefs.Config{
		Lower: d.cfg.Fence.Lower, Mount: d.cfg.Fence.Mount,
		AllowOther: d.cfg.Fence.AllowOther, PrimaryFile: d.cfg.Fence.PrimaryFile,
		Errno: syscall.EROFS, OpenDeny: d.cfg.Policy.Open == "deny", Enforce: d.cfg.Fence.Enforce && !d.unsafe.noFence(),
		Gate: d.gate, State: d.node.FenceState, Blocked: d.node.SetBlocked,
		Halt: d.client.Halt, Log: d.log,
	}
	if d.cfg.Policy.Errno == "EACCES" {
		c.Errno = syscall.EACCES
	}
	if d.cfg.Policy.Strategy == strategySuspend {
		c.Suspend = d.cfg.Policy.SuspendFor
	}
	switch d.cfg.Quorum.Confirm {
	case "quorum":
		c.Confirm = func(ctx context.Context, _ policy.Commit) error { return d.node.Confirm(ctx) }
	case confirmReplicated:
		c.Confirm = d.node.Replicated
	}
	return c
}

// freeHaltLocks releases HALT locks that a killed predecessor may have left:
// they keep even readers out until they expire after half a minute.
func (d *daemon) freeHaltLocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pos, err := d.client.Positions(ctx)
	if err != nil {
		d.log.Warn("LiteFS does not answer; HALT locks of a killed predecessor, if any, expire by themselves", "err", err)
		return
	}
	for db := range pos {
		if err := d.client.Unhalt(ctx, db); err != nil {
			d.log.Warn("HALT lock not released", "db", db, "err", err)
		}
	}
}
