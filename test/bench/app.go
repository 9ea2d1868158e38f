package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// appCommand is the word that makes this program the application: a process of
// its own, because POSIX locks belong to one.
const appCommand = "app"

// appOptions are one slice of work.
type appOptions struct {
	db, op, mode, sync string
	rows               int
	start              int64 // CLOCK_MONOTONIC in ns, so that several begin together
	length, every      time.Duration
	keep               bool
}

// outcome of a slice, as a line of JSON on standard output.
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
	fs.Int64Var(&o.start, "start", 0, "begin to count not before")
	fs.DurationVar(&o.length, "for", 0, "how long to count; SIGTERM ends it sooner")
	fs.DurationVar(&o.every, "every", 0, "pause between operations")
	fs.BoolVar(&o.keep, "keep", false, "another connection stays open meanwhile")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	out, err := o.run(ctx)
	if err != nil {
		out.Err = err.Error()
	}
	if json.NewEncoder(os.Stdout).Encode(out) != nil || err != nil {
		return 1
	}
	return 0
}

func (o appOptions) run(ctx context.Context) (outcome, error) {
	if o.op == "create" {
		return outcome{}, o.create()
	}
	if o.keep {
		db, err := o.open()
		if err != nil {
			return outcome{}, err
		}
		defer db.Close()
		if err := o.pick(db); err != nil {
			return outcome{}, err
		}
	}
	op, done, err := o.operation()
	if err != nil {
		return outcome{}, err
	}
	defer done()
	return o.count(ctx, op)
}

// count repeats op until the time is over. The first one is not counted: it
// fills the kernel's cache, which an open may have emptied.
func (o appOptions) count(ctx context.Context, op func() error) (out outcome, err error) {
	if err := op(); err != nil {
		return out, err
	}
	time.Sleep(time.Duration(o.start - now()))
	for begin := now(); out.NS < int64(o.length) && ctx.Err() == nil; out.NS = now() - begin {
		if err := op(); err != nil {
			return out, err
		}
		out.Ops++
		time.Sleep(o.every)
	}
	return out, nil
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

// now is CLOCK_MONOTONIC, which all processes of a machine share.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock id is a constant
	}
	return ts.Nano()
}
