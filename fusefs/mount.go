package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

// Config says what to mount where, and by which rules.
type Config struct {
	Lower, Mount string
	AllowOther   bool
	PrimaryFile  string        // "litefs" | "presence"
	Errno        syscall.Errno // of a refused write: EROFS (default) or EACCES
	OpenDeny     bool          // refuse opening for writing too
	Enforce      bool          // false: count what would be refused, refuse nothing (observe.go)
	Suspend      time.Duration // hold writers for so long after the gate has shut; 0 = refuse at once
	Gate         *Gate
	State        func() policy.FenceState // what .primary and .primary.blocked show

	// Blocked carries the analysis's fence command: true when .primary was
	// moved to .primary.blocked or that was created, false when it was taken
	// back. It runs inside a file operation: it must not touch the mount.
	Blocked func(on bool) error

	// Halt makes LiteFS roll back the hot journal of db, by taking its HALT
	// lock and releasing it at once. nil = no repair.
	Halt func(ctx context.Context, db string) error

	// Confirm is asked between a commit point's lower operation and its second
	// look; it may wait, and an error leaves the commit in doubt. It must return
	// when ctx ends: with the mount, with the process that waits, or some time
	// after the end of the lease. c.Pos is LiteFS's position at the commit or
	// after it. nil = no question.
	Confirm func(ctx context.Context, c policy.Commit) error

	Log *slog.Logger

	untimed bool // for a test that measures what timing costs
}

// FS is one fenced mount.
type FS struct {
	cfg    Config
	gate   *Gate
	log    *slog.Logger
	server *fuse.Server
	lower  lowerRoot
	nodes  nodeTable
	files  handleTable
	dbs    databaseTable
	count  counters
	would  observed
	times  [ops]Timing
	waits  Timing // of Config.Confirm
	since  time.Time
	dev    uint64                      // device number of the mount
	owner  atomic.Pointer[unix.Stat_t] // what LiteFS's attributes have in common

	done    chan struct{}
	notify  chan struct{} // a change of state to tell the kernel of
	gone    atomic.Bool
	workers workers
	settler *func(context.Context) error
	hooks   testHooks

	saidSlow atomic.Int64 // BootNow, of the last word about a slow commit
}

// Mount makes the fenced mount and serves it until Unmount, or until it is
// unmounted from outside. Errors name the thing that is wrong and its mend.
func Mount(cfg Config) (*FS, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := checkMount(&cfg); err != nil {
		return nil, err
	}
	root, err := unix.Open(cfg.Lower, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lower %s: %w", cfg.Lower, err)
	}
	f := &FS{
		cfg: cfg, gate: cfg.Gate, log: cfg.Log, since: time.Now(),
		done: make(chan struct{}), notify: make(chan struct{}, 1),
	}
	f.lower.set(root)
	f.learnOwner()
	f.nodes.init()
	f.files.init()
	f.dbs.init(f)
	f.workers.init()
	settle := f.settle
	f.settler = &settle
	if err := f.serve(); err != nil {
		_ = unix.Close(root)
		return nil, err
	}
	f.gate.settle.Store(f.settler)
	f.workers.do(f.notifyLoop)
	f.workers.do(f.suspectAll)
	return f, nil
}

