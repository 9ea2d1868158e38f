package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// appCommand is the word that makes this program the application: a process of
// its own, because POSIX locks belong to one.
const appCommand = "app"

// appOptions say what to work at.
type appOptions struct {
	db, op, mode, sync string
	url                string
	rows, checkpoint   int
	length, every      time.Duration
	keep, each         bool
}

// outcome of a turn, as a line of JSON on standard output.
type outcome struct {
	Ops  int             `json:"ops"`
	NS   int64           `json:"ns"`
	Took []time.Duration `json:"took,omitempty"` // each operation, where that is asked for
	Err  string          `json:"err,omitempty"`
}

func (o outcome) rate() float64 { return float64(o.Ops) / time.Duration(o.NS).Seconds() }

func appMain(args []string) int {
	var o appOptions
	fs := flag.NewFlagSet(appCommand, flag.ContinueOnError)
	fs.StringVar(&o.db, "db", "", "database `file`")
	fs.StringVar(&o.op, "op", "", "create, write, post, point, scan or open")
	fs.StringVar(&o.url, "url", "", "where to post, `http://HOST:PORT` of rqlite")
	fs.BoolVar(&o.each, "each", false, "tell how long each operation took")
	fs.StringVar(&o.mode, "mode", "wal", "journal `mode` for create")
	fs.StringVar(&o.sync, "sync", "FULL", "PRAGMA synchronous")
	fs.IntVar(&o.rows, "rows", 1, "rows of the table that is read")
	fs.DurationVar(&o.length, "for", 0, "how long a turn is")
	fs.IntVar(&o.checkpoint, "checkpoint", 1000, "PRAGMA wal_autocheckpoint")
	fs.DurationVar(&o.every, "every", 0, "pause between operations")
	fs.BoolVar(&o.keep, "keep", false, "another connection stays open meanwhile")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	out := json.NewEncoder(os.Stdout)
	if err := o.run(os.Stdin, out); err != nil {
		_ = out.Encode(outcome{Err: brief(err)})
		return 1
	}
	return 0
}

// run gets ready, says so, and takes a turn for every line that it reads.
func (o appOptions) run(orders io.Reader, out *json.Encoder) error {
	db, err := o.open()
	if err != nil {
		return err
	}
	defer db.Close()
	if o.op == "create" {
		if err := o.create(db); err != nil {
			return err
		}
		return out.Encode(outcome{})
	}
	op, err := o.operation(db)
	if err != nil {
		return err
	}
	// Not counted: it fills the kernel's cache, which an open may have emptied.
	if err := op(); err != nil {
		return err
	}
	if err := out.Encode(outcome{}); err != nil {
		return err
	}
	for s := bufio.NewScanner(orders); s.Scan(); {
		sum, err := o.turn(op)
		if err != nil {
			return err
		}
		if err := out.Encode(sum); err != nil {
			return err
		}
	}
	return nil
}

// brief is the system's error where SQLite had one, else SQLite's.
func brief(err error) string {
	var e sqlite3.Error
	if errors.As(err, &e) && e.SystemErrno != 0 {
		return unix.ErrnoName(e.SystemErrno)
	}
	return err.Error()
}

// turn repeats op until the time is over.
func (o appOptions) turn(op func() error) (sum outcome, err error) {
	for begin := time.Now(); sum.NS < int64(o.length); sum.NS = int64(time.Since(begin)) {
		start := time.Now()
		if err := op(); err != nil {
			return sum, err
		}
		sum.Ops++
		if o.each {
			sum.Took = append(sum.Took, time.Since(start))
		}
		time.Sleep(o.every)
	}
	return sum, nil
}

// open is one connection, made at its first use, with SQLite's defaults: its
// page cache of 2 MB holds a twelfth of the table.
func (o appOptions) open() (*sql.DB, error) {
	dsn := fmt.Sprintf("file:%s?_busy_timeout=5000&_synchronous=%s", (&url.URL{Path: o.db}).EscapedPath(), o.sync)
	db, err := sql.Open("sqlite3", dsn)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

const (
	createSQL = "CREATE TABLE log (id INTEGER PRIMARY KEY, x BLOB)"
	writeSQL  = "INSERT INTO log (x) VALUES (zeroblob(100))"
	pointSQL  = "SELECT x FROM t WHERE id = ?"
	scanSQL   = "SELECT sum(length(x)) FROM t"
)

// operation prepares what is counted.
func (o appOptions) operation(db *sql.DB) (op func() error, err error) {
	var stmt *sql.Stmt
	var sum int
	switch o.op {
	case "write":
		if _, err := db.Exec(fmt.Sprintf("PRAGMA wal_autocheckpoint=%d", o.checkpoint)); err != nil {
			return nil, err
		}
		stmt, err = db.Prepare(writeSQL)
		op = func() error { _, err := stmt.Exec(); return err }
	case "post":
		client := &http.Client{Transport: new(http.Transport)} // no proxy; keeps its one connection
		op = func() error { return execute(client, o.url, writeSQL) }
	case "scan":
		stmt, err = db.Prepare(scanSQL)
		op = func() error { return stmt.QueryRow().Scan(&sum) }
	case "point":
		// All of the file comes into the kernel's cache first, in order.
		if err := db.QueryRow(scanSQL).Scan(&sum); err != nil {
			return nil, err
		}
		stmt, err = db.Prepare(pointSQL)
		op = func() error { return fetch(stmt.Query(o.random())) }
	case "open":
		if o.keep {
			err = o.pick(db)
		}
		op = o.openQueryClose
	default:
		err = fmt.Errorf("unknown -op %q", o.op)
	}
	return op, err
}

func (o appOptions) openQueryClose() error {
	db, err := o.open()
	if err != nil {
		return err
	}
	return errors.Join(o.pick(db), db.Close())
}

// pick reads one row at random.
func (o appOptions) pick(db *sql.DB) error { return fetch(db.Query(pointSQL, o.random())) }

func (o appOptions) random() int { return 1 + rand.IntN(o.rows) }

// fetch takes the one row of a query, without a copy.
func fetch(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	var x sql.RawBytes
	if !rows.Next() {
		return fmt.Errorf("no such row (%v)", rows.Err())
	}
	if err := rows.Scan(&x); err != nil {
		return err
	}
	return rows.Close()
}

// create makes the tables. Two rows fill a page: t is rows/2 pages long. The
// content is the same in every database.
func (o appOptions) create(db *sql.DB) error {
	for _, s := range []string{
		"PRAGMA journal_mode=" + o.mode,
		createSQL,
		"CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)",
		fmt.Sprintf("WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d) INSERT INTO t SELECT i, CAST(printf('%%1900d', i) AS BLOB) FROM n", o.rows),
	} {
		if _, err := db.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}
