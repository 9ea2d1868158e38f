package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

// appCommand is the word that makes this program the application: a process of
// its own, because POSIX locks belong to one.
const appCommand = "app"

// appOptions say what to work at.
type appOptions struct {
	db, op, mode, sync string
	rows, checkpoint   int
	length, every      time.Duration
	keep               bool
}

// outcome of a turn, as a line of JSON on standard output.
type outcome struct {
	Ops int    `json:"ops"`
	NS  int64  `json:"ns"`
	Err string `json:"err,omitempty"`
}

func (o outcome) rate() float64 { return float64(o.Ops) / time.Duration(o.NS).Seconds() }

func appMain(args []string) int {
	var o appOptions
	fs := flag.NewFlagSet(appCommand, flag.ContinueOnError)
	fs.StringVar(&o.db, "db", "", "database `file`")
	fs.StringVar(&o.op, "op", "", "create, write, point, scan or open")
	fs.StringVar(&o.mode, "mode", "wal", "journal `mode` for create")
	fs.StringVar(&o.sync, "sync", "FULL", "PRAGMA synchronous")
	fs.IntVar(&o.rows, "rows", 0, "rows of the table that is read")
	fs.DurationVar(&o.length, "for", 0, "how long a turn is")
	fs.IntVar(&o.checkpoint, "checkpoint", 1000, "PRAGMA wal_autocheckpoint")
	fs.DurationVar(&o.every, "every", 0, "pause between operations")
	fs.BoolVar(&o.keep, "keep", false, "another connection stays open meanwhile")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if err := o.run(os.Stdin, json.NewEncoder(os.Stdout)); err != nil {
		return 1
	}
	return 0
}

// run gets ready, says so, and takes a turn for every line that it reads.
func (o appOptions) run(orders io.Reader, out *json.Encoder) (err error) {
	defer func() {
		if err != nil {
			_ = out.Encode(outcome{Err: err.Error()})
		}
	}()
	if o.op == "create" {
		if err := o.create(); err != nil {
			return err
		}
		return out.Encode(outcome{})
	}
	if o.keep {
		db, err := o.open()
		if err != nil {
			return err
		}
		defer db.Close()
		if err := o.pick(db); err != nil {
			return err
		}
	}
	op, done, err := o.operation()
	if err != nil {
		return err
	}
	defer done()
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

// turn repeats op until the time is over.
func (o appOptions) turn(op func() error) (sum outcome, err error) {
	for begin := time.Now(); sum.NS < int64(o.length); sum.NS = int64(time.Since(begin)) {
		if err := op(); err != nil {
			return sum, fmt.Errorf("%w after %v", err, time.Since(begin).Round(time.Millisecond))
		}
		sum.Ops++
		time.Sleep(o.every)
	}
	return sum, nil
}

// open opens one connection with SQLite's defaults: 2 MB of page cache, which
// holds a twelfth of the table.
func (o appOptions) open() (*sql.DB, error) {
	dsn := fmt.Sprintf("file:%s?_busy_timeout=5000&_synchronous=%s", (&url.URL{Path: o.db}).EscapedPath(), o.sync)
	db, err := sql.Open("sqlite3", dsn)
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

const (
	pointSQL = "SELECT x FROM t WHERE id = ?"
	scanSQL  = "SELECT sum(length(x)) FROM t"
)

// operation prepares what is counted; done ends it.
func (o appOptions) operation() (op func() error, done func(), err error) {
	if o.op == "open" {
		return o.openQueryClose, func() {}, nil
	}
	db, err := o.open()
	if err != nil {
		return nil, nil, err
	}
	done = func() { db.Close() }
	text := map[string]string{"write": "INSERT INTO log (x) VALUES (?)", "point": pointSQL, "scan": scanSQL}[o.op]
	if _, err := db.Exec(fmt.Sprintf("PRAGMA wal_autocheckpoint=%d", o.checkpoint)); err != nil {
		done()
		return nil, nil, err
	}
	stmt, err := db.Prepare(text)
	if err != nil {
		done()
		return nil, nil, err
	}
	var sum int
	row := make([]byte, 100)
	switch o.op {
	case "write":
		return func() error { _, err := stmt.Exec(row); return err }, done, nil
	case "scan":
		return func() error { return stmt.QueryRow().Scan(&sum) }, done, nil
	}
	// The pages of the file come into the kernel's cache first, in order.
	err = db.QueryRow(scanSQL).Scan(&sum)
	return func() error { return fetch(stmt.Query(o.random())) }, done, err
}

func (o appOptions) openQueryClose() error {
	db, err := o.open()
	if err != nil {
		return err
	}
	if err := o.pick(db); err != nil {
		db.Close()
		return err
	}
	return db.Close()
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
func (o appOptions) create() error {
	db, err := o.open()
	if err != nil {
		return err
	}
	defer db.Close()
	for _, s := range []string{
		"PRAGMA journal_mode=" + o.mode,
		"CREATE TABLE log (id INTEGER PRIMARY KEY, x BLOB)",
		"CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)",
	} {
		if _, err := db.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	random := rand.NewChaCha8([32]byte{})
	x := make([]byte, 1900)
	for done := 0; done < o.rows; {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		for end := min(done+1000, o.rows); done < end; done++ {
			_, _ = random.Read(x)
			if _, err := tx.Exec("INSERT INTO t (x) VALUES (?)", x); err != nil {
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}
