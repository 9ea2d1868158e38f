package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// rawFS keeps the FUSE operations out of FS's own method set. No timeout is
// ever given to the kernel: every name and every size is asked for again,
// because LiteFS changes them beneath us.
type rawFS struct{ *FS }

func (f *rawFS) String() string    { return fsType }
func (f *rawFS) SetDebug(bool)     {}
func (f *rawFS) Init(*fuse.Server) {}
func (f *rawFS) OnUnmount()        { f.ended() }

func (f *rawFS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if in.NodeId != rootID {
		return fuse.ENOTDIR
	}
	n, err := f.find(name)
	if err != nil {
		return f.status(err)
	}
	out.NodeId, out.Generation = n.id, 1
	if err := f.attr(n, &out.Attr); err != nil {
		f.nodes.forget(n.id, 1)
		return f.status(err)
	}
	return fuse.OK
}

// find returns the node that bears name now, counted once more.
func (f *FS) find(name string) (*node, error) {
	base, k := parseName(name)
	switch k {
	case KindPrimary, KindBlocked:
		if _, ok := f.virtualText(k); !ok {
			return nil, unix.ENOENT
		}
		return f.nodes.get(map[Kind]uint64{KindPrimary: primaryID, KindBlocked: blockedID}[k]), nil
	case KindSHM:
		d := f.dbs.get(base)
		m := d.hasSHM()
		if m == nil {
			return nil, unix.ENOENT
		}
		return f.nodes.lookup(name, k, d, m, false), nil
	}
	if _, err := f.statLower(name); err != nil {
		if err == unix.ENOENT {
			f.vanished(name, base, k)
		}
		return nil, err
	}
	if k == KindDatabase {
		return f.nodes.lookupDatabase(name, f.databaseFor(base, k), false, f.txid), nil
	}
	return f.nodes.lookup(name, k, f.databaseFor(base, k), nil, false), nil
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
	if h := f.files.get(in.Fh()); in.Flags()&fuse.FUSE_GETATTR_FH != 0 && h != nil && h.lower != nil {
		st, err := fstat(h.lower.fd)
		if err == nil {
			fillAttr(n, &st, &out.Attr)
			return fuse.OK
		}
	}
	return f.status(f.attr(n, &out.Attr))
}

// attr asks below for the attributes of n.
func (f *FS) attr(n *node, out *fuse.Attr) error {
	var st unix.Stat_t
	var err error
	switch {
	case n.kind == KindRoot:
		err = unix.Fstatat(f.rootFD(), "", &st, unix.AT_EMPTY_PATH)
	case n.kind.virtual():
		// Whether it is there is find's business: one who has it open, or who
		// has just created .primary.blocked, is answered all the same.
		text, _ := f.virtualText(n.kind)
		since := f.since
		if s := f.cfg.State().Since; !s.IsZero() {
			since = s
		}
		st.Size = int64(len(text))
		st.Mode = unix.S_IFREG | 0o644
		st.Nlink = 1
		st.Mtim = unix.NsecToTimespec(since.UnixNano())
		st.Ctim = st.Mtim
	case n.shm != nil:
		st, err = fstat(n.shm.fd)
		if owner, err2 := f.statLower(n.db.name); err2 == nil {
			st.Uid, st.Gid = owner.Uid, owner.Gid
		}
	default:
		st, err = f.statLower(n.name)
	}
	if err != nil {
		return err
	}
	fillAttr(n, &st, out)
	return nil
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
