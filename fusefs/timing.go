package fusefs

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// How long operations take, for metrics. Every operation is timed: two looks at
// the clock and two atomic additions, some 100 ns beside the 10 us and more that
// a request takes (BenchmarkTiming, BenchmarkTimedRead).

// op is an operation as metrics name it.
type op int

const (
	opLookup op = iota
	opGetattr
	opSetattr
	opOpen
	opCreate
	opRead
	opWrite
	opFsync
	opFlush
	opRelease
	opUnlink
	opGetlk
	opSetlk
	opSetlkw
	opReaddir
	ops
)

var opNames = [ops]string{"lookup", "getattr", "setattr", "open", "create", "read", "write", "fsync",
	"flush", "release", "unlink", "getlk", "setlk", "setlkw", "readdir"}

const (
	// firstBucket: durations below 2^firstBucket ns share the first bucket; each
	// of the others is twice as long as the one before it.
	firstBucket = 12
	buckets     = 22 // the last one is for 8.6 s and more
)

// Timing counts durations. Its buckets double in length from 4.1 us on: where one
// falls is a matter of its highest bit. Safe for concurrent use.
type Timing struct {
	n   [buckets]atomic.Uint64
	sum atomic.Int64 // ns
	_   [64]byte     // keeps two of them off one cache line
}

// Add counts one duration.
func (t *Timing) Add(d time.Duration) {
	d = max(0, d)
	i := max(0, bits.Len64(uint64(d))-firstBucket)
	t.n[min(i, buckets-1)].Add(1)
	t.sum.Add(int64(d))
}

// Times is what a Timing has counted.
type Times struct {
	Count   uint64
	Sum     time.Duration
	Buckets map[float64]uint64 // upper bound in seconds -> durations up to it
}

// Times returns what was counted so far. What is added meanwhile may be in Sum
// and not yet in Count.
func (t *Timing) Times() Times {
	s := Times{Buckets: make(map[float64]uint64, buckets)}
	for i := range buckets {
		s.Count += t.n[i].Load()
		if i < buckets-1 {
			s.Buckets[(time.Duration(1) << (firstBucket + i)).Seconds()] = s.Count
		}
	}
	s.Sum = time.Duration(t.sum.Load())
	return s
}

// OpTimes returns how long operations took, by their names: from the kernel's
// request to our answer, waiting for locks included.
func (f *FS) OpTimes() map[string]Times {
	all := make(map[string]Times, ops)
	for o := range ops {
		all[opNames[o]] = f.times[o].Times()
	}
	return all
}

// timedFS is rawFS with a clock.
type timedFS struct{ rawFS }

var _ fuse.RawFileSystem = (*timedFS)(nil)

func (f *timedFS) took(o op, since time.Time) { f.times[o].Add(time.Since(since)) }

func (f *timedFS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer f.took(opLookup, time.Now())
	return f.rawFS.Lookup(cancel, in, name, out)
}

func (f *timedFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer f.took(opGetattr, time.Now())
	return f.rawFS.GetAttr(cancel, in, out)
}

func (f *timedFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer f.took(opSetattr, time.Now())
	return f.rawFS.SetAttr(cancel, in, out)
}

func (f *timedFS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer f.took(opOpen, time.Now())
	return f.rawFS.Open(cancel, in, out)
}

func (f *timedFS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer f.took(opCreate, time.Now())
	return f.rawFS.Create(cancel, in, name, out)
}

func (f *timedFS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	defer f.took(opRead, time.Now())
	return f.rawFS.Read(cancel, in, buf)
}

func (f *timedFS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	defer f.took(opWrite, time.Now())
	return f.rawFS.Write(cancel, in, data)
}

func (f *timedFS) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	defer f.took(opWrite, time.Now())
	return f.rawFS.Writev(cancel, in, data)
}

func (f *timedFS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer f.took(opFsync, time.Now())
	return f.rawFS.Fsync(cancel, in)
}

func (f *timedFS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	defer f.took(opFlush, time.Now())
	return f.rawFS.Flush(cancel, in)
}

func (f *timedFS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	defer f.took(opRelease, time.Now())
	f.rawFS.Release(cancel, in)
}

func (f *timedFS) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer f.took(opUnlink, time.Now())
	return f.rawFS.Unlink(cancel, in, name)
}

func (f *timedFS) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	defer f.took(opGetlk, time.Now())
	return f.rawFS.GetLk(cancel, in, out)
}

func (f *timedFS) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	defer f.took(opSetlk, time.Now())
	return f.rawFS.SetLk(cancel, in)
}

func (f *timedFS) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	defer f.took(opSetlkw, time.Now())
	return f.rawFS.SetLkw(cancel, in)
}

func (f *timedFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer f.took(opReaddir, time.Now())
	return f.rawFS.ReadDir(cancel, in, out)
}
