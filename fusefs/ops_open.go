package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func writes(flags uint32) bool { return flags&unix.O_ACCMODE != unix.O_RDONLY }

// Open passes while fenced, also for writing: a connection that was opened
// then must be able to write later. policy.open: deny refuses it.
func (f *rawFS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.ENOENT
	}
	if f.cfg.OpenDeny && writes(in.Flags) && f.fencing() && (n.kind == KindDatabase || n.kind == KindJournal) {
		f.count.refused[n.kind].Add(1)
		return f.status(errFenced)
	}
	return f.status(f.open(n, in.Flags, out))
}

func (f *FS) open(n *node, flags uint32, out *fuse.OpenOut) error {
	h := &handle{node: n}
	switch n.kind {
	case KindPrimary, KindBlocked:
		if err := f.openVirtual(n.kind, flags); err != nil {
			return err
		}
	case KindSHM:
		return f.openSHM(n, out)
	case KindDatabase:
		l, err := n.db.openFile()
		if err == unix.ENOENT {
			// Dropped below, and the kernel still knows the name. At ESTALE it
			// looks again (linux fs/namei.c, do_filp_open), and may create.
			f.vanished(n.name, n.name, n.kind)
			return unix.ESTALE
		}
		if err != nil {
			return err
		}
		h.lower = l
	default:
		mode := int(flags & unix.O_ACCMODE)
		if n.kind == KindJournal || n.kind == KindWAL {
			mode = unix.O_RDWR
		}
		l, err := f.openLower(n.name, mode)
		if err != nil {
			return err
		}
		h.lower = l
	}
	out.OpenFlags = openFlags(n.kind)
	out.Fh = f.files.add(h).id
	return nil
}

// openFlags lets the kernel cache the database, and keep its pages over an open.
func openFlags(k Kind) uint32 {
	if k == KindDatabase {
		return fuse.FOPEN_KEEP_CACHE
	}
	return fuse.FOPEN_DIRECT_IO
}

func (f *FS) openSHM(n *node, out *fuse.OpenOut) error {
	if err := n.db.openSHM(); err != nil {
		return err
	}
	out.Fh = f.files.add(&handle{node: n}).id
	out.OpenFlags = fuse.FOPEN_PASSTHROUGH
	out.BackingID = n.shm.backing
	return nil
}

// Create makes a file. While fenced only an empty -wal and -shm: a reader of a
// WAL database needs both. Nothing here waits for the gate to open: the kernel
// holds the directory's lock meanwhile, and readers need that.
func (f *rawFS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if in.NodeId != rootID {
		return fuse.ENOTDIR
	}
	n, err := f.create(name, in.Flags, &out.OpenOut)
	if err != nil {
		return f.status(err)
	}
	out.NodeId, out.Generation = n.id, 1
	if _, err := f.attr(n, f.files.get(out.Fh), &out.Attr); err != nil {
		f.closeHandle(f.files.remove(out.Fh))
		f.nodes.forget(n.id, 1)
		return f.status(err)
	}
	return fuse.OK
}

func (f *FS) create(name string, flags uint32, out *fuse.OpenOut) (*node, error) {
	base, k := parseName(name)
	switch k {
	case KindPrimary:
		return nil, errForbidden
	case KindBlocked:
		n := f.nodes.get(blockedID)
		return n, f.open(n, unix.O_WRONLY, out)
	case KindSHM:
		return f.createSHM(name, base, out)
	case KindWAL:
		return f.createLower(name, base, k, flags, out)
	}
	t, err := f.enter(k)
	if err != nil {
		return nil, err
	}
	defer f.gate.Leave(t)
	switch k {
	case KindPos, KindLock:
		// LiteFS answers ENOSYS. Its kernel would remember that, try MKNOD (EIO)
		// and create no file there ever again (linux fs/fuse/dir.c, no_create):
		// one such name, and no journal can be made. So it is never asked.
		return nil, unix.EIO
	case KindJournal:
		if err := f.mayJournal(f.dbs.get(base)); err != nil {
			return nil, err
		}
	}
	return f.createLower(name, base, k, flags, out)
}

func (f *FS) createSHM(name, base string, out *fuse.OpenOut) (*node, error) {
	// LiteFS has -pos exactly for what it takes for a database, the dropped ones
	// among them (fuse/root_node.go, lookupDBNode).
	if _, err := f.statLower(base + "-pos"); err != nil {
		return nil, err
	}
	d := f.dbs.get(base)
	m, err := d.makeSHM()
	if err != nil {
		return nil, err
	}
	n := f.nodes.lookup(name, KindSHM, d, m, false)
	if err := f.openSHM(n, out); err != nil {
		f.nodes.forget(n.id, 1)
		return nil, err
	}
	return n, nil
}

// createLower creates below. The node is new whatever bore the name before.
func (f *FS) createLower(name, base string, k Kind, flags uint32, out *fuse.OpenOut) (*node, error) {
	// O_EXCL, to know that it is new and empty; LiteFS makes a new file each
	// time anyway (db.go, CreateJournal, CreateWAL).
	l, err := f.openLower(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	made := err == nil
	if err == unix.EEXIST && flags&unix.O_EXCL == 0 {
		l, err = f.openLower(name, unix.O_RDWR|unix.O_CREAT)
	}
	if err != nil {
		return nil, err
	}
	d := f.databaseFor(base, k)
	var n *node
	if k == KindDatabase {
		d.created(l)
		n = f.nodes.lookupDatabase(name, d, true, f.txid)
	} else {
		n = f.nodes.lookup(name, k, d, nil, true)
	}
	if known := d.knownSize(k); known != nil && made {
		known.set(0)
	} else if known != nil {
		known.forget()
	}
	h := f.files.add(&handle{node: n, lower: l})
	out.Fh = h.id
	out.OpenFlags = openFlags(k)
	return h.node, nil
}

// Flush comes with every close of a descriptor, and drops the locks that the
// closing owner has on the file (POSIX).
func (f *rawFS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h := f.files.get(in.Fh)
	if h == nil {
		return fuse.OK
	}
	switch h.node.kind {
	case KindDatabase, KindSHM:
		h.node.db.releaseOwner(in.LockOwner, h.node.kind == KindSHM)
	case KindLock:
		// LiteFS drops its HALT lock at FLUSH.
		return f.status(flushLower(h.lower.fd))
	}
	return fuse.OK
}

func (f *rawFS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	f.closeHandle(f.files.remove(in.Fh))
}

func (f *FS) closeHandle(h *handle) {
	if h == nil {
		return
	}
	switch h.node.kind {
	case KindDatabase:
		h.node.db.releaseHandle(h.id, false)
		h.node.db.closeFile(h.lower)
	case KindSHM:
		h.node.db.releaseHandle(h.id, true)
		h.node.db.closeSHM()
	default:
		h.lower.release()
	}
}
