package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// store is the notes in a SQLite database.
type store struct {
	path string
	db   *sql.DB
}

type note struct {
	ID   int64  `json:"id"`
	Text string `json:"text"`
	Node string `json:"node"` // who was primary when it was added
	Time string `json:"time"`
}

// refused says that this node may not write.
type refused struct {
	primary string // who may; "" where that is not known
	cause   error
}

func (r refused) Error() string {
	return fmt.Sprintf("this node may not write (primary: %q): %v", r.primary, r.cause)
}

func (r refused) Unwrap() error { return r.cause }

// openStore touches no file yet: the mount may have no primary, and then no
// database can be made.
func openStore(path string) (*store, error) {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	// What is open when litefence or LiteFS dies stays dead; a new connection works.
	db.SetConnMaxLifetime(5 * time.Second)
	return &store{path, db}, nil
}

func (s *store) close() error { return s.db.Close() }

// list returns all notes; none where there is no database yet, as on a new
// replica.
func (s *store) list(ctx context.Context) ([]note, error) {
	notes := []note{}
	if _, err := os.Stat(s.path); errors.Is(err, os.ErrNotExist) {
		return notes, nil // opening it would make it, or try to
	}
	rows, err := s.db.QueryContext(ctx, "SELECT id, text, node, time FROM notes ORDER BY id")
	if err != nil {
		if strings.Contains(err.Error(), "no such table") {
			return notes, nil
		}
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n note
		if err := rows.Scan(&n.ID, &n.Text, &n.Node, &n.Time); err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, rows.Err()
}

// add stores a note. The error is a refused where this node may not write.
func (s *store) add(ctx context.Context, text, node string) (note, error) {
	n := note{Text: text, Node: node, Time: time.Now().UTC().Format(time.RFC3339Nano)}
	err := s.prepare(ctx)
	if err == nil {
		err = s.db.QueryRowContext(ctx, "INSERT INTO notes (text, node, time) VALUES (?, ?, ?) RETURNING id",
			n.Text, n.Node, n.Time).Scan(&n.ID)
	}
	if readOnly(err) && s.blocked() {
		return n, refused{s.primary(), err}
	}
	return n, err
}

// prepare makes the table where there is none. Not at the start of the program:
// nobody may be primary then.
func (s *store) prepare(ctx context.Context) error {
	for _, q := range []string{
		"PRAGMA journal_mode = WAL",
		"CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL, node TEXT NOT NULL, time TEXT NOT NULL)",
	} {
		if _, err := s.db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// readOnly reports an error with which SQLite says that the file system refused a
// write: which one depends on the moment (docs/sqlite-results.md).
func readOnly(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return true
	}
	return false
}

// primary is who may write: LiteFS says so in .primary beside the database on
// every other node. "": this node, or nobody that is known.
func (s *store) primary() string {
	name, _ := os.ReadFile(filepath.Join(filepath.Dir(s.path), ".primary"))
	if who := strings.TrimSpace(string(name)); who != "no-primary.invalid" {
		return who
	}
	return ""
}

// blocked reports that this node may not write.
func (s *store) blocked() bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(s.path), ".primary.blocked"))
	return err == nil
}
