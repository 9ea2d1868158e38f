package fusefs

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
	modernc "modernc.org/sqlite"
)

// The applications of the torture: one process each, one job at a time. The
// job is made by the test, so that every statement comes from one seed and the
// four builds of SQLite do the same things.

const workerEnv = "FUSEFS_TEST_WORKER" // mattn, modernc or shell; Python is testdata/worker.py

// job is one transaction: its statements in order, the last of them the
// commit, on the connection of the job before or on a new one.
type job struct {
	DB    string   `json:"db"`
	Busy  int      `json:"busy"`  // ms
	Setup []string `json:"setup"` // run once on a new connection
	Stmts []string `json:"stmts"`
	Keep  bool     `json:"keep"` // the connection stays open for the next job
}

// reply says how far a job came. Code is SQLite's extended code, or the
// primary one where the program tells no more; Errno is the system's behind
// it, 0 where the program does not tell.
type reply struct {
	At    int        `json:"at"` // the statement that failed; -1: before the first
	Code  int        `json:"code"`
	Errno int        `json:"errno"`
	Err   string     `json:"err"`
	Rows  [][]string `json:"rows"` // the first row of every statement that has one
}

func (a *reply) ok() bool     { return a.Err == "" }
func (a *reply) primary() int { return a.Code & 0xff }

func workerMain() {
	kind := os.Getenv(workerEnv)
	var conn *sql.Conn
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var j job
		if in.Decode(&j) != nil {
			break
		}
		var a reply
		if kind == "shell" {
			a = shellJob(j)
		} else {
			a, conn = connJob(kind, conn, j)
		}
		_ = out.Encode(a)
	}
	if conn != nil {
		_ = conn.Close()
	}
}

// connJob runs a job through a driver, and returns the connection if it is to
// be kept.
func connJob(kind string, conn *sql.Conn, j job) (a reply, _ *sql.Conn) {
	a.At = -1
	err := func() (err error) {
		if conn == nil {
			if conn, err = connect(kind, j); err != nil {
				return err
			}
		}
		for i, stmt := range j.Stmts {
			a.At = i
			row, err := firstRow(conn, stmt)
			if err != nil {
				return err
			}
			if row != nil {
				a.Rows = append(a.Rows, row)
			}
		}
		return nil
	}()
	if err != nil {
		a.Err = err.Error()
		a.Code, a.Errno = codes(err)
		if conn != nil {
			_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
		}
	}
	if conn != nil && !j.Keep {
		_ = conn.Close()
		conn = nil
	}
	return a, conn
}

func connect(kind string, j job) (*sql.Conn, error) {
	name := map[string]string{"mattn": "sqlite3", "modernc": "sqlite"}[kind]
	db, err := sql.Open(name, j.DB)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(0) // a closed connection is closed
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	for _, stmt := range append([]string{fmt.Sprintf("PRAGMA busy_timeout=%d", j.Busy)}, j.Setup...) {
		if _, err := firstRow(conn, stmt); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// firstRow runs a statement to its end.
func firstRow(c *sql.Conn, stmt string) ([]string, error) {
	if word := strings.Fields(stmt)[0]; word != "SELECT" && word != "PRAGMA" {
		_, err := c.ExecContext(context.Background(), stmt)
		return nil, err
	}
	rows, err := queryRows(c, stmt)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

func codes(err error) (code, errno int) {
	var m sqlite3.Error
	var n *modernc.Error
	switch {
	case errors.As(err, &m):
		return int(m.ExtendedCode), int(m.SystemErrno)
	case errors.As(err, &n):
		return n.Code(), 0
	}
	return 1, 0
}

// What the sqlite3 shell says of an error in a script: "Runtime error near
// line 3: disk I/O error (10)".
var shellError = regexp.MustCompile(`near line (\d+): .*?(?:\((\d+)\))?$`)

// shellJob gives the whole job to a new sqlite3 shell, one statement a line.
func shellJob(j job) reply {
	head := append([]string{fmt.Sprintf(".timeout %d", j.Busy)}, terminated(j.Setup)...)
	// A pragma of the setup must print nothing that would pass for a row.
	script := append(append([]string{".output /dev/null"}, head...), ".output stdout")
	first := len(script) + 1
	script = append(script, terminated(j.Stmts)...)
	cmd := exec.Command("sqlite3", "-batch", "-bail", "-noheader", j.DB)
	cmd.Stdin = strings.NewReader(strings.Join(script, "\n") + "\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	a := reply{At: len(j.Stmts) - 1}
	err := cmd.Run()
	for line := range strings.Lines(out.String()) {
		a.Rows = append(a.Rows, strings.Split(strings.TrimSpace(line), "|"))
	}
	if err == nil && errs.Len() == 0 {
		return a
	}
	a.Code, a.At, a.Err = 1, -1, strings.TrimSpace(errs.String())+" "+fmt.Sprint(err)
	if m := shellError.FindStringSubmatch(strings.TrimSpace(errs.String())); m != nil {
		line, _ := strconv.Atoi(m[1])
		a.At = max(-1, line-first)
		a.Code, _ = strconv.Atoi(m[2])
	}
	return a
}

func terminated(stmts []string) (out []string) {
	for _, s := range stmts {
		out = append(out, s+";")
	}
	return out
}
