// Package workload is the application of demo and tests: a process of its own
// that writes or reads a SQLite database and reports every single operation.
// It must be its own process, because POSIX locks belong to one: SQLite inside
// the harness, beside the daemon under test, would prove nothing.
//
// The harness starts the binary it is itself part of, as
// `BINARY demo-app write|read|sql ...`; see IsRequested.
package workload

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Command is the word behind the binary's name that asks for the application.
const Command = "demo-app"

// Event is one operation, as a line of JSON on standard output. Start and End
// are CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share:
// that makes operations of different processes comparable.
type Event struct {
	Op    string `json:"op"` // ready, write, read, sql
	ID    string `json:"id,omitempty"`
	Start int64  `json:"start"`
	End   int64  `json:"end"`
	Rows  int    `json:"rows,omitempty"`
	Err   string `json:"err,omitempty"`
}

// OK reports whether the operation was acknowledged.
func (e Event) OK() bool { return e.Err == "" }

// Now is CLOCK_MONOTONIC in nanoseconds.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock id is a constant
	}
	return ts.Nano()
}

var (
	outMu sync.Mutex
	out   = json.NewEncoder(os.Stdout)
)

// emit reports e; a reader that is gone ends this process.
func emit(e Event) {
	outMu.Lock()
	defer outMu.Unlock()
	if out.Encode(e) != nil {
		os.Exit(1)
	}
}

// IsRequested reports whether this process was started to be the application.
func IsRequested(args []string) bool {
	return len(args) > 2 && args[1] == Command
}

// Args is the command line that makes binary the application.
func Args(binary string, args ...string) []string {
	return append([]string{binary, Command}, args...)
}

var codeInText = regexp.MustCompile(`\((\d+)\)`)

// CodeOf is SQLite's extended code, which the driver puts behind an error's text;
// 1 where there is none.
func CodeOf(err string) int {
	if m := codeInText.FindStringSubmatch(err); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 1
}
