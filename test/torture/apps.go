package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/torture/app"
)

// running is one application and what it reports.
type running struct {
	*cluster.Process
	read chan struct{} // closed when its output has been read to the end
}

// apps is three applications on every node: a busy writer, one that writes now
// and then, and a reader. Of a node that was stopped and goes on, the second
// shows best whether it still takes itself for the primary: what it tries while
// the node is stopped began long after another had taken over.
type apps struct {
	nodes   []*cluster.Node
	path    func(*cluster.Node) string
	seed    uint64
	writers []*running // by node
	rest    []*running // the others

	mu   sync.Mutex
	n    int
	ops  map[string]history.Op // by client and ID
	last int64                 // End of the newest acknowledged write
}

func startApps(nodes []*cluster.Node, path func(*cluster.Node) string, seed uint64) (*apps, error) {
	a := &apps{
		nodes: nodes, path: path, seed: seed, ops: map[string]history.Op{},
		writers: make([]*running, len(nodes)),
	}
	for i := range nodes {
		if err := a.Restart(i); err != nil {
			return a, err
		}
		for _, args := range [][]string{{"read"}, {"write", "-interval", "1s", "-jitter"}} {
			r, err := a.start(i, args[0], args[1:]...)
			if err != nil {
				return a, err
			}
			a.rest = append(a.rest, r)
		}
	}
	return a, nil
}

func (a *apps) start(i int, kind string, flags ...string) (*running, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.n++
	n := a.n
	a.mu.Unlock()
	node := a.nodes[i]
	name := fmt.Sprintf("%s%s%d", node.Name, kind[:1], n)
	args := []string{kind, "-db", a.path(node), "-node", node.Name, "-name", name, "-seed", strconv.FormatUint(a.seed+uint64(n), 10)}
	args = append(args, flags...)
	if n%2 == 0 {
		args = append(args, "-reopen")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	p, err := node.Spawn("app "+name, nil, w, app.Args(self, args...)...)
	if err != nil {
		r.Close()
		return nil, err
	}
	run := &running{p, make(chan struct{})}
	go a.collect(r, run.read)
	return run, nil
}

func (a *apps) collect(r io.ReadCloser, done chan struct{}) {
	defer close(done)
	defer r.Close()
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var o history.Op
		if json.Unmarshal(s.Bytes(), &o) != nil {
			continue // the last line of a killed process
		}
		a.mu.Lock()
		a.ops[o.ID] = o
		if o.IsWrite() && o.Outcome == history.Acked {
			a.last = max(a.last, o.End)
		}
		a.mu.Unlock()
	}
}

// lastAck is when the newest acknowledged write ended.
func (a *apps) lastAck() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// Kill, Restart, Stop and Continue are for the nemesis; they mean the writer.
func (a *apps) Kill(i int) error { return a.writers[i].Kill() }

// Restart starts the writer, unless it runs.
func (a *apps) Restart(i int) error {
	if w := a.writers[i]; w != nil && w.Running() {
		return nil
	}
	w, err := a.start(i, "write")
	if err == nil {
		a.writers[i] = w
	}
	return err
}

// Stop stops the writer in the midst of whatever it does.
func (a *apps) Stop(i int) error { _ = a.writers[i].Signal(syscall.SIGSTOP); return nil }

// Continue lets it go on.
func (a *apps) Continue(i int) error { _ = a.writers[i].Signal(syscall.SIGCONT); return nil }

// finish ends all applications and returns everything they reported.
func (a *apps) finish() (ops []history.Op, errs []string) {
	all := append(append([]*running{}, a.writers...), a.rest...)
	for _, r := range all {
		if r != nil {
			_ = r.Signal(syscall.SIGTERM)
		}
	}
	for _, r := range all {
		if r == nil {
			continue
		}
		// SQLite takes 10 s to give up on a WAL connection whose mount has died.
		if err := r.Process.Stop(30 * time.Second); err != nil {
			errs = append(errs, err.Error())
		}
		<-r.read
	}
	for _, o := range a.ops {
		ops = append(ops, o)
	}
	return ops, errs
}

// dump reads all that a node's database holds.
func dump(path string) (s history.State, err error) {
	out, err := once("dump", path)
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

// makeDB makes the tables.
func makeDB(path, journal string) error {
	_, err := once("make", path, journal)
	return err
}

func once(what, path string, rest ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append(app.Args(self, what, "-db", path, "-timeout", "5s"), rest...)
	p, err := newCommand(args)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, path, err)
	}
	return bytes.TrimSpace(p), nil
}
