package fusefs

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Applications run in processes of their own: the lock owner is the process,
// and one that is killed must be no part of the daemon. The helper is the test
// binary again; it obeys one JSON line at a time.

const helperEnv = "FUSEFS_TEST_HELPER"

type order struct {
	Op   string `json:"op"`
	Conn string `json:"conn,omitempty"`
	Arg  string `json:"arg,omitempty"`
	Fd   int    `json:"fd,omitempty"`
	Typ  int16  `json:"typ,omitempty"`
	Off  int64  `json:"off,omitempty"`
	Len  int64  `json:"len,omitempty"`
	Flag int    `json:"flag,omitempty"`

	File *fileCall `json:"file,omitempty"`
}

type answer struct {
	Err   string     `json:"err,omitempty"`
	Errno int        `json:"errno,omitempty"`
	Code  int        `json:"code,omitempty"` // SQLite's
	Ext   int        `json:"ext,omitempty"`
	Rows  [][]string `json:"rows,omitempty"`
	Fd    int        `json:"fd,omitempty"`
	Typ   int16      `json:"typ,omitempty"`

	File *fileResult `json:"file,omitempty"`
}

func helperMain() {
	conns := map[string]*sql.Conn{}
	fileCalls.adopt()
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			panic(err)
		}
		if o.Op == "reexec" {
			_ = out.Encode(answer{})
			panic(fileCalls.reexec())
		}
		_ = out.Encode(obey(conns, o))
	}
}

func obey(conns map[string]*sql.Conn, o order) (a answer) {
	err := func() (err error) {
		switch o.Op {
		case "open":
			db, err := sql.Open("sqlite3", o.Arg)
			if err != nil {
				return err
			}
			db.SetMaxIdleConns(0) // a closed connection is closed
			conns[o.Conn], err = db.Conn(context.Background())
			return err
		case "exec":
			_, err = conns[o.Conn].ExecContext(context.Background(), o.Arg)
			return err
		case "query":
			a.Rows, err = queryRows(conns[o.Conn], o.Arg)
			return err
		case "close":
			c := conns[o.Conn]
			if c == nil {
				return errors.New("not open")
			}
			delete(conns, o.Conn)
			return c.Close()
		case "file":
			a.File = fileCalls.do(o.File)
			return nil
		case "thread", "fork", "child", "killchild":
			a, err = otherActor(o)
			return err
		case "sysopen":
			a.Fd, err = unix.Open(o.Arg, o.Flag, 0o666)
			return err
		case "sysclose":
			return unix.Close(o.Fd)
		case "lock", "lockw":
			cmd := unix.F_SETLK
			if o.Op == "lockw" {
				cmd = unix.F_SETLKW
			}
			lk := unix.Flock_t{Type: o.Typ, Start: o.Off, Len: o.Len}
			return unix.FcntlFlock(uintptr(o.Fd), cmd, &lk)
		case "getlk":
			lk := unix.Flock_t{Type: o.Typ, Start: o.Off, Len: o.Len}
			err = unix.FcntlFlock(uintptr(o.Fd), unix.F_GETLK, &lk)
			a.Typ = lk.Type
			return err
		}
		return fmt.Errorf("unknown order %q", o.Op)
	}()
	if err != nil {
		a.Err = err.Error()
		var errno syscall.Errno
		var se sqlite3.Error
		if errors.As(err, &errno) {
			a.Errno = int(errno)
		}
		if errors.As(err, &se) {
			a.Code, a.Ext = int(se.Code), int(se.ExtendedCode)
		}
	}
	return a
}

func queryRows(c *sql.Conn, q string) (all [][]string, err error) {
	rows, err := c.QueryContext(context.Background(), q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		vals := make([]any, len(cols))
		for i := range vals {
			vals[i] = new(sql.NullString)
		}
		if err := rows.Scan(vals...); err != nil {
			return nil, err
		}
		row := make([]string, len(cols))
		for i, v := range vals {
			row[i] = v.(*sql.NullString).String
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// app is one application process.
type app struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	done chan struct{}
}

func startApp(t *testing.T) *app {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	return startCommand(t, cmd)
}

// startCommand starts a program that obeys orders as helperMain does.
func startCommand(t *testing.T, cmd *exec.Cmd) *app {
	t.Helper()
	a := &app{t: t, cmd: cmd, done: make(chan struct{})}
	a.cmd.Stderr = os.Stderr
	var err error
	a.in, err = a.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := a.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, a.cmd.Start())
	a.out = bufio.NewScanner(out)
	a.out.Buffer(nil, 1<<20)
	t.Cleanup(a.kill)
	return a
}

// send gives an order without waiting for the answer.
func (a *app) send(o order) {
	b, err := json.Marshal(o)
	require.NoError(a.t, err)
	_, err = a.in.Write(append(b, '\n'))
	require.NoError(a.t, err)
}

func (a *app) receive() (ans answer) {
	if !a.out.Scan() {
		return answer{Err: "the application is gone"}
	}
	require.NoError(a.t, json.Unmarshal(a.out.Bytes(), &ans))
	return ans
}

func (a *app) do(o order) answer {
	a.t.Helper()
	a.send(o)
	return a.receive()
}

func (a *app) open(conn, dsn string) {
	a.t.Helper()
	require.Empty(a.t, a.do(order{Op: "open", Conn: conn, Arg: dsn}).Err)
}

func (a *app) exec(conn, stmt string) answer {
	a.t.Helper()
	return a.do(order{Op: "exec", Conn: conn, Arg: stmt})
}

func (a *app) must(conn, stmt string) {
	a.t.Helper()
	require.Empty(a.t, a.exec(conn, stmt).Err, stmt)
}

// value returns the one value of a query.
func (a *app) value(conn, q string) string {
	a.t.Helper()
	ans := a.do(order{Op: "query", Conn: conn, Arg: q})
	require.Empty(a.t, ans.Err, q)
	require.NotEmpty(a.t, ans.Rows, q)
	return ans.Rows[0][0]
}

// kill ends the process and waits until it is gone.
func (a *app) kill() {
	if a.cmd.ProcessState != nil {
		return
	}
	_ = a.cmd.Process.Kill()
	_ = a.in.Close()
	_ = a.cmd.Wait()
}

// shell runs the sqlite3 command line tool: another build of SQLite, a new
// process each time.
func shell(t *testing.T, path, stmt string) (string, error) {
	t.Helper()
	bin, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("sqlite3 is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, path, stmt).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