func (c *Config) complete() error {
	if c.Gate == nil {
		return errors.New("fusefs: Config.Gate is required")
	}
	if c.Errno == 0 {
		c.Errno = syscall.EROFS
	}
	if c.Errno != syscall.EROFS && c.Errno != syscall.EACCES {
		return fmt.Errorf("errno %v: only EROFS and EACCES are known", c.Errno)
	}
	switch c.PrimaryFile {
	case "":
		c.PrimaryFile = "litefs"
	case "litefs", "presence":
	default:
		return fmt.Errorf("primary-file %q: only litefs and presence are known", c.PrimaryFile)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.State == nil {
		gate := c.Gate
		c.State = func() policy.FenceState { return policy.FenceState{Fenced: !gate.Admitting()} }
	}
	var err error
	if c.Lower, err = filepath.Abs(c.Lower); err != nil {
		return err
	}
	c.Mount, err = filepath.Abs(c.Mount)
	return err
}

// serve mounts and starts answering.
func (f *FS) serve() error {
	var ops fuse.RawFileSystem = &timedFS{rawFS{f}}
	if f.cfg.untimed {
		ops = &rawFS{f}
	}
	server, err := fuse.NewServer(ops, f.cfg.Mount, &fuse.MountOptions{
		AllowOther:         f.cfg.AllowOther,
		FsName:             fsType,
		Name:               fsType,
		DirectMountStrict:  true,
		EnableLocks:        true,
		DisableXAttrs:      true, // ENOSYS once, or the kernel asks before every write
		MaxStackDepth:      1,    // needed for passthrough of -shm
		DisableReadDirPlus: true,
		DisableSplice:      true, // a page is sooner copied than passed through a pipe
		// flock is left to the kernel; the others would let data or a
		// truncation pass without a request of its own.
		DisabledCapabilities: fuse.CAP_FLOCK_LOCKS | fuse.CAP_WRITEBACK_CACHE | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_DIRECT_IO_ALLOW_MMAP,
		PanicHandler:         f.panicked,
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", f.cfg.Mount, err)
	}
	f.server = server
	closeOnExec()
	if server.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0 {
		_ = unix.Unmount(f.cfg.Mount, unix.MNT_DETACH)
		return fmt.Errorf("mount %s: the kernel offers no FUSE passthrough; it needs Linux 6.9 or newer with CONFIG_FUSE_PASSTHROUGH", f.cfg.Mount)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		_ = unix.Unmount(f.cfg.Mount, unix.MNT_DETACH)
		return fmt.Errorf("mount %s: %w", f.cfg.Mount, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(f.cfg.Mount, &st); err != nil {
		_ = unix.Unmount(f.cfg.Mount, unix.MNT_DETACH)
		return fmt.Errorf("mount %s: %w", f.cfg.Mount, err)
	}
	f.dev = st.Dev
	return nil
}

func (f *FS) panicked(v any) fuse.Status {
	f.log.Error("panic in a file operation", "value", v, "stack", stack())
	return fuse.EIO
}

// closeOnExec keeps /dev/fuse from our children: with one alive, the mount of
// a dead daemon hangs instead of answering ENOTCONN. go-fuse does not set it
// where it mounts without fusermount.
func closeOnExec() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == "/dev/fuse" {
			var fd int
			if _, err := fmt.Sscan(e.Name(), &fd); err == nil {
				unix.CloseOnExec(fd)
			}
		}
	}
}

// Unmount ends the mount and waits for its last request. Where applications
// still have files open it is detached instead: it vanishes from the tree at
// once, and is served until they close them or this process ends.
func (f *FS) Unmount(ctx context.Context) error {
	if f.gone.CompareAndSwap(false, true) {
		f.gate.settle.CompareAndSwap(f.settler, nil)
		f.workers.stop()
	}
	var err error
	if !Guarded(f.cfg.Mount) { // else somebody has unmounted it already
		err = unix.Unmount(f.cfg.Mount, 0)
	}
	if err == unix.EBUSY {
		f.log.Warn("files are still open in the mount: detached", "mount", f.cfg.Mount)
		if err := unix.Unmount(f.cfg.Mount, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			return fmt.Errorf("unmount %s: %w", f.cfg.Mount, err)
		}
		return nil
	} else if err != nil && err != unix.EINVAL {
		return fmt.Errorf("unmount %s: %w", f.cfg.Mount, err)
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("unmount %s: requests are still under way: %w", f.cfg.Mount, ctx.Err())
	}
}

// Wait returns when the mount has ended.
func (f *FS) Wait() { <-f.done }

// Done is closed when the mount has ended.
func (f *FS) Done() <-chan struct{} { return f.done }

// ended runs once, after the last request was answered.
func (f *FS) ended() {
	f.gone.Store(true)
	f.gate.settle.CompareAndSwap(f.settler, nil)
	f.workers.stop()
	f.nodes.closeAll()
	f.dbs.closeAll()
	f.lower.closeAll()
	close(f.done)
}
