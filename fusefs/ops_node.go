package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// rawFS keeps the FUSE operations out of FS's own method set. The kernel is
// given a timeout only where what it keeps cannot change beneath us, or is taken
// back when it may (entryKept, attrKept).
type rawFS struct{ *FS }

func (f *rawFS) String() string    { return fsType }
func (f *rawFS) SetDebug(bool)     {}
func (f *rawFS) Init(*fuse.Server) {}
func (f *rawFS) OnUnmount()        { f.ended() }

func (f *rawFS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if in.NodeId != rootID {
		return fuse.ENOTDIR
	}
	n, seconds, err := f.find(name, &out.Attr)
	_, k := parseName(name)
	if err == unix.ENOENT && (k == KindJournal || k == KindWAL || k == KindSHM) {
		out.NodeId, out.EntryValid = 0, entryKept
		return fuse.OK
	}
	if err != nil {
		return f.status(err)
	}
	out.NodeId, out.Generation = n.id, 1
	out.AttrValid = seconds
	if k == KindDatabase {
		out.EntryValid = entryKept
	}
	return fuse.OK
}

// entryKept is how long the kernel may remember in seconds that there is no
// -journal, -wal or -shm, and which node a database is. The three are made
// through this mount and nowhere else, and then the kernel knows. A database
// that LiteFS drops and makes anew beneath us is opened by its name all the
// same; its cached pages are validated at the open.
const entryKept = 1

// find returns the node that bears name now, counted once more, with its
// attributes and for how long the kernel may keep those.
func (f *FS) find(name string, out *fuse.Attr) (n *node, seconds uint64, err error) {
	base, k := parseName(name)
	var st unix.Stat_t
	var m *memory
	switch k {
	case KindPrimary, KindBlocked:
		if _, ok := f.virtualText(k); !ok {
			return nil, 0, unix.ENOENT
		}
		n = f.nodes.get(map[Kind]uint64{KindPrimary: primaryID, KindBlocked: blockedID}[k])
		_, err = f.attr(n, nil, out)
		return n, 0, err
	case KindSHM:
		if m = f.dbs.get(base).hasSHM(); m == nil {
			return nil, 0, unix.ENOENT
		}
		st, err = f.statSHM(m)
	case KindDatabase, KindWAL, KindJournal:
		st, seconds, err = f.dbs.get(base).stat(k, nil)
	default:
		st, err = f.statLower(name)
	}
	if err == unix.ENOENT {
		f.vanished(name, base, k)
	}
	if err != nil {
		return nil, 0, err
	}
	if k == KindDatabase {
		n = f.nodes.lookupDatabase(name, f.databaseFor(base, k), false, f.txid)
	} else {
		n = f.nodes.lookup(name, k, f.databaseFor(base, k), m, false)
	}
	fillAttr(n, &st, out)
	return n, seconds, nil
}

// learnOwner remembers what all of LiteFS's files have in common: the owner,
// and as times the start of LiteFS (bazil.org/fuse/fs, nodeAttr).
func (f *FS) learnOwner() {
	st, err := f.statLower(".")
	if err != nil {
		f.log.Warn("cannot stat the LiteFS mount", "err", err)
	}
	f.owner.Store(&st)
}

// statOf makes the attributes that LiteFS gives a file of that size. The times
// must be LiteFS's: the kernel drops a file's pages when its mtime changes.
func (f *FS) statOf(size int64) (st unix.Stat_t) {
	o := f.owner.Load()
	st.Mode, st.Nlink, st.Size = unix.S_IFREG|0o666, 1, size
	st.Uid, st.Gid = o.Uid, o.Gid
	st.Atim, st.Mtim, st.Ctim = o.Mtim, o.Mtim, o.Mtim
	return st
}

// statSHM stats our -shm, which belongs to whom LiteFS's files do.
func (f *FS) statSHM(m *memory) (st unix.Stat_t, err error) {
	st, err = fstat(m.fd)
	st.Uid, st.Gid = f.owner.Load().Uid, f.owner.Load().Gid
	return st, err
}

// databaseFor returns the database that a file of kind k belongs to.
func (f *FS) databaseFor(base string, k Kind) *database {
	if k == KindLag || base == "" {
		return nil
	}
	return f.dbs.get(base)
}

