package fusefs

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
)

const errnoAccess = syscall.EACCES

const resultsIntro = `# What SQLite reports on a fenced mount

A write that the fence refuses is an error of the file system to SQLite, and which of its result codes the application sees depends on the journal mode and on what SQLite was doing. This page lists them. It is generated from measurements: ` + "`go test ./fusefs -run TestSQLiteResults -update`" + ` writes it, and the same test without ` + "`-update`" + ` fails where it is no longer true.

How to read it:
- **Go** is mattn/go-sqlite3: extended result code, then the text of the error. **Python** is the ` + "`sqlite3`" + ` module of the standard library; its texts are SQLite's own, and the codes are the same (` + "`sqlite_errorcode`" + ` has them from Python 3.11 on). Other drivers show the same codes.
- **Fails** is the first statement that fails; those before it report success.
- **Transaction**: whether SQLite has rolled the transaction back by itself, or it stays open until the application says ROLLBACK.
- **Reads** are of the same connection and of a new one, while fenced. Where the fence has left a rollback journal behind, LiteFS rolls it back first; that takes milliseconds.
- **Row is there**: whether what was being written is in the database after the fence has lifted.
- **Writes again**: after the fence has lifted, on this connection and on one opened then.

What they have in common: there is no code for "fenced". An application that wants to know asks ` + "`.primary.blocked`" + `, which exists in the mount while it is fenced. An error from COMMIT, or from a statement that commits by itself because no BEGIN came before it, may be *in doubt* (see there): the row can be in the database all the same. SQLITE_CANTOPEN and SQLITE_READONLY are not: they come before anything is written.
`

// result is what the application was told at one moment.
type result struct {
	statement         string
	told              answer
	ended             bool // SQLite had rolled back when the application said ROLLBACK
	reads, readsNew   answer
	row               answer
	writes, writesNew answer
}

var codeNames = map[int]string{
	5: "SQLITE_BUSY", 8: "SQLITE_READONLY", 10: "SQLITE_IOERR", 14: "SQLITE_CANTOPEN",
	266: "SQLITE_IOERR_READ", 778: "SQLITE_IOERR_WRITE", 1034: "SQLITE_IOERR_FSYNC", 1546: "SQLITE_IOERR_TRUNCATE",
	2314: "SQLITE_IOERR_RDLOCK", 2570: "SQLITE_IOERR_DELETE", 3850: "SQLITE_IOERR_LOCK", 517: "SQLITE_BUSY_SNAPSHOT",
	1544: "SQLITE_READONLY_DIRECTORY", 520: "SQLITE_READONLY_CANTLOCK", 776: "SQLITE_READONLY_ROLLBACK",
}

// text is an answer as a cell of the table.
func (a answer) text() string {
	switch {
	case a.Err == "":
		return "ok"
	case a.Ext == 0:
		return a.Err // Python's has no code
	}
	name := codeNames[a.Ext]
	if name == "" {
		name = "code"
	}
	return fmt.Sprintf("%s (%d) %s", name, a.Ext, a.Err)
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// can is a cell that says yes, or why not.
func (a answer) can() string {
	if a.Err == "" {
		return "yes"
	}
	return a.text()
}

// cells are the columns after the journal mode.
func (m *moment) cells(byDriver map[string]result) []string {
	both := func(get func(result) string) string {
		g, p := get(byDriver["Go"]), get(byDriver["Python"])
		if g == p {
			return g
		}
		return "Go: " + g + "; Python: " + p
	}
	transaction := "-"
	if m.inTransaction {
		transaction = both(func(r result) string {
			if r.ended {
				return "rolled back"
			}
			return "open until ROLLBACK"
		})
	}
	return []string{
		both(func(r result) string { return r.statement }),
		byDriver["Go"].told.text(), byDriver["Python"].told.text(),
		transaction,
		both(func(r result) string { return r.reads.can() + " / " + r.readsNew.can() }),
		both(func(r result) string {
			if len(r.row.Rows) != 1 {
				return r.row.text()
			}
			return yes(r.row.Rows[0][0] == "1")
		}),
		both(func(r result) string { return r.writes.can() + " / " + r.writesNew.can() }),
	}
}

// render writes the table of one moment; modes with equal results share a row.
func (m *moment) render(doc *strings.Builder, byMode map[string]map[string]result) {
	fmt.Fprintf(doc, "\n### %s\n\n%s\n\n", m.title, m.text)
	doc.WriteString("| Journal mode | Fails | Go | Python | Transaction | Reads: this / new | Row is there | Writes again: this / new |\n|---|---|---|---|---|---|---|---|\n")
	var rows []string
	modes := map[string][]string{}
	for _, mode := range journalModes {
		if byMode[mode] == nil {
			continue
		}
		row := strings.Join(m.cells(byMode[mode]), " | ")
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
		modes[row] = append(modes[row], mode)
	}
	for _, row := range rows {
		fmt.Fprintf(doc, "| %s | %s |\n", strings.Join(modes[row], ", "), row)
	}
}
