package main

import (
	"errors"

	"github.com/litefence/litefence/fusefs"
)

// errUnmounted ends a daemon whose fenced mount was taken away.
var errUnmounted = errors.New("was unmounted by somebody else")

// guard keeps the mount point read-only for as long as the fenced mount is not
// there. Also where only observing: what would be written into the bare directory
// is lost, and LiteFS is not asked.
func (d *daemon) guard() error {
	err := fusefs.Guard(d.cfg.Fence.Mount)
	if errors.Is(err, fusefs.ErrUnguarded) {
		d.log.Warn("until the fenced mount is there, an application can make a database in the bare directory, and loses it", "err", err)
		return nil
	}
	d.guarded = err == nil
	return err
}

// unguard is the end of guard: an orderly one leaves nothing behind. After a
// failure the guard stays for the next start, or an application that goes on
// would write into the bare directory meanwhile.
func (d *daemon) unguard(orderly bool) {
	switch mount := d.cfg.Fence.Mount; {
	case !d.guarded: // a witness, or a mount point that is not for us
	case orderly:
		d.logged("guard", fusefs.Unguard(mount))
	case fusefs.Guarded(mount):
		d.log.Warn("nothing can be written there until litefence runs again; umount takes the guard away", "mount", mount)
	}
}
