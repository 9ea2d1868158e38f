package quorum

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// simClock is a machine's pair of clocks, made of the bubble's. Their rate is
// the machine's own and their zero says nothing.
type simClock struct {
	start  time.Time
	rate   float64
	offset int64

	mu    sync.Mutex
	slept time.Duration // suspended so far
	since time.Time     // suspended since; zero = awake
}

func newSimClock(rng *rand.Rand, drift float64) *simClock {
	rate := 1 + drift*(rng.Float64()-0.5)
	if rng.IntN(2) == 0 { // often the worst: two machines as far apart as is allowed
		rate = 1 + drift/2*float64(1-2*rng.IntN(2))
	}
	return &simClock{start: time.Now(), rate: rate, offset: int64(time.Hour) + rng.Int64N(int64(time.Hour))}
}

func (c *simClock) read(d time.Duration) int64 { return c.offset + int64(float64(d)*c.rate) }

func (c *simClock) Boot() int64 { return c.read(time.Since(c.start)) }

func (c *simClock) Mono() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	slept := c.slept
	if !c.since.IsZero() {
		slept += time.Since(c.since)
	}
	return c.read(time.Since(c.start) - slept)
}

func (c *simClock) suspend(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case on && c.since.IsZero():
		c.since = time.Now()
	case !on && !c.since.IsZero():
		c.slept += time.Since(c.since)
		c.since = time.Time{}
	}
}

// simFile is a process's handle on its disk. Writes take up to slow.
type simFile struct {
	*raft.InmemStore
	slow *atomic.Int64
	mu   sync.Mutex
	rng  *rand.Rand
}

func (f *simFile) write(do func() error) error {
	if slow := f.slow.Load(); slow > 0 {
		f.mu.Lock()
		d := f.rng.Int64N(slow)
		f.mu.Unlock()
		time.Sleep(time.Duration(d))
	}
	return do()
}

// copyDisk is what a crash leaves: all writes that have returned. What the old
// process still writes it writes to nowhere.
func copyDisk(old *raft.InmemStore) *raft.InmemStore {
	d := raft.NewInmemStore()
	first, _ := old.FirstIndex()
	last, _ := old.LastIndex()
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if old.GetLog(i, &l) == nil {
			_ = d.StoreLog(&l)
		}
	}
	for _, k := range []string{"CurrentTerm", "LastVoteTerm"} { // raft.go
		if v, err := old.GetUint64([]byte(k)); err == nil {
			_ = d.SetUint64([]byte(k), v)
		}
	}
	if v, err := old.Get([]byte("LastVoteCand")); err == nil {
		_ = d.Set([]byte("LastVoteCand"), v)
	}
	return d
}

func (f *simFile) Set(k, v []byte) error {
	return f.write(func() error { return f.InmemStore.Set(k, v) })
}

func (f *simFile) SetUint64(k []byte, v uint64) error {
	return f.write(func() error { return f.InmemStore.SetUint64(k, v) })
}

func (f *simFile) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *simFile) StoreLogs(l []*raft.Log) error {
	return f.write(func() error { return f.InmemStore.StoreLogs(l) })
}

func (f *simFile) DeleteRange(from, to uint64) error {
	return f.write(func() error { return f.InmemStore.DeleteRange(from, to) })
}

// simSnaps keeps the newest snapshot. Raft's own InmemSnapshotStore is written
// to before the snapshot is complete.
type simSnaps struct {
	mu     sync.Mutex
	newest *simSnap
}

type simSnap struct {
	bytes.Buffer
	meta raft.SnapshotMeta
	in   *simSnaps
}

func (s *simSnaps) copy() *simSnaps {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &simSnaps{newest: s.newest}
}

func (s *simSnaps) Create(v raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := raft.SnapshotMeta{Version: v, ID: fmt.Sprint(index), Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex}
	return &simSnap{meta: meta, in: s}, nil
}

func (s *simSnaps) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil, nil
	}
	m := s.newest.meta
	return []*raft.SnapshotMeta{&m}, nil
}

func (s *simSnaps) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil || s.newest.meta.ID != id {
		return nil, nil, os.ErrNotExist
	}
	m := s.newest.meta
	return &m, io.NopCloser(bytes.NewReader(s.newest.Bytes())), nil
}

func (s *simSnap) ID() string    { return s.meta.ID }
func (s *simSnap) Cancel() error { return nil }
func (s *simSnap) Close() error {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.meta.Size = int64(s.Len())
	s.in.newest = s
	return nil
}
