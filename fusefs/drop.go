package fusefs

import (
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

// A database that LiteFS no longer has. Its next namesake is another: it gets a
// lock table, a wal-index and lower files of its own, while who has the old one
// open keeps an orphan that grants no lock. LiteFS tells locks apart by name
// only, so the orphan must hold none: its unlock would be the heir's.

// Dropped tells the mount that LiteFS's transaction txid dropped db: a "tx" event
// of GET /events with commit 0. Without it a drop by a remote primary is seen
// only when the name is looked up before it is made again; after that LiteFS
// shows no difference, and the old file would be read on. Safe to call late and
// more than once: a database that was made after txid is let alone.
func (f *FS) Dropped(db string, txid uint64) {
	if f.nodes.born(db) < txid {
		f.vanished(db, db, KindDatabase)
	}
}

// txid is LiteFS's transaction number of a database, 0 if it has none.
func (f *FS) txid(db string) uint64 {
	l, err := f.openLower(db+"-pos", unix.O_RDONLY)
	if err != nil {
		return 0
	}
	defer l.release()
	raw, err := l.position()
	if err != nil {
		return 0
	}
	pos, err := policy.ParsePos(string(raw[:]))
	if err != nil {
		return 0
	}
	return pos.TXID
}

// orphan takes the name from the database that bears it.
func (t *databaseTable) orphan(name string) {
	t.mu.Lock()
	d := t.m[name]
	delete(t.m, name)
	t.mu.Unlock()
	if d != nil {
		d.abandon()
	}
}

// abandon lets go of everything below. Locks of the owners above are forgotten;
// what they ask for from now on is refused (EBADF), because there is no file to
// take it through. One who still finds the old node under the name is told
// ESTALE, upon which the kernel looks the name up anew.
func (d *database) abandon() {
	d.walMu.Lock()
	defer d.walMu.Unlock()
	d.pipe.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.orphaned.Store(true)
	if d.held[slotWrite] == exclusive {
		defer d.soothe()()
	}
	for s := range slots {
		if d.held[s] != unlocked {
			if err := d.setBelow(s, unlocked); err != nil {
				d.unlockFailed(err)
				d.held[s] = unlocked
			}
		}
		d.table[s] = nil
	}
	d.countDead()
	d.txOpen.Store(false)
	for _, l := range []**lowerFile{&d.file, &d.shmLocks, &d.pos} {
		d.retire(l)
	}
	d.shm.dropRef()
	d.shm = nil
	d.dropPages()
	d.sweep()
	d.wake()
}

// soothe puts an empty -wal where LiteFS will look for one at the unlock of
// WRITE: it exits where there is none (db.go, CommitWAL). The result takes it
// away again.
func (d *database) soothe() (undo func()) {
	l, err := d.fs.openLower(d.name+"-wal", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return func() {}
	}
	l.release()
	return func() { _ = unix.Unlinkat(d.fs.rootFD(), d.name+"-wal", 0) }
}
