package fusefs

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// walk is what every operation of the protocol does on a fenced mount. The
// test fails on an operation that is not listed here: a new one must be
// thought about before it can pass.
//
//	""        reads, or is bookkeeping
//	"kernel"  never reaches us, or is remembered by the kernel as unknown
//	else      the steps that must be refused (or pass, where said)
func walk() map[string][]step {
	db, journal, wal, shm := "db", "db-journal", "db-wal", "db-shm"
	create := func(name string) func(string) error {
		return func(dir string) error {
			fd, err := unix.Open(filepath.Join(dir, name), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o666)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	on := func(name string, op func(fd int) error) func(string) error {
		return func(dir string) error {
			fd, err := unix.Open(filepath.Join(dir, name), unix.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return op(fd)
		}
	}
	at := func(name string, op func(path string) error) func(string) error {
		return func(dir string) error { return op(filepath.Join(dir, name)) }
	}
	write := func(fd int) error { _, err := unix.Pwrite(fd, make([]byte, 4096), 0); return err }
	return map[string][]step{
		"Create": {
			{"new database", create("new"), unix.EROFS}, {"journal", create("db-journal"), unix.EROFS},
			{"-wal", func(d string) error { _ = unix.Unlink(d + "/other-wal"); return create("other-wal")(d) }, 0},
			{"-shm", create("other-shm"), 0},
		},
		"Open": {{"database for writing", on(db, func(int) error { return nil }), 0}},
		"Write": {
			{"database", on(db, write), unix.EROFS}, {"wal", on(wal, write), unix.EROFS}, {"shm", on(shm, write), 0},
		},
		"Writev": {{"database", on(db, func(fd int) error {
			_, err := unix.Pwritev(fd, [][]byte{make([]byte, 2048), make([]byte, 2048)}, 0)
			return err
		}), unix.EROFS}},
		"SetAttr": {
			{"ftruncate database", on(db, func(fd int) error { return unix.Ftruncate(fd, 0) }), unix.EROFS},
			{"truncate database", at(db, func(p string) error { return unix.Truncate(p, 0) }), unix.EROFS},
			{"truncate wal", at(wal, func(p string) error { return unix.Truncate(p, 0) }), unix.EROFS},
			{"truncate shm", on("other-shm", func(fd int) error { return unix.Ftruncate(fd, 3) }), 0},
			{"O_TRUNC", at(db, func(p string) error {
				fd, err := unix.Open(p, unix.O_RDWR|unix.O_TRUNC, 0)
				if err == nil {
					unix.Close(fd)
				}
				return err
			}), unix.EROFS},
			{"chmod", at(db, func(p string) error { return unix.Chmod(p, 0o600) }), unix.EROFS},
			{"chown", at(db, func(p string) error { return unix.Chown(p, 1, 1) }), unix.EROFS},
			{"utimes", at(db, func(p string) error { return os.Chtimes(p, time.Now(), time.Now()) }), unix.EROFS},
			{"chmod root", at(".", func(p string) error { return unix.Chmod(p, 0o700) }), unix.EROFS},
		},
		"Unlink": {
			{"database", at(db, unix.Unlink), unix.EROFS}, {"wal with frames", at(wal, unix.Unlink), unix.EROFS},
			{"shm", at("other-shm", unix.Unlink), 0},
			{"empty wal", at("other-wal", unix.Unlink), 0},
		},
		"Fallocate": {{"database", on(db, func(fd int) error { return unix.Fallocate(fd, 0, 0, 1<<20) }), unix.EROFS}},
		"CopyFileRange": {{"database", on(db, func(fd int) error {
			in, out := int64(0), int64(0)
			_, err := unix.CopyFileRange(fd, &in, fd, &[]int64{1 << 20}[0], 4096, 0)
			_ = out
			return err
		}), unix.EROFS}},
		"Ioctl": {{"that changes", on(db, func(fd int) error {
			attr := uint32(0x20)
			_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0x40086602 /* FS_IOC_SETFLAGS */, uintptr(unsafe.Pointer(&attr)))
			if e == unix.ENOTTY || e == unix.EOPNOTSUPP {
				return unix.EROFS // refused all the same: there is no such ioctl
			}
			return e
		}), unix.EROFS}},
		"Rename":  {{"database", at(db, func(p string) error { return unix.Rename(p, p+"2") }), unix.EROFS}},
		"Link":    {{"", at(db, func(p string) error { return unix.Link(p, p+"2") }), unix.EROFS}},
		"Symlink": {{"", at(db, func(p string) error { return unix.Symlink("x", p+"2") }), unix.EROFS}},
		"Mkdir":   {{"", at("dir", func(p string) error { return unix.Mkdir(p, 0o777) }), unix.EROFS}},
		"Rmdir":   {{"", at("dir", unix.Rmdir), unix.ENOENT}}, // the kernel sees that there is none
		"Mknod":   {{"", at("fifo", func(p string) error { return unix.Mkfifo(p, 0o666) }), unix.EROFS}},
		"Tmpfile": {{"", at(".", func(p string) error {
			fd, err := unix.Open(p, unix.O_TMPFILE|unix.O_RDWR, 0o666)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}), unix.EROFS}},
		"SetXAttr":    {{"", at(db, func(p string) error { return unix.Setxattr(p, "user.x", []byte("y"), 0) }), unix.EOPNOTSUPP}},
		"RemoveXAttr": {{"", at(db, func(p string) error { return unix.Removexattr(p, "user.x") }), unix.EOPNOTSUPP}},
		"Fsync":       {{"passes", on(db, unix.Fsync), 0}, {"wal", on(wal, unix.Fsync), 0}},
		"Read":        {{"passes", on(db, func(fd int) error { _, err := unix.Pread(fd, make([]byte, 10), 0); return err }), 0}},
		"GetAttr":     {{"passes", at(db, func(p string) error { _, err := os.Stat(p); return err }), 0}},
		"Lookup":      {{"passes", at(journal, func(p string) error { _, err := os.Stat(p); return unwrapErrno(err) }), unix.ENOENT}},
		"ReadDir":     {{"passes", at(".", func(p string) error { _, err := os.ReadDir(p); return err }), 0}},
		"StatFs":      {{"passes", at(".", func(p string) error { return unix.Statfs(p, &unix.Statfs_t{}) }), 0}},
		"Lseek":       {{"passes", on(db, func(fd int) error { _, err := unix.Seek(fd, 0, unix.SEEK_END); return err }), 0}},
		"Access":      {{"passes", at(db, func(p string) error { return unix.Access(p, unix.W_OK) }), 0}},
		// Locks have tests of their own (locks_test.go), which hold while fenced.
		"GetLk": nil, "SetLk": nil, "SetLkw": nil,
		// Bookkeeping.
		"Forget": nil, "Flush": nil, "Release": nil, "OpenDir": nil, "ReleaseDir": nil, "FsyncDir": nil, "ReadDirPlus": nil,
		"Readlink": nil, "GetXAttr": nil, "ListXAttr": nil, "Statx": nil, "Init": nil, "OnUnmount": nil, "String": nil, "SetDebug": nil,
	}
}

type step struct {
	name string
	do   func(dir string) error
	want unix.Errno
}

func unwrapErrno(err error) error {
	if os.IsNotExist(err) {
		return unix.ENOENT
	}
	return err
}

func TestEveryOperationIsFenced(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "WAL")
	a.must("c", "CREATE TABLE t (x)")
	a.open("o", r.path("other"))
	a.must("o", "PRAGMA journal_mode=WAL")
	a.must("o", "CREATE TABLE t (x)")
	a.do(order{Op: "close", Conn: "o"})
	r.fence()
	pos, other := r.pos("db"), r.pos("other")
	before := snapshot(t, r.lower)

	known := walk()
	ops := reflect.TypeFor[fuse.RawFileSystem]()
	order := []string{"Create", "Open", "Write"} // others need what these leave
	for i := range ops.NumMethod() {
		order = append(order, ops.Method(i).Name)
	}
	done := map[string]bool{}
	for _, name := range order {
		steps, ok := known[name]
		require.True(t, ok, "operation %s is not thought of", name)
		if done[name] {
			continue
		}
		done[name] = true
		for _, s := range steps {
			err := s.do(r.mount)
			if s.want == 0 {
				require.NoError(t, err, "%s %s", name, s.name)
			} else {
				require.ErrorIs(t, err, s.want, "%s %s", name, s.name)
			}
		}
	}
	require.Equal(t, pos, r.pos("db"))
	require.Equal(t, other, r.pos("other"))
	require.Equal(t, before, snapshot(t, r.lower), "nothing below has changed")
	require.NotZero(t, r.fs.Stats().Refused["database"])
}

// snapshot reads every file below but the empty -wal and LiteFS's -shm.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if _, k := parseName(e.Name()); k == KindLag || k == KindSHM {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		if len(b) > 0 {
			m[e.Name()] = string(b)
		}
	}
	return m
}