// vanished forgets a name that LiteFS no longer has, so that the next file of
// that name is a new one.
func (f *FS) vanished(name, base string, k Kind) {
	f.nodes.drop(name)
	if k == KindDatabase {
		f.dbs.orphan(base)
	}
}

func (f *rawFS) Forget(id, count uint64) { f.nodes.forget(id, count) }

func (f *rawFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	var h *handle
	if in.Flags()&fuse.FUSE_GETATTR_FH != 0 {
		h = f.files.get(in.Fh())
	}
	if h != nil && n.kind == KindDatabase && n.db.cut(0, in.Pid).reads {
		return f.status(errCut) // the kernel asks on behalf of a read
	}
	seconds, err := f.attr(n, h, &out.Attr)
	if err == unix.ENOENT && h == nil && n.kind == KindDatabase {
		f.vanished(n.name, n.name, n.kind)
	}
	out.AttrValid = seconds
	if n.kind == KindRoot {
		out.AttrValid = entryKept // every component of every path is looked at
	}
	return f.status(err)
}

// attr asks below for the attributes of n, by h if it is not nil. seconds is
// how long the kernel may keep them.
func (f *FS) attr(n *node, h *handle, out *fuse.Attr) (seconds uint64, err error) {
	var st unix.Stat_t
	var l *lowerFile
	if h != nil {
		l = h.lower
	}
	switch {
	case n.kind == KindRoot:
		err = unix.Fstatat(f.rootFD(), "", &st, unix.AT_EMPTY_PATH)
	case n.kind.virtual():
		st = f.statVirtual(n.kind)
	case n.shm != nil:
		st, err = f.statSHM(n.shm)
	case n.kind == KindDatabase || n.kind == KindWAL || n.kind == KindJournal:
		st, seconds, err = n.db.stat(n.kind, l)
	default:
		if l != nil {
			st, err = fstat(l.fd)
		} else {
			st, err = f.statLower(n.name)
		}
	}
	if err != nil {
		return 0, err
	}
	fillAttr(n, &st, out)
	return seconds, nil
}

// statVirtual makes the attributes of .primary and .primary.blocked. Whether
// they are there is find's business: one who has one open, or who has just
// created .primary.blocked, is answered all the same.
func (f *FS) statVirtual(k Kind) (st unix.Stat_t) {
	text, _ := f.virtualText(k)
	since := f.since
	if s := f.cfg.State().Since; !s.IsZero() {
		since = s
	}
	st.Size = int64(len(text))
	st.Mode = unix.S_IFREG | 0o644
	st.Nlink = 1
	st.Mtim = unix.NsecToTimespec(since.UnixNano())
	st.Ctim = st.Mtim
	return st
}

// fillAttr shows what is below under our node id. A database is always 0666
// and the root 0777: LiteFS's 0444 on replicas would make a connection
// read-only for its whole life, beyond the failover.
func fillAttr(n *node, st *unix.Stat_t, out *fuse.Attr) {
	out.Ino = n.id
	out.Size = uint64(st.Size)
	out.Blocks = uint64((st.Size + 511) / 512)
	out.Atime, out.Atimensec = uint64(st.Atim.Sec), uint32(st.Atim.Nsec)
	out.Mtime, out.Mtimensec = uint64(st.Mtim.Sec), uint32(st.Mtim.Nsec)
	out.Ctime, out.Ctimensec = uint64(st.Ctim.Sec), uint32(st.Ctim.Nsec)
	out.Mode = st.Mode
	out.Nlink = max(uint32(st.Nlink), 1)
	out.Uid, out.Gid = st.Uid, st.Gid
	out.Blksize = 4096
	switch n.kind {
	case KindDatabase, KindSHM, KindWAL, KindJournal:
		out.Mode = unix.S_IFREG | 0o666
	case KindRoot:
		out.Mode = unix.S_IFDIR | 0o777
	}
}

func (f *rawFS) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.rootFD(), &st); err != nil {
		return f.status(err)
	}
	*out = fuse.StatfsOut{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), NameLen: uint32(st.Namelen), Frsize: uint32(st.Frsize),
	}
	return fuse.OK
}

// Access allows: without default_permissions the kernel asks only for
// access(2), and LiteFS checks nothing either.
func (f *rawFS) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status { return fuse.OK }

func (f *rawFS) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return fuse.ENOSYS // the kernel goes on with GETATTR
}
