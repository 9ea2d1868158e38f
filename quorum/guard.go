package quorum

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
)

// ErrDisk is wrapped by what Node.Fatal delivers when raft's state could not be
// read or written.
var ErrDisk = errors.New("raft's state cannot be read or written")

// guardedStore watches raft's state while raft runs. A node whose disk fails has
// no vote to give and no lease to hold, and raft is not made for it: after a
// write that failed it goes on as a follower, and it panics when it next has a
// term to save (raft.go, setCurrentTerm) or a record to read (processLogs).
// The process would die before it could say why and end in order. So those two
// do not return to raft with an error: the goroutine that asked, raft's main
// loop or one that replicates, ends there with its deferred calls. One of them
// answers the message at hand, with a refusal; no other is answered any more.
type guardedStore struct {
	*boltdb.BoltStore
	running atomic.Bool // raft's goroutines run; before, errors go to NewRaft's caller
	failed  func(error)
}

var (
	_ raft.LogStore    = (*guardedStore)(nil)
	_ raft.StableStore = (*guardedStore)(nil)
)

func (g *guardedStore) note(err error) error {
	if err != nil && g.running.Load() {
		g.failed(err)
	}
	return err
}

func (g *guardedStore) StoreLog(l *raft.Log) error    { return g.note(g.BoltStore.StoreLog(l)) }
func (g *guardedStore) StoreLogs(l []*raft.Log) error { return g.note(g.BoltStore.StoreLogs(l)) }
func (g *guardedStore) DeleteRange(from, to uint64) error {
	return g.note(g.BoltStore.DeleteRange(from, to))
}
func (g *guardedStore) Set(k, v []byte) error { return g.note(g.BoltStore.Set(k, v)) }

func (g *guardedStore) SetUint64(k []byte, v uint64) error {
	err := g.note(g.BoltStore.SetUint64(k, v))
	if string(k) == "CurrentTerm" {
		g.end(err)
	}
	return err
}

func (g *guardedStore) GetLog(i uint64, l *raft.Log) error {
	err := g.BoltStore.GetLog(i, l)
	if !errors.Is(err, raft.ErrLogNotFound) {
		g.end(g.note(err))
	}
	return err
}

func (g *guardedStore) end(err error) {
	if err != nil && g.running.Load() {
		runtime.Goexit()
	}
}

// diskFailed ends this node's part: the lease at once, the rest by whoever
// reads Fatal.
func (n *Node) diskFailed(err error) {
	n.lease.saw(math.MaxUint64)
	n.poke()
	err = diskError(fmt.Errorf("quorum.data-dir %s: %w: %w", n.cfg.DataDir, ErrDisk, err))
	select {
	case n.fatal <- err:
		n.log.Error("this node stops", "err", err)
	default:
	}
}

// newRaft turns a panic over state that cannot be read or written into an error.
func newRaft(c *raft.Config, f raft.FSM, g *guardedStore, snaps raft.SnapshotStore, t raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	r, err = raft.NewRaft(c, f, g, g, snaps, t)
	return r, err
}
