// Package app is the applications of the torture: processes of their own, for
// POSIX locks belong to one, that write to or read from a SQLite database and
// report every operation. The harness starts the binary that it is itself part
// of, as `BINARY torture-app write|read|dump ...`; see IsRequested.
package app

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
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // SQLite without cgo

	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/workload"
)

// Command is the word behind the binary's name that asks for an application.
const Command = "torture-app"

// IsRequested reports whether this process was started to be an application.
func IsRequested(args []string) bool { return len(args) > 2 && args[1] == Command }

// Args is the command line that makes binary an application.
func Args(binary string, args ...string) []string { return append([]string{binary, Command}, args...) }

// client is one connection to the database.
type client struct {
	node, name string
	path       string
	timeout    time.Duration
	checkpoint int
	reopen     bool
	jitter     bool
	rng        *rand.Rand

	db   *sql.DB
	conn *sql.Conn
	// mount is the one that conn's files lie on.
	mount uint64
	n     int
	// failures counts signs of dead files, without a success between.
	failures int
}

// Main is the application: args are the words after Command.
func Main(args []string) int {
	var c client
	var seed uint64
	var interval, backoff time.Duration
	fs := flag.NewFlagSet(Command, flag.ContinueOnError)
	fs.StringVar(&c.path, "db", "", "database `file`")
	fs.StringVar(&c.node, "node", "", "node")
	fs.StringVar(&c.name, "name", "", "name of this client, unique in its round")
	fs.Uint64Var(&seed, "seed", 0, "of the choices")
	fs.DurationVar(&interval, "interval", 15*time.Millisecond, "pause between operations")
	fs.BoolVar(&c.jitter, "jitter", false, "pause between once and three times the interval")
	fs.DurationVar(&backoff, "backoff", 30*time.Millisecond, "pause after an error")
	fs.DurationVar(&c.timeout, "timeout", 300*time.Millisecond, "SQLite's busy timeout")
	fs.IntVar(&c.checkpoint, "checkpoint", 50, "PRAGMA wal_autocheckpoint")
	fs.BoolVar(&c.reopen, "reopen", false, "open a new connection after an error")
	if len(args) == 0 || fs.Parse(args[1:]) != nil {
		return 2
	}
	c.rng = rand.New(rand.NewPCG(seed, 1))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	defer c.close()
	switch args[0] {
	case "make":
		return c.once(func(conn *sql.Conn) error { return makeSchema(ctx, conn, fs.Arg(0)) })
	case "dump":
		return c.once(func(conn *sql.Conn) error { return dump(ctx, conn) })
	case "write":
		c.loop(ctx, interval, backoff, c.write)
	case "read":
		c.loop(ctx, interval, backoff, c.read)
	default:
		fmt.Fprintf(os.Stderr, "%s: unknown word %q; allowed: make, write, read, dump\n", Command, args[0])
		return 2
	}
	return 0
}

func (c *client) once(f func(*sql.Conn) error) int {
	err := c.open()
	if err == nil {
		err = f(c.conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c *client) open() (err error) {
	if c.conn != nil {
		return nil
	}
	dsn := "file:" + (&url.URL{Path: c.path}).EscapedPath() +
		fmt.Sprintf("?_pragma=busy_timeout(%d)&_pragma=wal_autocheckpoint(%d)", c.timeout.Milliseconds(), c.checkpoint)
	c.mount = mountOf(c.path)
	if c.db, err = sql.Open("sqlite", dsn); err == nil {
		c.conn, err = c.db.Conn(context.Background())
	}
	if err != nil {
		c.close()
	}
	return err
}

func (c *client) close() {
	c.failures = 0
	if c.conn != nil {
		_ = c.conn.Close()
	}
	if c.db != nil {
		_ = c.db.Close()
	}
	c.conn, c.db = nil, nil
}

// loop repeats op until it is told to end. One under way is finished, so that
// every answer is reported.
func (c *client) loop(ctx context.Context, interval, backoff time.Duration, op func() error) {
	for ctx.Err() == nil {
		pause := interval
		if op() != nil {
			pause = max(pause, backoff)
		}
		if c.jitter {
			pause += time.Duration(c.rng.Int64N(2 * int64(interval)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// begin reports an operation before it is tried: where this process is killed,
// that is all that is known of it.
func (c *client) begin(kind, key string) history.Op {
	c.n++
	o := history.Op{
		Node: c.node, Client: c.name, Kind: kind, Key: key,
		ID: fmt.Sprintf("%s-%d", c.name, c.n), Start: workload.Now(), End: history.Forever, Outcome: history.Unknown,
	}
	if o.IsWrite() {
		emit(o)
	}
	return o
}

// deadAfter failures in a row of a kind that no fence makes, a connection's files
// are dead: those over a LiteFS that has died stay so.
const deadAfter = 10

// deadCodes are SQLite's: a read, a short read, a lock, a look at the size that
// failed; and a database that is not the one at its path any more.
var deadCodes = []int{266, 522, 3850, 1802, 1032}

// protocolCode is what SQLite says of a WAL connection after it has tried for ten
// seconds, instead of the lock's own error.
const protocolCode = 15

// tried is told what came of an operation.
func (c *client) tried(err error) {
	switch {
	case err == nil:
		c.failures = 0
	case slices.Contains(deadCodes, workload.CodeOf(err.Error())):
		c.failures++
	case workload.CodeOf(err.Error()) == protocolCode:
		c.failures = deadAfter
	}
}

func (c *client) end(o history.Op, outcome history.Outcome, err error) {
	o.End, o.Outcome = workload.Now(), outcome
	c.tried(err)
	if err != nil {
		o.Err = err.Error()
		if c.leave(); c.reopen || c.failures >= deadAfter {
			c.close()
		}
	}
	emit(o)
}

// lastly ends a transaction that failed, and the connection with it where even
// that fails: the next operation must not find itself within the last one.
func (c *client) lastly() (rolledBack bool) {
	_, err := c.conn.ExecContext(context.Background(), "ROLLBACK")
	if err == nil || strings.Contains(err.Error(), "no transaction is active") { // SQLite has done it
		return true
	}
	c.close()
	return false
}

var (
	outMu sync.Mutex
	out   = json.NewEncoder(os.Stdout)
)

// emit reports o; a reader that is gone ends this process.
func emit(o any) {
	outMu.Lock()
	defer outMu.Unlock()
	if out.Encode(o) != nil {
		os.Exit(1)
	}
}

func isBusy(err error) bool { return workload.CodeOf(err.Error())&0xff == 5 }