// Ways round the gate, from handles that were opened before the fence.
func TestBypassAttemptsAreRefused(t *testing.T) {
	r := newRig(t)
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	fd, err := unix.Open(r.path("db"), unix.O_RDWR, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	direct, err := unix.Open(r.path("db"), unix.O_RDWR|unix.O_DIRECT, 0)
	require.NoError(t, err)
	defer unix.Close(direct)
	r.fence()
	before := snapshot(t, r.lower)
	page := make([]byte, 4096)
	_, err = unix.Pwrite(fd, page, 0)
	require.ErrorIs(t, err, unix.EROFS)
	_, err = unix.Pwrite(direct, page, 0)
	require.ErrorIs(t, err, unix.EROFS)
	mapped, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	mapped[200]++
	require.Error(t, unix.Msync(mapped, unix.MS_SYNC), "a shared writable mapping of the database")
	require.NoError(t, unix.Munmap(mapped))
	again, err := os.OpenFile("/proc/self/fd/"+itoa(fd), os.O_RDWR, 0)
	require.NoError(t, err)
	defer again.Close()
	_, err = again.WriteAt(page, 0)
	require.ErrorIs(t, err, unix.EROFS)
	p := make([]int, 2)
	require.NoError(t, unix.Pipe(p))
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	_, err = unix.Write(p[1], page)
	require.NoError(t, err)
	off := int64(0)
	_, err = unix.Splice(p[0], nil, fd, &off, 4096, 0)
	require.Error(t, err)
	require.Equal(t, before, snapshot(t, r.lower))
	// What was refused may have been in the page cache; the next reader's lock
	// has it dropped.
	require.Equal(t, "0", a.value("c", "SELECT count(*) FROM t"))
	shown, err := os.ReadFile(r.path("db"))
	require.NoError(t, err)
	require.Equal(t, before["db"], string(shown))
}

func TestErrnoAndOpenDeny(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Errno = unix.EACCES; c.OpenDeny = true })
	a := startApp(t)
	openDB(r, a, "c", "DELETE")
	a.must("c", "CREATE TABLE t (x)")
	r.fence()
	require.Equal(t, 14, a.exec("c", "INSERT INTO t VALUES (1)").Code|6, "CANTOPEN or READONLY")
	a.open("new", r.path("db"))
	require.Equal(t, "0", a.value("new", "SELECT count(*) FROM t"))
	require.Equal(t, 8, a.exec("new", "INSERT INTO t VALUES (1)").Code, "opened read-only")
	_, err := unix.Open(r.path("db"), unix.O_RDWR, 0)
	require.ErrorIs(t, err, unix.EACCES)
}
