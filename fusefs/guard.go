package fusefs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// guardSource is what the guard is called in /proc/mounts.
const guardSource = "litefence-guard"

// ErrUnguarded is wrapped by Guard where the guard cannot be mounted here.
var ErrUnguarded = errors.New("the mount point cannot be guarded")

// errSymlink: the kernel's table names the directory itself, so that no mount of
// ours would ever be found again under such a name.
var errSymlink = errors.New("the way to it leads over a symbolic link; name the directory itself")

// Guard mounts an empty, read-only file system, the guard, on the mount point,
// for the fenced mount to lie on: while that is away, after a death or before
// LiteFS has come, nobody makes a database in the bare directory, which the next
// mount would hide. Dead mounts of ours are detached first, and a guard that
// stands there already is kept: there is never more than one. An error that wraps
// ErrUnguarded says that the fenced mount can do without; any other that it
// cannot be mounted here either.
func Guard(mount string) error {
	m, err := clearMountPoint(mount)
	if err != nil || m.isGuard() {
		return err
	}
	bare, err := os.Open(mount)
	if err != nil {
		return fmt.Errorf("mount point %s: %w", mount, err)
	}
	defer bare.Close()
	// size is the least that there is (0 would be no limit); read-only needs none.
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(guardSource, mount, "tmpfs", flags, "size=4k,mode=0555"); err != nil {
		return fmt.Errorf("%w: mount a tmpfs on %s: %w", ErrUnguarded, mount, err)
	}
	if !Guarded(mount) {
		return errors.Join(fmt.Errorf("%w: %s: %w", ErrUnguarded, mount, errSymlink), unix.Unmount(mount, 0))
	}
	// Looked at from beneath, now that nobody can add to it.
	if err := requireEmpty(mount, bare); err != nil {
		return errors.Join(err, Unguard(mount))
	}
	return nil
}

// Unguard takes the guard away, and nothing else: where another mount lies at the
// mount point, or none, it does nothing.
func Unguard(mount string) error {
	m, err := mountAt(mount)
	if err != nil || !m.isGuard() {
		return err
	}
	err = unix.Unmount(mount, 0)
	if err == unix.EBUSY { // somebody stands in it
		err = unix.Unmount(mount, unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount the guard of %s: %w", mount, err)
	}
	return nil
}

// Guarded reports that the guard lies at the mount point and nothing on it.
func Guarded(mount string) bool {
	m, err := mountAt(mount)
	return err == nil && m.isGuard()
}

// isGuard is false of no mount, nil.
func (m *mountEntry) isGuard() bool {
	return m != nil && m.fstype == "tmpfs" && m.source == guardSource
}
