package fusefs

import (
	"errors"
	"os"

	"github.com/stretchr/testify/require"
)

// A moment is where the fence meets the application.
type moment struct {
	title, text   string
	walOnly       bool
	before        func(*scene) // up to and including the fence
	open          bool         // the attempt is made on a new connection
	attempt       []string     // until one fails
	inTransaction bool
}

const (
	fencedRow = "INSERT INTO t VALUES ('fenced')"
	// fencedRows do not fit into a cache of five pages.
	fencedRows = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<400) INSERT INTO t SELECT 'fenced' || hex(randomblob(1500)) FROM c"
)

// begun runs statements and then engages the fence.
func begun(statements ...string) func(*scene) {
	return func(s *scene) {
		for _, stmt := range statements {
			s.must(stmt)
		}
		s.fence()
	}
}

var resultMoments = []*moment{
	{
		title: "Idle", text: "No transaction is open. The fence engages, then the application writes.",
		before: begun(), attempt: []string{fencedRow},
	},
	{
		title: "After BEGIN IMMEDIATE", text: "The transaction has its lock and has written nothing.",
		before: begun("BEGIN IMMEDIATE"), attempt: []string{fencedRow, "COMMIT"}, inTransaction: true,
	},
	{
		title: "After the first write", text: "The row is in the connection's page cache.",
		before: begun("BEGIN IMMEDIATE", fencedRow), attempt: []string{"COMMIT"}, inTransaction: true,
	},
	{
		title: "After a cache spill",
		text:  "Part of the transaction is in the database file (in WAL mode: in the `-wal`). In the rollback modes LiteFS has rolled the journal back by the time of COMMIT; a COMMIT within the milliseconds that this takes is told SQLITE_IOERR_WRITE (778) instead.",
		before: func(s *scene) {
			repairs := s.fs.Stats().Repairs
			begun("PRAGMA cache_size=5", "BEGIN IMMEDIATE", fencedRows)(s)
			s.eventually(func() bool { return s.mode == "WAL" || s.fs.Stats().Repairs > repairs }, "rolled back")
		},
		attempt: []string{"COMMIT"}, inTransaction: true,
	},
	{
		title: "In COMMIT, before the commit point",
		text:  "The lease ends while COMMIT runs: all pages are written, the journal is still there (in WAL mode: the commit frame is written, and LiteFS has not seen it).",
		before: func(s *scene) {
			s.must("BEGIN IMMEDIATE")
			s.must(fencedRow)
			if s.mode == "WAL" {
				s.fs.hooks.afterCommitFrame.set(func(string) { s.gate.Revoke() })
				return
			}
			s.endLeaseOnce("fenced")
		},
		attempt: []string{"COMMIT"}, inTransaction: true,
	},
	{
		title: "In COMMIT, at the commit point",
		text:  "LiteFS has carried the commit out, and the lease has ended by the time of the second look: the commit is **in doubt**, as after a lost connection. The error does not say that the row is not there.",
		before: func(s *scene) {
			s.must("BEGIN IMMEDIATE")
			s.must(fencedRow)
			s.onConfirm(func() error { return errors.New("nobody confirms") })
			if s.cfg.Confirm == nil {
				s.fs.hooks.afterCommit.set(func(string) { s.gate.Revoke() })
			}
		},
		attempt: []string{"COMMIT"}, inTransaction: true,
	},
	{
		title: "New connection", text: "The connection is opened while fenced; the old one is still open.",
		before: begun(), open: true, attempt: []string{"SELECT count(*) FROM t", fencedRow},
	},
	{
		title: "New connection, `-wal` and `-shm` are missing", walOnly: true,
		text: "The last connection was closed before the fence, which removes both files. The connection that is opened while fenced has to make them.",
		before: func(s *scene) {
			require.Empty(s.t, s.a.do(order{Op: "close", Conn: "c"}).Err)
			for _, suffix := range []string{"-wal", "-shm"} {
				_, err := os.Stat(s.path(s.name() + suffix))
				require.ErrorIs(s.t, err, os.ErrNotExist)
			}
			s.fence()
		},
		open: true, attempt: []string{"SELECT count(*) FROM t", fencedRow},
	},
}

var resultVariants = []variant{
	{
		name: "default", title: "Default: `policy.errno: EROFS`, `policy.open: allow`",
		text: "Every connection that was opened for writing writes again after the fence, whenever it was opened.",
		set:  func(*Config) {},
	},
	{
		name: "EACCES", title: "`policy.errno: EACCES`",
		text: "The errno that LiteFS gives on its replicas. Some of the moments above.",
		set:  func(c *Config) { c.Errno = errnoAccess },
		only: []string{"Idle", "After the first write", "After a cache spill", "New connection"},
	},
	{
		name: "deny", title: "`policy.open: deny`",
		text: "A database cannot be opened for writing while fenced. SQLite then opens it for reading only, and the connection stays so for its life: it suits applications that open a connection for each request.",
		set:  func(c *Config) { c.OpenDeny = true },
		only: []string{"Idle", "New connection", "New connection, `-wal` and `-shm` are missing"},
	},
	{
		name: "confirm", title: "`quorum.confirm: quorum` or `replicated`",
		text: "The lease is still there, but the commit is not confirmed: it is in doubt in the same way. In DELETE mode the wait is not in the unlink of the journal but in the lock request after it, hence the other error.",
		set:  func(*Config) {}, confirms: true,
		only: []string{"In COMMIT, at the commit point"},
	},
}
