package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is a program that the harness started and will end.
type Process struct {
	Name string
	Log  string // path of its standard error, and output unless taken elsewhere

	cmd  *exec.Cmd
	done chan struct{}
	code int // valid once done is closed; -1 = killed by a signal
}

// spawn starts args with its output in logPath; stdin and stdout, if given, are
// its standard input and output instead.
func (c *Cluster) spawn(name, logPath string, stdin io.Reader, stdout io.Writer, args ...string) (*Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("the cluster is closed")
	}
	f, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, f
	if stdout == nil {
		cmd.Stdout = f
	}
	// A group of its own: Ctrl-C is for the harness, which then ends this one
	// in its own order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, Log: logPath, cmd: cmd, done: make(chan struct{})}
	c.procs = append(c.procs, p)
	go func() {
		_ = cmd.Wait()
		p.code = cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	return p, nil
}

// Pid of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig; an error says that the process is gone.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Running reports whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end and returns the code, -1 for death by a signal.
func (p *Process) ExitCode() int { <-p.done; return p.code }

// Kill ends it at once, like a power loss, and waits.
func (p *Process) Kill() error {
	p.kill()
	if !p.waitFor(10 * time.Second) {
		return fmt.Errorf("%s (pid %d) does not die", p.Name, p.Pid())
	}
	return nil
}

// Stop asks it to end and kills it where it has not after the time given.
func (p *Process) Stop(patience time.Duration) error {
	_ = p.Signal(syscall.SIGTERM)
	if p.waitFor(patience) {
		return nil
	}
	_ = p.Kill()
	return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.Name, patience)
}

// kill does not wait. The process leads a group: its children go with it.
func (p *Process) kill() {
	if p.Running() {
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	}
}

func (p *Process) waitFor(d time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(d):
		return false
	}
}
