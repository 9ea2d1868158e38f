package fusefs

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// File operations as an application makes them, one system call each. Open
// files have slots of the test's choosing, so that one script suits two mounts.

type fileCall struct {
	Call  string
	Path  string `json:",omitempty"`
	Path2 string `json:",omitempty"`
	Slot  int
	Flags int    `json:",omitempty"`
	Off   int64  `json:",omitempty"`
	Len   int64  `json:",omitempty"`
	Typ   int16  `json:",omitempty"`
	Data  []byte `json:",omitempty"`
}

type fileResult struct {
	Errno unix.Errno
	N     int64    `json:",omitempty"`
	Data  []byte   `json:",omitempty"`
	Names []string `json:",omitempty"`
	Text  string   `json:",omitempty"`
}

func (r *fileResult) String() string {
	s := fmt.Sprintf("errno=%d(%v) n=%d %s", int(r.Errno), r.Errno, r.N, r.Text)
	if len(r.Data) > 0 {
		s += fmt.Sprintf(" data=%.40x(%d)", r.Data, len(r.Data))
	}
	if r.Names != nil {
		s += fmt.Sprintf(" names=%q", r.Names)
	}
	return s
}

type fileSlots map[int]int

var fileCalls = fileSlots{}

func (f fileSlots) do(c *fileCall) *fileResult {
	r := &fileResult{}
	fd, ok := f[c.Slot]
	if !ok {
		fd = -1
	}
	var err error
	switch c.Call {
	case "open", "close", "dup", "closeall":
		err = f.handles(c, fd)
	case "lock", "lockw", "getlk", "ofdlock", "ofdgetlk", "flock":
		err = lockCall(c, fd, r)
	case "pread", "pwrite", "append", "ftruncate", "fstat", "fsync", "fallocate", "seek", "fchmod":
		err = fdCall(c, fd, r)
	default:
		err = pathCall(c, r)
	}
	if errno, ok := err.(unix.Errno); ok {
		r.Errno = errno
	} else if err != nil {
		panic(err)
	}
	return r
}

func (f fileSlots) handles(c *fileCall, fd int) error {
	switch c.Call {
	case "open":
		if fd >= 0 {
			_ = unix.Close(fd)
			delete(f, c.Slot)
		}
		n, err := unix.Open(c.Path, c.Flags|unix.O_CLOEXEC, 0o666)
		if err == nil {
			f[c.Slot] = n
		}
		return err
	case "dup":
		n, err := unix.Dup(fd)
		if err == nil {
			if old, ok := f[int(c.Off)]; ok {
				_ = unix.Close(old)
			}
			f[int(c.Off)] = n
		}
		return err
	case "close":
		delete(f, c.Slot)
		return unix.Close(fd)
	}
	for slot, fd := range f {
		_ = unix.Close(fd)
		delete(f, slot)
	}
	return nil
}

func lockCall(c *fileCall, fd int, r *fileResult) error {
	if c.Call == "flock" {
		return unix.Flock(fd, c.Flags)
	}
	lk := unix.Flock_t{Type: c.Typ, Start: c.Off, Len: c.Len}
	cmd := map[string]int{
		"lock": unix.F_SETLK, "lockw": unix.F_SETLKW, "getlk": unix.F_GETLK,
		"ofdlock": unix.F_OFD_SETLK, "ofdgetlk": unix.F_OFD_GETLK,
	}[c.Call]
	err := unix.FcntlFlock(uintptr(fd), cmd, &lk)
	if strings.HasSuffix(c.Call, "getlk") && err == nil {
		r.N = int64(lk.Type)
	}
	return err
}

