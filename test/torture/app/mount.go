package app

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mntIDUnique asks statx for a mount's number, which is never used again;
// Linux 6.8.
const mntIDUnique = 0x4000

// mountOf is the mount that path lies on; 0 = it does not answer.
func mountOf(path string) uint64 {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, filepath.Dir(path), 0, mntIDUnique, &st) != nil {
		return 0
	}
	return st.Mnt_id
}

// leave closes the connection where its mount is not there any more: files on a
// mount that has died stay dead. Through everything else it is kept.
func (c *client) leave() {
	if m := mountOf(c.path); c.conn != nil && m != 0 && m != c.mount {
		c.close()
	}
}
