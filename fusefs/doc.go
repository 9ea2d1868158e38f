// Package fusefs is the fenced mount: a passthrough over one LiteFS mount that
// lets a write reach LiteFS only while its gate is open. It owns the mount, the
// gate, the arbitration of POSIX locks, the private -shm files, the moment at
// which a WAL transaction is committed in LiteFS, and the files .primary and
// .primary.blocked. Of the project it knows the words of package policy and
// nothing else; it must never know raft, the lease's arithmetic or LiteFS's
// HTTP interface. It never opens its own gate.
//
// A path through the package: ops_*.go are the FUSE operations; each asks the
// gate (gate.go) where policy says that it is a write (fence.go) and acts on
// the lower file. What belongs to one database lives in a database
// (database.go): its lock table (locks.go, locking.go), its WAL transaction
// (wal.go, publish.go) and its wal-index (shm.go, carry.go). settle.go is what
// happens when the fence engages, quiesce.go what happens at a change of role.
// guard.go keeps the mount point read-only while the mount is not there.
package fusefs

import "github.com/hanwen/go-fuse/v2/fuse"

// operations is what the mount answers; the rest is refused by name in
// ops_refused.go. The test of the fence walks fuse.RawFileSystem and fails on
// an operation that it does not know.
type operations interface {
	Lookup(<-chan struct{}, *fuse.InHeader, string, *fuse.EntryOut) fuse.Status
	Forget(uint64, uint64)
	GetAttr(<-chan struct{}, *fuse.GetAttrIn, *fuse.AttrOut) fuse.Status
	SetAttr(<-chan struct{}, *fuse.SetAttrIn, *fuse.AttrOut) fuse.Status
	Unlink(<-chan struct{}, *fuse.InHeader, string) fuse.Status
	Rename(<-chan struct{}, *fuse.RenameIn, string, string) fuse.Status
	Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status
	Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status
	Read(<-chan struct{}, *fuse.ReadIn, []byte) (fuse.ReadResult, fuse.Status)
	Write(<-chan struct{}, *fuse.WriteIn, []byte) (uint32, fuse.Status)
	Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status
	Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status
	Release(<-chan struct{}, *fuse.ReleaseIn)
	GetLk(<-chan struct{}, *fuse.LkIn, *fuse.LkOut) fuse.Status
	SetLk(<-chan struct{}, *fuse.LkIn) fuse.Status
	SetLkw(<-chan struct{}, *fuse.LkIn) fuse.Status
	OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status
	ReadDir(<-chan struct{}, *fuse.ReadIn, *fuse.DirEntryList) fuse.Status
	ReleaseDir(*fuse.ReleaseIn)
	FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status
	StatFs(<-chan struct{}, *fuse.InHeader, *fuse.StatfsOut) fuse.Status
	Access(<-chan struct{}, *fuse.AccessIn) fuse.Status
}

var (
	_ operations         = (*rawFS)(nil)
	_ fuse.RawFileSystem = (*rawFS)(nil)
)
