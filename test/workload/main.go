package workload

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // SQLite without cgo, so that the demo needs no C compiler of its user
)

type options struct {
	db       string
	name     string
	interval time.Duration
	backoff  time.Duration
	timeout  time.Duration
	reopen   bool
}

// Main is the application: args are the words after Command.
func Main(args []string) int {
	if len(args) == 0 {
		args = []string{""}
	}
	var o options
	fs := flag.NewFlagSet(Command, flag.ContinueOnError)
	fs.StringVar(&o.db, "db", "", "database `file`")
	fs.StringVar(&o.name, "name", "w", "prefix of the rows written")
	fs.DurationVar(&o.interval, "interval", 10*time.Millisecond, "pause between operations")
	fs.DurationVar(&o.backoff, "backoff", 25*time.Millisecond, "pause after an error")
	fs.DurationVar(&o.timeout, "timeout", 100*time.Millisecond, "SQLite's busy timeout")
	fs.BoolVar(&o.reopen, "reopen", false, "open a new connection after an error")
	if err := fs.Parse(args[1:]); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch args[0] {
	case "write":
		return loop(ctx, o, write)
	case "read":
		return loop(ctx, o, read)
	case "sql":
		return runSQL(ctx, o, fs.Args())
	}
	fmt.Fprintf(os.Stderr, "%s: unknown word %q; allowed: write, read, sql\n", Command, args[0])
	return 2
}

func open(o options) (*sql.DB, error) {
	dsn := "file:" + (&url.URL{Path: o.db}).EscapedPath() +
		fmt.Sprintf("?_pragma=busy_timeout(%d)&_txlock=immediate", o.timeout.Milliseconds())
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	// One connection, kept: what is tested is that it survives the fence.
	db.SetMaxOpenConns(1)
	db.SetConnMaxLifetime(0)
	db.SetConnMaxIdleTime(0)
	return db, nil
}

type operation func(ctx context.Context, db *sql.DB, o options, n int) Event

// loop repeats op until it is told to end. An operation under way is finished,
// so that every acknowledgement is reported.
func loop(ctx context.Context, o options, op operation) int {
	db, err := open(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	emit(Event{Op: "ready", Start: Now(), End: Now()})
	for n := 1; ctx.Err() == nil; n++ {
		e := op(context.Background(), db, o, n)
		emit(e)
		pause := o.interval
		if !e.OK() {
			pause = o.backoff
			if o.reopen {
				_ = db.Close()
				if db, err = open(o); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return 1
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	_ = db.Close()
	return 0
}

// write inserts one row, never the same twice: an error may be in doubt, and a
// second try would hide which of the two it was.
func write(ctx context.Context, db *sql.DB, o options, n int) Event {
	e := Event{Op: "write", ID: fmt.Sprintf("%s-%d", o.name, n), Start: Now()}
	_, err := db.ExecContext(ctx, "INSERT INTO acked (id) VALUES (?)", e.ID)
	e.End = Now()
	return e.failed(err)
}

func read(ctx context.Context, db *sql.DB, _ options, _ int) Event {
	e := Event{Op: "read", Start: Now()}
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM acked").Scan(&e.Rows)
	e.End = Now()
	return e.failed(err)
}

func (e Event) failed(err error) Event {
	if err != nil {
		e.Err = err.Error()
	}
	return e
}

// runSQL executes each statement and prints all rows of all results as one
// JSON array of strings, columns joined by "|".
func runSQL(ctx context.Context, o options, statements []string) int {
	db, err := open(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer db.Close()
	rows := []string{}
	for _, s := range statements {
		got, err := query(ctx, db, s)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", s, err)
			return 1
		}
		rows = append(rows, got...)
	}
	if json.NewEncoder(os.Stdout).Encode(rows) != nil {
		return 1
	}
	return 0
}

func query(ctx context.Context, db *sql.DB, statement string) (out []string, err error) {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	cells := make([]sql.NullString, len(cols))
	into := make([]any, len(cols))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		words := make([]string, len(cells))
		for i, c := range cells {
			words[i] = c.String
		}
		out = append(out, strings.Join(words, "|"))
	}
	return out, rows.Err()
}
