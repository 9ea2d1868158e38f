package quorum

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// minFree is what the filesystem of the data directory must have free at the
// start: room for the log between two snapshots, with positions of many
// databases in it.
const minFree = 4 << 20

// lockDir makes the data directory if need be and locks it. The lock is on the
// directory itself, so that it is taken before anything in it is read and
// nothing is written for it.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		err = fmt.Errorf("quorum.data-dir %s: %w", dir, err)
		if errors.Is(err, syscall.ENOTDIR) {
			return nil, ConfigError{fmt.Errorf("%w; name a directory", err)}
		}
		return nil, diskError(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, diskError(fmt.Errorf("quorum.data-dir: %w", err))
	}
	for until := time.Now().Add(lockTimeout); ; time.Sleep(lockTimeout / 20) {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case !errors.Is(err, unix.EWOULDBLOCK):
			return d, nil // locked; or a filesystem without locks on directories: bbolt's own remains
		case time.Now().After(until):
			d.Close()
			return nil, inUse(dir)
		}
	}
}

// checkWritable finds out whether raft could write, without writing.
func checkWritable(dir, db, snapshots string) error {
	for _, path := range []string{dir, db, snapshots} {
		err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS)
		if err != nil && !(errors.Is(err, unix.ENOENT) && path != dir) {
			return diskError(fmt.Errorf("%s cannot be written: %w", path, err))
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("quorum.data-dir %s: %w", dir, err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < minFree {
		return fmt.Errorf("quorum.data-dir %s: %d KiB are free on its filesystem, %d are needed; make room there", dir, free>>10, minFree>>10)
	}
	return nil
}

// diskError adds the mend to an error of the filesystem.
func diskError(err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; mount it writable", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; it must belong to the user that litefence runs as, uid %d", err, os.Geteuid())
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; make room on its filesystem", err)
	}
	return err
}
