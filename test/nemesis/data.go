package nemesis

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/test/cluster"
)

func liteFSDisk(n *cluster.Node) string { return n.Data() }
func raftDisk(n *cluster.Node) string   { return n.RaftData() }

// fill leaves no byte free on a disk of the node's own.
func fill(where func(*cluster.Node) string) func(*acting) (func() error, error) {
	return func(a *acting) (func() error, error) {
		n := anyNode(a)
		a.stops(n)
		name := filepath.Join(where(n), "ballast")
		f, err := os.Create(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		var fs unix.Statfs_t
		for _, unit := range []int64{1 << 20, 4096} {
			if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
				return func() error { return os.Remove(name) }, err
			}
			size, _ := f.Seek(0, 2)
			_ = unix.Fallocate(int(f.Fd()), 0, size, int64(fs.Bavail)*fs.Bsize/unit*unit)
		}
		return func() error { return os.Remove(name) }, nil
	}
}

// loseRaft: litefence's directory is gone, as when a disk is replaced, and an
// operator has the node taken in again.
func loseRaft(a *acting) (func() error, error) {
	n := anyNode(a)
	a.stops(n)
	start, err := a.kill(process{n, litefence})
	return func() error { return errors.Join(start(), a.readmit(n)) }, errors.Join(err, n.WipeRaft())
}

// readmit does what the operator is told to do: to the others a node without
// its store is another one.
func (a *acting) readmit(n *cluster.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*sec)
	defer cancel()
	return cluster.WaitFor(ctx, func() (err error) {
		for _, o := range a.c.Others(n) {
			if _, err = o.CLI("peers", "add", n.Name, n.Addr()); err == nil {
				return nil
			}
		}
		return err
	})
}

// loseLiteFS: LiteFS's directory is gone.
func loseLiteFS(a *acting) (func() error, error) {
	n := anyNode(a)
	a.stops(n)
	a.fault.Wiped = []string{n.Name}
	start, err := a.kill(process{n, litefence}, process{n, liteFS})
	return start, errors.Join(err, n.WipeLiteFS())
}

// clockStep moves the machine's time of day, and back by as much: what it says
// must matter to nobody.
func clockStep(a *acting) (func() error, error) {
	by := time.Duration(a.rng.Int64N(int64(4*time.Minute))) - 2*time.Minute
	a.hits(a.c.Nodes...)
	return func() error { return step(-by) }, step(by)
}

func step(by time.Duration) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	then := unix.NsecToTimespec(now.Nano() + int64(by))
	return unix.ClockSettime(unix.CLOCK_REALTIME, &then)
}
