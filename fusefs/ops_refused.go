package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What LiteFS does not have: EROFS while fenced, else LiteFS's own answer.

// guard runs op below if the gate admits it.
func (f *FS) guard(k Kind, op func() error) error {
	t, err := f.enter(k)
	if err != nil {
		return err
	}
	defer f.gate.Leave(t)
	return op()
}

// guardName is guard for a name, which must not be one of ours.
func (f *FS) guardName(name string, op func() error) fuse.Status {
	_, k := parseName(name)
	if k.virtual() {
		return fuse.EACCES
	}
	return f.status(f.guard(k, op))
}

func (f *rawFS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.guardName(name, func() error { return refusedBelow(unix.Mkdirat(f.rootFD(), name, in.Mode)) })
}

func (f *rawFS) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.guardName(name, func() error { return refusedBelow(unix.Unlinkat(f.rootFD(), name, unix.AT_REMOVEDIR)) })
}

func (f *rawFS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.guardName(name, func() error { return refusedBelow(unix.Mknodat(f.rootFD(), name, in.Mode, int(in.Rdev))) })
}

func (f *rawFS) Symlink(cancel <-chan struct{}, in *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	return f.guardName(name, func() error { return refusedBelow(unix.Symlinkat(to, f.rootFD(), name)) })
}

func (f *rawFS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	n := f.nodes.get(in.Oldnodeid)
	if n == nil {
		return fuse.ENOENT
	}
	if n.kind.virtual() {
		return fuse.EACCES
	}
	return f.guardName(name, func() error { return refusedBelow(unix.Linkat(f.rootFD(), n.name, f.rootFD(), name, 0)) })
}

// refusedBelow turns a success that LiteFS 0.5 never gives into an error: we
// could not show the result.
func refusedBelow(err error) error {
	if err == nil {
		return unix.EPERM
	}
	return err
}

// Tmpfile, Fallocate and Ioctl answer a plain errno, not ENOSYS: that the
// kernel would remember, and a fenced mount has another answer.

func (f *rawFS) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return f.status(f.guard(KindDatabase, func() error { return unix.EOPNOTSUPP }))
}

func (f *rawFS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := f.files.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	if m := h.node.shm; m != nil {
		return f.status(unix.Fallocate(m.fd, in.Mode, int64(in.Offset), int64(in.Length)))
	}
	return f.status(f.guard(h.node.kind, func() error { return unix.EOPNOTSUPP }))
}

// ioctlWrites is the direction bit of a command that takes data (asm/ioctl.h).
const ioctlWrites = 1 << 30

func (f *rawFS) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, out *fuse.IoctlOut, outbuf []byte) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil || in.Cmd&ioctlWrites == 0 || n.kind == KindSHM {
		return fuse.Status(unix.ENOTTY)
	}
	return f.status(f.guard(n.kind, func() error { return unix.ENOTTY }))
}

// CopyFileRange is left out: the kernel falls back to READ and WRITE.
func (f *rawFS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Lseek is left out: the kernel answers SEEK_DATA and SEEK_HOLE by the size.
func (f *rawFS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	return fuse.ENOSYS
}

func (f *rawFS) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	return nil, fuse.EINVAL // there are no links
}

// xattr: ENOSYS once, and the kernel does not ask again before every write.

func (f *rawFS) GetXAttr(<-chan struct{}, *fuse.InHeader, string, []byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

func (f *rawFS) ListXAttr(<-chan struct{}, *fuse.InHeader, []byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

func (f *rawFS) SetXAttr(<-chan struct{}, *fuse.SetXAttrIn, string, []byte) fuse.Status {
	return fuse.ENOSYS
}

func (f *rawFS) RemoveXAttr(<-chan struct{}, *fuse.InHeader, string) fuse.Status {
	return fuse.ENOSYS
}
