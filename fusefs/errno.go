package fusefs

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

var (
	errFenced    = errors.New("writes are fenced")
	errCut       = errors.New("transaction was cut off by the fence")
	errInDoubt   = errors.New("commit is in doubt")
	errForbidden = errors.New("not through this mount")
)

// errnoOf is the one place where an error becomes an errno. What LiteFS said
// passes through unchanged.
func (f *FS) errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFenced):
		return f.cfg.Errno
	case errors.Is(err, errInDoubt):
		return syscall.EIO
	case errors.Is(err, errCut):
		// Not EIO: SQLite takes that at a read for a broken file system, says
		// "database disk image is malformed" and keeps the transaction open
		// (os_unix.c, unixRead). At another errno it says "disk I/O error" and
		// ends the transaction, which is what is wanted.
		return syscall.ESTALE
	case errors.Is(err, errForbidden):
		return syscall.EACCES
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, context.Canceled):
		return syscall.EINTR
	case errors.Is(err, os.ErrNotExist):
		return syscall.ENOENT
	}
	return syscall.EIO
}

// lowerGone reports an error of a LiteFS mount whose daemon has ended.
func lowerGone(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED)
}

func (f *FS) status(err error) fuse.Status { return fuse.Status(f.errnoOf(err)) }

func stack() string { return string(debug.Stack()) }