func fdCall(c *fileCall, fd int, r *fileResult) error {
	var n int
	var err error
	switch c.Call {
	case "pread":
		r.Data = make([]byte, c.Len)
		n, err = unix.Pread(fd, r.Data, c.Off)
		r.Data = r.Data[:max(n, 0)]
	case "pwrite":
		n, err = unix.Pwrite(fd, c.Data, c.Off)
	case "append":
		n, err = unix.Write(fd, c.Data)
	case "ftruncate":
		err = unix.Ftruncate(fd, c.Len)
	case "fstat":
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil {
			r.Text = statText(&st)
		}
	case "fsync":
		err = unix.Fsync(fd)
	case "fallocate":
		err = unix.Fallocate(fd, uint32(c.Flags), c.Off, c.Len)
	case "seek":
		r.N, err = unix.Seek(fd, c.Off, c.Flags)
		return err
	case "fchmod":
		err = unix.Fchmod(fd, uint32(c.Flags))
	}
	r.N = int64(max(n, 0))
	return err
}

// statText is what must be equal: not inode, device, links and times, which
// are each mount's own.
func statText(st *unix.Stat_t) string {
	return fmt.Sprintf("mode=%o size=%d uid=%d gid=%d", st.Mode, st.Size, st.Uid, st.Gid)
}

func pathCall(c *fileCall, r *fileResult) error {
	switch c.Call {
	case "stat":
		var st unix.Stat_t
		err := unix.Lstat(c.Path, &st)
		if err == nil {
			r.Text = statText(&st)
		}
		return err
	case "readdir":
		entries, err := os.ReadDir(c.Path)
		for _, e := range entries {
			if rest, ok := strings.CutPrefix(e.Name(), c.Path2); ok || e.Name() == lagName {
				r.Names = append(r.Names, fmt.Sprintf("%s %v", rest, e.Type()))
			}
		}
		sort.Strings(r.Names)
		r.Names = slices.Compact(r.Names)
		if err != nil {
			return err.(*os.PathError).Err
		}
		return nil
	case "statfs":
		var st unix.Statfs_t
		err := unix.Statfs(c.Path, &st)
		r.Text = fmt.Sprintf("type=%x bsize=%d frsize=%d namelen=%d blocks=%d", st.Type, st.Bsize, st.Frsize, st.Namelen, st.Blocks)
		return err
	case "truncate":
		return unix.Truncate(c.Path, c.Len)
	case "unlink":
		return unix.Unlink(c.Path)
	case "rmdir":
		return unix.Rmdir(c.Path)
	case "rename":
		return unix.Renameat2(unix.AT_FDCWD, c.Path, unix.AT_FDCWD, c.Path2, uint(c.Flags))
	case "link":
		return unix.Link(c.Path, c.Path2)
	case "symlink":
		return unix.Symlink("target", c.Path)
	case "readlink":
		_, err := unix.Readlink(c.Path, make([]byte, 10))
		return err
	case "mkdir":
		return unix.Mkdir(c.Path, 0o777)
	case "mknod":
		return unix.Mknod(c.Path, uint32(c.Flags)|0o666, 0)
	case "chmod":
		return unix.Chmod(c.Path, uint32(c.Flags))
	case "chown":
		return unix.Chown(c.Path, c.Flags, c.Flags)
	case "utimes":
		return unix.UtimesNano(c.Path, []unix.Timespec{{Sec: 1}, {Sec: 2}})
	case "access":
		return unix.Access(c.Path, uint32(c.Flags))
	case "setxattr":
		return unix.Setxattr(c.Path, "user.x", []byte("y"), 0)
	case "getxattr":
		_, err := unix.Getxattr(c.Path, "user.x", make([]byte, 10))
		return err
	case "listxattr":
		_, err := unix.Listxattr(c.Path, make([]byte, 10))
		return err
	case "removexattr":
		return unix.Removexattr(c.Path, "user.x")
	}
	return fmt.Errorf("unknown call %q", c.Call)
}

// file makes one system call in the application.
func (a *app) file(c fileCall) *fileResult {
	a.t.Helper()
	ans := a.do(order{Op: "file", File: &c})
	if ans.File == nil {
		a.t.Fatalf("the application is gone: %+v", ans)
	}
	return ans.File
}
