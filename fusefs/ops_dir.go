package fusefs

import (
	"os"
	"slices"
	"sort"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

type entry struct {
	name string
	ino  uint64
}

// listLower returns the names in the LiteFS mount.
func (f *FS) listLower() ([]string, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(f.rootFD(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "lower")
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// list returns what the mount shows: LiteFS's names, but .primary,
// .primary.blocked and -shm by our own lights.
func (f *FS) list() ([]entry, error) {
	names, err := f.listLower()
	if err != nil {
		return nil, err
	}
	var list []entry
	for _, name := range names {
		if _, k := parseName(name); !k.virtual() && k != KindSHM {
			list = append(list, entry{name: name, ino: ^uint64(0)})
		}
	}
	for _, d := range f.dbs.all() {
		// As LiteFS, which lists nothing of a database without a page.
		if d.hasSHM() != nil && slices.Contains(names, d.name) {
			list = append(list, entry{name: d.name + "-shm", ino: ^uint64(0)})
		}
	}
	for k, e := range map[Kind]entry{KindPrimary: {primaryName, primaryID}, KindBlocked: {blockedName, blockedID}} {
		if _, ok := f.virtualText(k); ok {
			list = append(list, e)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list, nil
}

func (f *rawFS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil || n.kind != KindRoot {
		return fuse.ENOTDIR
	}
	out.Fh = f.files.add(&handle{node: n}).id
	return fuse.OK
}

func (f *rawFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	h := f.files.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if in.Offset == 0 {
		list, err := f.list()
		if err != nil {
			return f.status(err)
		}
		h.dir = append([]entry{{".", rootID}, {"..", rootID}}, list...)
	}
	for i := int(in.Offset); i < len(h.dir); i++ {
		mode := uint32(unix.S_IFREG)
		if i < 2 {
			mode = unix.S_IFDIR
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: h.dir[i].name, Ino: h.dir[i].ino, Mode: mode, Off: uint64(i + 1)}) {
			break
		}
	}
	return fuse.OK
}

func (f *rawFS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fuse.ENOSYS // not negotiated
}

func (f *rawFS) ReleaseDir(in *fuse.ReleaseIn) { f.files.remove(in.Fh) }

func (f *rawFS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return fuse.OK }
