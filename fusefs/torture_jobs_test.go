package fusefs

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// The database of the torture. t holds a row, or several, of every
// transaction; inv holds eight rows that every counting transaction changes
// together: seq is the same in all of them, bal has the sum 0. A counting
// transaction leaves its number in its first row of t, so that inv, t and its
// index must agree in every snapshot. x is made of len and ch: a page that is
// old or another's shows.
var tortureSchema = []string{
	"CREATE TABLE t (id TEXT, part INTEGER, parts INTEGER, seq INTEGER, len INTEGER, ch TEXT, x TEXT, PRIMARY KEY (id, part))",
	"CREATE INDEX t_seq ON t (seq) WHERE seq > 0",
	"CREATE TABLE inv (k INTEGER PRIMARY KEY, seq INTEGER, bal INTEGER)",
	"INSERT INTO inv VALUES (0,0,0),(1,0,0),(2,0,0),(3,0,0),(4,0,0),(5,0,0),(6,0,0),(7,0,0)",
}

const (
	invRows   = 8
	lastSeen  = 50 // numbered rows that a read counts
	filling   = "printf('%.*c', len, ch)"
	invState  = "SELECT (SELECT count(*) FROM inv WHERE seq = (SELECT max(seq) FROM inv)), (SELECT sum(bal) FROM inv), (SELECT max(seq) FROM inv), (SELECT ifnull(max(seq),0) FROM t WHERE seq > 0), (SELECT count(*) FROM t WHERE seq > 0 AND seq > (SELECT max(seq) FROM inv) - 50)"
	newestBad = "SELECT count(*) FROM (SELECT len, ch, x FROM t ORDER BY rowid DESC LIMIT 20) WHERE x IS NOT " + filling
	numbered  = "SELECT count(*) FROM t WHERE seq > 0 AND seq = (SELECT max(seq) FROM inv) AND x IS NOT " + filling
)

// writeJob makes a transaction. Most count; some are a single INSERT, some are
// rolled back by the application.
func writeJob(rng *rand.Rand, a *attempt) []string {
	a.parts = 1
	if rng.IntN(4) == 0 {
		a.single = true
		return []string{insert(rng, a, 0, false)}
	}
	counts := rng.IntN(5) > 0
	a.parts += rng.IntN(3)
	stmts := []string{"BEGIN IMMEDIATE"}
	if rng.IntN(5) == 0 {
		// A deferred one: it reads first and may find its snapshot too old.
		stmts = []string{"BEGIN", "SELECT count(*) FROM inv"}
	}
	if counts {
		stmts = append(stmts, countOn(rng)...)
	}
	for part := range a.parts {
		stmts = append(stmts, insert(rng, a, part, counts && part == 0))
	}
	a.last = len(stmts)
	if rng.IntN(12) == 0 {
		a.abort = true
		return append(stmts, "ROLLBACK")
	}
	return append(stmts, "COMMIT")
}

// countOn takes the next number, in all rows of inv.
func countOn(rng *rand.Rand) []string {
	from, to, d := rng.IntN(invRows), rng.IntN(invRows), rng.IntN(1000)
	return []string{"UPDATE inv SET seq = seq + 1",
		fmt.Sprintf("UPDATE inv SET bal = bal - %d WHERE k = %d", d, from),
		fmt.Sprintf("UPDATE inv SET bal = bal + %d WHERE k = %d", d, to)}
}

// countingJob makes a transaction that counts and inserts one row.
func countingJob(rng *rand.Rand, a *attempt) []string {
	a.parts = 1
	stmts := append([]string{"BEGIN IMMEDIATE"}, countOn(rng)...)
	stmts = append(stmts, insert(rng, a, 0, true), "COMMIT")
	a.last = len(stmts) - 1
	return stmts
}

func insert(rng *rand.Rand, a *attempt, part int, counts bool) string {
	size := 1 + rng.IntN(2000)
	switch rng.IntN(30) {
	case 0:
		size = 1 + rng.IntN(300_000) // spills a small cache: frames and pages before the commit
	case 1, 2:
		size = 1 + rng.IntN(30_000)
	}
	seq := "0"
	if counts {
		seq = "(SELECT max(seq) FROM inv)"
	}
	return fmt.Sprintf("INSERT INTO t SELECT id, %d, %d, %s, len, ch, %s FROM (SELECT '%s' AS id, %d AS len, '%c' AS ch)",
		part, a.parts, seq, filling, a.id, size, 'a'+rune(rng.IntN(26)))
}

// readJob asks for one snapshot, twice, with something between.
func readJob(rng *rand.Rand) []string {
	if rng.IntN(3) == 0 {
		return []string{invState} // by itself, without a transaction around it
	}
	return []string{"BEGIN", invState, newestBad, numbered, invState, "COMMIT"}
}

// judge reads the answer of a readJob.
func (l *look) judge() {
	var snaps [][]string
	for _, r := range l.reply.Rows {
		if len(r) == 1 && r[0] != "0" {
			l.bad = "the content of a row is wrong"
		}
		if len(r) > 1 {
			snaps = append(snaps, r)
		}
	}
	if len(snaps) == 0 {
		l.bad = fmt.Sprintf("no snapshot in %v", l.reply.Rows)
		return
	}
	for _, s := range snaps[1:] {
		if fmt.Sprint(s) != fmt.Sprint(snaps[0]) {
			l.bad = fmt.Sprintf("one transaction saw two snapshots: %v", snaps)
		}
	}
	n := make([]int, len(snaps[0]))
	for i, v := range snaps[0] {
		n[i], _ = strconv.Atoi(v)
	}
	if l.seq = n[2]; n[0] != invRows || n[1] != 0 || n[3] != n[2] || n[4] != min(n[2], lastSeen) {
		l.bad = fmt.Sprintf("the invariant is broken (rows alike, sum, number, number in t, numbers counted): %v", n)
	}
}

// setupOf is what an application does with a new connection.
func setupOf(rng *rand.Rand, mode string, writer bool) (stmts []string) {
	if writer {
		stmts = append(stmts, "PRAGMA synchronous="+pick(rng, "NORMAL", "FULL", "OFF"))
		// PERSIST and TRUNCATE belong to a connection, not to the database.
		if mode != "WAL" {
			stmts = append(stmts, "PRAGMA journal_mode="+mode)
		} else {
			stmts = append(stmts, "PRAGMA wal_autocheckpoint="+pick(rng, "5", "50", "1000"))
		}
	}
	if rng.IntN(2) == 0 {
		stmts = append(stmts, "PRAGMA cache_size=5")
	}
	if rng.IntN(3) == 0 {
		stmts = append(stmts, "PRAGMA mmap_size=268435456")
	}
	return stmts
}

func pick(rng *rand.Rand, from ...string) string { return from[rng.IntN(len(from))] }
