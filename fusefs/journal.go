package fusefs

import (
	"bytes"
	"syscall"

	"golang.org/x/sys/unix"
)

// journalHeaderSize is what PERSIST zeroes to commit (pager.c, zeroJournalHdr).
const journalHeaderSize = 28

var journalMagic = []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}

// commitsJournal reports the write by which PERSIST commits (LiteFS db.go,
// WriteJournalAt).
func commitsJournal(data []byte, off int64) bool {
	return off == 0 && len(data) == journalHeaderSize && bytes.Equal(data, make([]byte, journalHeaderSize))
}

// cutJournal truncates below what PERSIST leaves of a journal. LiteFS reads on
// from the last segment of a hot journal into the older ones behind it, and
// restores pages of another time (db.go, JournalReader.Next); SQLite needs none
// of it.
func (d *database) cutJournal(fd int) {
	if _, err := retry(func() (int, error) { return 0, unix.Ftruncate(fd, 0) }); err != nil {
		d.fs.log.Warn("cannot truncate a finished journal", "db", d.name, "err", err)
		d.cache.journal.forget()
		return
	}
	d.cache.journal.set(0)
}

// cutOldJournal is cutJournal for one that a new transaction is about to use, and
// that nobody cut: its commit was not seen, or it is older than this mount.
func (d *database) cutOldJournal(fd int) {
	if size, _, known := d.cache.journal.get(); known && size == 0 {
		return
	}
	var b [1]byte
	if n, err := pread(fd, b[:], 0); err == nil && n == 1 && b[0] == 0 {
		d.cutJournal(fd)
	}
}

// keepsMode refuses a change of journal mode away from WAL. LiteFS does not
// track page 1 of a WAL database, and its replicas die of the change.
func (f *FS) keepsMode(h *handle, data []byte, off int64) error {
	switch {
	case off != 0:
	case h.node.kind == KindDatabase && len(data) >= 100 && data[18] == 1 && h.node.db.journalMode(h.lower) == modeWAL:
		return f.refuseMode(h.node.db)
	case h.node.kind == KindJournal && bytes.HasPrefix(data, journalMagic) && h.node.db.inWALMode():
		return f.refuseMode(h.node.db)
	}
	return nil
}

// mayJournal refuses the journal by which the change of mode begins.
func (f *FS) mayJournal(d *database) error {
	if d.inWALMode() {
		return f.refuseMode(d)
	}
	return nil
}

func (f *FS) refuseMode(d *database) error {
	f.log.Error("refused to change the journal mode away from WAL: it would kill every replica; copy the database (VACUUM INTO or .dump) into a new one instead",
		"db", d.name)
	return syscall.EPERM
}
