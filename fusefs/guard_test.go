package fusefs

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mountsAt lists the types of what is mounted at path, the topmost last.
func mountsAt(t *testing.T, path string) (types []string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[4] == path {
			types = append(types, f[slices.Index(f, "-")+1])
		}
	}
	return types
}

// bareDir is a directory to mount on, without mounts at the end of the test.
func bareDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it needs root to mount")
	}
	dir, err := os.MkdirTemp("", tempPrefix)
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Cleanup(func() { unmountAll(t, dir) })
	return dir
}

func unmountAll(t *testing.T, dir string) {
	for range mountsAt(t, dir) {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
}

// requireReadOnly tries what SQLite does with a database that is not there.
func requireReadOnly(t *testing.T, dir string) {
	t.Helper()
	for _, flags := range []int{os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_EXCL} {
		f, err := os.OpenFile(filepath.Join(dir, "app.db"), flags, 0o666)
		if err == nil {
			f.Close()
		}
		require.ErrorIs(t, err, unix.EROFS)
	}
	require.ErrorIs(t, os.Mkdir(filepath.Join(dir, "d"), 0o777), unix.EROFS)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// Daemons are killed and started again, as often as one likes: the directory is
// never bare, there is one guard, and the last one leaves nothing behind.
func TestGuardLiesUnderTheMount(t *testing.T) {
	r := startLiteFS(t)
	t.Cleanup(func() { unmountAll(t, r.mount) })
	for i := range 3 {
		require.NoError(t, Guard(r.mount))
		require.NoError(t, Guard(r.mount), "it is there already")
		require.Equal(t, []string{"tmpfs"}, mountsAt(t, r.mount))
		require.True(t, Guarded(r.mount))
		requireReadOnly(t, r.mount)

		kill := startDaemon(t, r)
		require.Equal(t, []string{"tmpfs", "fuse.litefence"}, mountsAt(t, r.mount))
		require.False(t, Guarded(r.mount))
		require.NoError(t, os.WriteFile(filepath.Join(r.mount, itoa(i)+".db"), nil, 0o666), "into LiteFS")
		require.ErrorContains(t, Guard(r.mount), "in use by a mount of litefence")
		require.NoError(t, Unguard(r.mount), "nothing of a mount that serves")
		require.Equal(t, []string{"tmpfs", "fuse.litefence"}, mountsAt(t, r.mount))
		kill()
	}
	require.NoError(t, Preflight(r.lower, r.mount), "as at a start")
	require.Equal(t, []string{"tmpfs"}, mountsAt(t, r.mount), "the dead one is off")
	requireReadOnly(t, r.mount)

	fs, err := Mount(Config{Lower: r.lower, Mount: r.mount, Gate: NewGate(), Enforce: true})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NoError(t, fs.Unmount(ctx))
	fs.Wait()
	require.NoError(t, fs.Unmount(ctx), "once more")
	require.Equal(t, []string{"tmpfs"}, mountsAt(t, r.mount), "the guard is not the mount's")
	require.NoError(t, Unguard(r.mount))
	require.NoError(t, Unguard(r.mount))
	require.Empty(t, mountsAt(t, r.mount))
}

// What an older version left: a dead mount with nothing beneath.
func TestGuardAfterAnUnguardedDeath(t *testing.T) {
	r := startLiteFS(t)
	t.Cleanup(func() { unmountAll(t, r.mount) })
	startDaemon(t, r)()
	require.Equal(t, []string{"fuse.litefence"}, mountsAt(t, r.mount))
	require.NoError(t, Guard(r.mount))
	require.Equal(t, []string{"tmpfs"}, mountsAt(t, r.mount))
	requireReadOnly(t, r.mount)
}

func TestGuardRefuses(t *testing.T) {
	t.Run("a foreign tmpfs, alone or on the guard", func(t *testing.T) {
		dir := bareDir(t)
		foreign := func() {
			require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"))
			before := mountsAt(t, dir)
			require.ErrorContains(t, Guard(dir), "is in use by a mount of tmpfs (tmpfs)")
			require.ErrorContains(t, checkMountPoint("/lower", dir), "is in use by a mount of tmpfs (tmpfs)")
			require.NoError(t, Unguard(dir))
			require.Equal(t, before, mountsAt(t, dir))
			require.NoError(t, unix.Unmount(dir, 0))
		}
		foreign()
		require.NoError(t, Guard(dir))
		foreign()
		require.True(t, Guarded(dir))
	})
	t.Run("what is not empty", func(t *testing.T) {
		dir := bareDir(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "app.db"), nil, 0o666))
		err := Guard(dir)
		require.ErrorContains(t, err, "is not empty")
		require.NotErrorIs(t, err, ErrUnguarded)
		require.Empty(t, mountsAt(t, dir))
	})
	t.Run("a symbolic link", func(t *testing.T) {
		dir := bareDir(t)
		link := filepath.Join(dir, "link")
		require.NoError(t, os.Symlink(bareDir(t), link))
		to, err := os.Readlink(link)
		require.NoError(t, err)
		for range 2 {
			require.ErrorIs(t, Guard(link), ErrUnguarded)
			require.Empty(t, mountsAt(t, to), "nothing piles up")
		}
	})
}

// Without the right to mount, as in some containers, it is said and left.
func TestGuardWithoutTheRightToMount(t *testing.T) {
	dir := bareDir(t)
	answer := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // only this thread loses the right, and ends with the goroutine
		if err := dropCapability(unix.CAP_SYS_ADMIN); err != nil {
			answer <- err
			return
		}
		answer <- Guard(dir)
	}()
	err := <-answer
	require.ErrorIs(t, err, ErrUnguarded)
	require.ErrorIs(t, err, unix.EPERM)
	require.NotContains(t, err.Error(), "\n")
	require.Empty(t, mountsAt(t, dir))
}

// dropCapability takes one of the first 32 capabilities from the calling thread.
func dropCapability(number uint) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << number
	return unix.Capset(&header, &data[0])
}

// Whoever stands in the guard does not keep it.
func TestUnguardInUse(t *testing.T) {
	dir := bareDir(t)
	require.NoError(t, Guard(dir))
	held, err := os.Open(dir)
	require.NoError(t, err)
	defer held.Close()
	require.NoError(t, Unguard(dir))
	require.Empty(t, mountsAt(t, dir))
}
