package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/litefence/litefence/test/workload"
)

// App is an application process on a node; it collects what it reports.
type App struct {
	*Process
	Node *Node

	mu     sync.Mutex
	events []workload.Event
	read   chan struct{} // closed when its output has been read to the end
}

// StartApp starts the workload "write" or "read" on the database at path, with
// further flags. onEvent, if given, is called for every event as it comes.
func (n *Node) StartApp(kind, path string, onEvent func(workload.Event), flags ...string) (*App, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	args := append(workload.Args(self, kind, "-db", path), flags...)
	name := fmt.Sprintf("%s app %s", n.Name, kind)
	p, err := n.c.spawn(name, filepath.Join(n.Dir, "app-"+kind+".log"), nil, w, args...)
	if err != nil {
		r.Close()
		return nil, err
	}
	a := &App{Process: p, Node: n, read: make(chan struct{})}
	go a.collect(r, onEvent)
	return a, nil
}

func (a *App) collect(r io.ReadCloser, onEvent func(workload.Event)) {
	defer close(a.read)
	defer r.Close()
	for s := bufio.NewScanner(r); s.Scan(); {
		var e workload.Event
		if json.Unmarshal(s.Bytes(), &e) != nil {
			continue // the last line of a killed process
		}
		a.mu.Lock()
		a.events = append(a.events, e)
		a.mu.Unlock()
		if onEvent != nil {
			onEvent(e)
		}
	}
}

// Events is all that has been reported so far.
func (a *App) Events() []workload.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.events)
}

// Acked lists the operations acknowledged so far.
func (a *App) Acked() (out []workload.Event) {
	for _, e := range a.Events() {
		if e.Op != "ready" && e.OK() {
			out = append(out, e)
		}
	}
	return out
}

// Finish stops the application and returns everything that it reported. SQLite
// takes 10 s to give up on a WAL connection whose mount has died.
func (a *App) Finish() ([]workload.Event, error) {
	err := a.Stop(30 * time.Second)
	select {
	case <-a.read:
	case <-time.After(10 * time.Second):
		return nil, fmt.Errorf("%s: its output does not end", a.Name)
	}
	return a.Events(), err
}

// SQL runs statements on the database at path, in a process of its own, and
// returns the rows of all results, columns joined by "|".
func (n *Node) SQL(path string, statements ...string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append(workload.Args(self, "sql", "-db", path, "-timeout", "5s"), statements...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // or each takes a second more under the race detector
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s on %s: %w: %s", strings.Join(statements, "; "), n.Name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	var rows []string
	return rows, json.Unmarshal(out.Bytes(), &rows)
}

// Spawn starts a program for this node, in the harness's own network: all that
// it shares with the node is its mounts. Its input comes from stdin (nil: none)
// and its output goes to stdout (nil: the log).
func (n *Node) Spawn(name string, stdin io.Reader, stdout io.Writer, args ...string) (*Process, error) {
	return n.c.spawn(n.Name+" "+name, filepath.Join(n.Dir, name+".log"), stdin, stdout, args...)
}
