package fusefs

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// How long operations take, for metrics. Two looks at the clock and two atomic
// additions would be more than 1 % of a cheap request (TestTimingCost), so of
// the operations of which there are many only one in sampleOf is timed, and
// counts for all of them. It is picked at random: SQLite's requests come in
// rounds, and every sixteenth might be the same one of each.

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

// sampled operations are the most frequent ones.
var sampled = [ops]bool{opLookup: true, opGetattr: true, opRead: true, opWrite: true, opFlush: true, opGetlk: true, opSetlk: true}

// sampleOf is how many of them each timed one stands for; a power of two.
const sampleOf = 16

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
func (t *Timing) Add(d time.Duration) { t.add(d, 1) }

// add counts a duration that stands for n.
func (t *Timing) add(d time.Duration, n uint64) {
	d = max(0, d)
	i := max(0, bits.Len64(uint64(d))-firstBucket)
	t.n[min(i, buckets-1)].Add(n)
	t.sum.Add(int64(d) * int64(n))
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
// request to our answer, waiting for locks included. Of frequent operations it
// is an estimate.
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

// begin returns when an operation began, or the zero time for one that is not
// timed.
func begin(o op) (at time.Time) {
	if !sampled[o] || rand.Uint32()%sampleOf == 0 {
		at = time.Now()
	}
	return at
}

func (f *timedFS) took(o op, at time.Time) {
	switch {
	case at.IsZero():
	case sampled[o]:
		f.times[o].add(time.Since(at), sampleOf)
	default:
		f.times[o].Add(time.Since(at))
	}
}

func (f *timedFS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer f.took(opLookup, begin(opLookup))
	return f.rawFS.Lookup(cancel, in, name, out)
}

func (f *timedFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer f.took(opGetattr, begin(opGetattr))
	return f.rawFS.GetAttr(cancel, in, out)
}

func (f *timedFS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer f.took(opSetattr, begin(opSetattr))
	return f.rawFS.SetAttr(cancel, in, out)
}

func (f *timedFS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer f.took(opOpen, begin(opOpen))
	return f.rawFS.Open(cancel, in, out)
}

func (f *timedFS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer f.took(opCreate, begin(opCreate))
	return f.rawFS.Create(cancel, in, name, out)
}

func (f *timedFS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	defer f.took(opRead, begin(opRead))
	return f.rawFS.Read(cancel, in, buf)
}

func (f *timedFS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	defer f.took(opWrite, begin(opWrite))
	return f.rawFS.Write(cancel, in, data)
}

func (f *timedFS) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	defer f.took(opWrite, begin(opWrite))
	return f.rawFS.Writev(cancel, in, data)
}

func (f *timedFS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer f.took(opFsync, begin(opFsync))
	return f.rawFS.Fsync(cancel, in)
}

func (f *timedFS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	defer f.took(opFlush, begin(opFlush))
	return f.rawFS.Flush(cancel, in)
}

func (f *timedFS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	defer f.took(opRelease, begin(opRelease))
	f.rawFS.Release(cancel, in)
}

func (f *timedFS) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer f.took(opUnlink, begin(opUnlink))
	return f.rawFS.Unlink(cancel, in, name)
}

func (f *timedFS) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	defer f.took(opGetlk, begin(opGetlk))
	return f.rawFS.GetLk(cancel, in, out)
}

func (f *timedFS) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	defer f.took(opSetlk, begin(opSetlk))
	return f.rawFS.SetLk(cancel, in)
}

func (f *timedFS) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	defer f.took(opSetlkw, begin(opSetlkw))
	return f.rawFS.SetLkw(cancel, in)
}

func (f *timedFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer f.took(opReaddir, begin(opReaddir))
	return f.rawFS.ReadDir(cancel, in, out)
}
