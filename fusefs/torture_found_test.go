package fusefs

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the torture has found, each by a recipe of its own.

// A read transaction that a change of role cuts off gets an error that SQLite
// does not take for corruption: it turns EIO from a read into SQLITE_CORRUPT
// (os_unix.c, unixRead: SQLITE_IOERR_CORRUPTFS; vdbe.c, abort_due_to_error),
// and an application that is told so may set its database aside.
func TestCutReaderIsNotToldOfCorruption(t *testing.T) {
	forEachMode(t, func(t *testing.T, r *rig, a *app, mode string) {
		a.must("old", "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<300) INSERT INTO t SELECT randomblob(3000) FROM c")
		b := startApp(t)
		b.open("b", r.path("db"))
		b.must("b", "PRAGMA cache_size=5")
		b.must("b", "BEGIN")
		require.Equal(t, "301", b.value("b", "SELECT count(*) FROM t"))
		r.fence()
		release := r.fs.Quiesce(context.Background(), 0)
		r.eventually(func() bool { return r.fs.Stats().CutReaders > 0 }, "cut off")
		ans := b.do(order{Op: "query", Conn: "b", Arg: "SELECT sum(length(x)) FROM t"})
		release()
		require.Equal(t, 10, ans.Code, "IOERR: %+v", ans)
		_ = b.exec("b", "ROLLBACK")
		require.Equal(t, "ok", b.value("b", "PRAGMA integrity_check"))
	})
}

// In PERSIST mode a journal keeps the segments of an older, larger transaction
// behind those of the present one. LiteFS reads on into them when it rolls a
// journal back of which it takes the length from the file (db.go,
// JournalReader.Next): it restores pages of another time, and truncates the
// database to the size that it had then. SQLite stops at the end of its own.
func TestHaltOfAPersistentJournal(t *testing.T) {
	halt := func(r *rig) { require.NoError(r.t, r.halt(context.Background(), "db")) }
	for name, c := range map[string]struct {
		sync   string
		repair func(r *rig)
	}{
		// OFF: the header says that the length tells how many pages follow.
		"by HALT":      {"OFF", halt},
		"by the fence": {"OFF", (*rig).fence},
		// FULL: it says so too until it is synced, for LiteFS; for SQLite the
		// journal is not hot. A change of role does this.
		"by HALT, not synced": {"FULL", halt},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			a := startApp(t)
			openDB(r, a, "a", "PERSIST")
			for _, stmt := range []string{"CREATE TABLE x (n)", "CREATE TABLE y (n)", "CREATE TABLE z (b)",
				"INSERT INTO x VALUES (0)", "INSERT INTO y VALUES (0)", "INSERT INTO z VALUES (0)"} {
				a.must("a", stmt)
			}
			touch := []string{"BEGIN IMMEDIATE", "UPDATE x SET n = n + 1", "UPDATE y SET n = n + 1"}
			big := startApp(t)
			openDB(r, big, "a", "PERSIST")
			big.must("a", "PRAGMA cache_size=5")
			for _, stmt := range append(touch, "INSERT INTO z VALUES (randomblob(300000))", "COMMIT") {
				big.must("a", stmt) // it spills, and begins a second segment
			}
			big.kill()
			journal := filepath.Join(r.lower, "db-journal")
			older := secondSegment(t, journal)
			b := startApp(t)
			openDB(r, b, "a", "PERSIST")
			b.must("a", "PRAGMA synchronous="+c.sync)
			for _, stmt := range append(touch, "UPDATE z SET b = 1 WHERE length(b) = 1") {
				b.must("a", stmt)
			}
			if end := endOfSegment(t, journal); older > 0 {
				require.Equal(t, older, end, "the recipe: the older segment begins where this one ends")
			}
			b.kill()
			pos := r.pos("db")
			c.repair(r)
			r.eventually(func() bool { return !hotJournal(r) }, "no hot journal")
			require.Equal(t, pos, r.pos("db"))
			require.Equal(t, "ok", a.value("a", "PRAGMA integrity_check"))
			require.Equal(t, "1", a.value("a", "SELECT count(*) FROM z WHERE length(b) = 300000"))
		})
	}
}

// secondSegment returns where a finished transaction has left the header of its
// second segment; 0 where nothing is left of it.
func secondSegment(t *testing.T, path string) int {
	j, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return 0
	}
	require.NoError(t, err)
	for at := journalSector; at+len(journalMagic) <= len(j); at += journalSector {
		if bytes.Equal(j[at:at+len(journalMagic)], journalMagic) {
			return at
		}
	}
	return 0
}

const journalSector = 512

// endOfSegment returns where the header of the next segment would stand.
func endOfSegment(t *testing.T, path string) int {
	t.Helper()
	const frame = 4 + 4096 + 4
	j, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Greater(t, len(j), journalSector+frame)
	end := journalSector
	for end+frame <= len(j) && binary.BigEndian.Uint32(j[end+frame-4:]) == journalSum(j[end+4:end+frame-4], j[12:16]) {
		end += frame
	}
	return (end + journalSector - 1) / journalSector * journalSector
}

// journalSum is the checksum of a journalled page (pager.c, pager_cksum).
func journalSum(page, nonce []byte) uint32 {
	sum := binary.BigEndian.Uint32(nonce)
	for i := len(page) - 200; i > 0; i -= 200 {
		sum += uint32(page[i])
	}
	return sum
}

// A WAL writer that began on a fully checkpointed WAL (READ0) starts its first
// frame by giving its READ lock up and taking another (wal.c, walRestartLog).
// Where a change of role has cut it off meanwhile and LiteFS's index was
// carried, it never finds the header that it began with: it tries a hundred
// times, which is 10 s and more, and ends with SQLITE_PROTOCOL. Other writers
// wait for it that long, as for any writer: it would clean its entries out of
// the index that they share (wal.c, sqlite3WalUndo), and theirs with them.
func TestCutWriterEndsByItself(t *testing.T) {
	r, a := walRig(t)
	a.must("c", "PRAGMA wal_checkpoint(FULL)")
	a.must("c", "BEGIN IMMEDIATE")
	a.must("c", "INSERT INTO t VALUES ('cut off')")
	r.fence()
	release := r.fs.Quiesce(context.Background(), 0)
	require.NoError(t, r.halt(context.Background(), "db"))
	release()
	r.reopen(2)
	b := startApp(t)
	b.open("b", r.path("db"))
	b.must("b", "PRAGMA busy_timeout=60000")
	require.Equal(t, "1", b.value("b", "SELECT count(*) FROM t"))
	require.Positive(t, r.fs.Stats().Carried)
	a.send(order{Op: "exec", Conn: "c", Arg: "COMMIT"})
	b.must("b", "INSERT INTO t VALUES ('two')")
	ans := a.receive()
	require.NotEmpty(t, ans.Err, "it was cut off")
	require.Equal(t, "2", b.value("b", "SELECT count(*) FROM t"))
}
