package fusefs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Preflight says, before anything is started, what Mount would refuse for
// reasons that waiting does not mend: rights, kernel, device, mount point.
func Preflight(lower, mount string) error {
	if err := checkHost(); err != nil {
		return err
	}
	return checkMountPoint(lower, mount)
}

// CheckLower reports whether LiteFS is mounted at lower and answers.
func CheckLower(lower string) error { return checkLower(lower) }

// IsDead reports a mount of LiteFS at lower whose LiteFS is gone.
func IsDead(lower string) bool {
	m, err := mountAt(lower)
	if err != nil || m == nil || m.source != "litefs" {
		return false
	}
	return errors.Is(alive(lower), unix.ENOTCONN)
}

// LowerGone reports that the LiteFS under this mount is gone for good. It asks
// LiteFS, and waits where LiteFS is stopped.
func (f *FS) LowerGone() bool {
	var st unix.Statfs_t
	_, err := retry(func() (int, error) { return 0, unix.Fstatfs(f.rootFD(), &st) })
	return errors.Is(err, unix.ENOTCONN)
}
