package fusefs

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// jobTimeout is far beyond every bound that an application waits for (its own
// busy timeout, SQLite's 10 s in WAL mode, LiteFS's 10 s for HALT): what takes
// longer is stuck.
const jobTimeout = 60 * time.Second

var errStuck = errors.New("no answer within the time in which everything ends")

// proc is one application of the torture, a process group of its own: the
// shell's sqlite3 is killed with it.
type proc struct {
	kind  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan []byte // closed when the process is gone
	once  sync.Once
}

// python returns the interpreter, "" if there is none with SQLite.
var python = sync.OnceValue(func() string {
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		out, err := exec.Command(name, "-c", "import sqlite3, sys; sys.stdout.write(sys.executable)").Output()
		if err == nil {
			return string(out)
		}
	}
	return ""
})

// workerKinds lists the builds of SQLite that this machine has.
func workerKinds(t *testing.T) []string {
	kinds := []string{"mattn", "modernc"}
	if python() != "" {
		kinds = append(kinds, "python")
	} else {
		t.Log("WITHOUT PYTHON: no python3 with sqlite3 on this machine; its worker is left out")
	}
	if _, err := exec.LookPath("sqlite3"); err == nil {
		kinds = append(kinds, "shell")
	} else {
		t.Log("WITHOUT THE SHELL: sqlite3 is not installed (make deps); its worker is left out")
	}
	return kinds
}

func startProc(kind string) (*proc, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &proc{kind: kind, cmd: exec.Command(self), lines: make(chan []byte)}
	if kind == "python" {
		p.cmd = exec.Command(python(), "-S", "testdata/worker.py")
	}
	// The race detector sleeps for a second at the end of a process.
	p.cmd.Env = append(os.Environ(), workerEnv+"="+kind, "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		s := bufio.NewScanner(out)
		s.Buffer(nil, 16<<20)
		for s.Scan() {
			p.lines <- append([]byte(nil), s.Bytes()...)
		}
	}()
	return p, nil
}

// do gives a job. A reply of nil without an error: the process was killed.
func (p *proc) do(j job) (*reply, error) {
	b, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return nil, nil
	}
	select {
	case line, ok := <-p.lines:
		if !ok {
			return nil, nil
		}
		var r reply
		return &r, json.Unmarshal(line, &r)
	case <-time.After(jobTimeout):
		return nil, errStuck
	}
}

// strike kills at a random moment, beside do.
func (p *proc) strike() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// kill ends it and waits.
func (p *proc) kill() { p.end(p.strike) }

// finish lets it close its connection and end by itself.
func (p *proc) finish() {
	p.end(func() {
		_ = p.in.Close()
		select {
		case <-p.lines:
		case <-time.After(jobTimeout):
			p.strike()
		}
	})
}

func (p *proc) end(how func()) {
	p.once.Do(func() {
		how()
		_ = p.in.Close()
		for range p.lines {
		}
		_ = p.cmd.Wait()
	})
}
