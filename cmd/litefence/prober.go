package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/litefence/litefence/quorum"
)

const proberCommand = "prober"

// A prober runs one command, over and over, from a process of its own that was
// started before the daemon had opened anything on LiteFS's mount.
//
// The daemon must not start a process while LiteFS may be stopped. What it has
// open there is closed in the new process by exec; each of these closes is a FLUSH
// that LiteFS has to answer (fuse_flush); and until the exec is done the Go
// runtime's forking thread sleeps without having told the scheduler
// (rawVforkSyscall), so that the next garbage collection stops the whole daemon.
type prober struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startProber(argv ...string) (*prober, error) { return startHelper(proberCommand, argv...) }

// startHelper starts such a process; command is the hidden subcommand that
// answers in it, a line for each line.
func startHelper(command string, argv ...string) (*prober, error) {
	cmd := exec.Command("/proc/self/exe", append([]string{command}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is the daemon's
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process for the %s: %w", command, err)
	}
	return &prober{cmd: cmd, in: in, out: bufio.NewReader(out)}, nil
}

// check has the command run once. It returns when the prober answers, or is gone.
func (p *prober) check(ctx context.Context) error {
	within := time.Minute
	if end, ok := ctx.Deadline(); ok {
		within = time.Until(end) * 9 / 10 // its own word is better than its silence
	}
	var wrong string
	if err := p.ask(within.String(), &wrong); err != nil {
		return fmt.Errorf("the process for the probes is gone (%w); restart litefence", err)
	}
	if wrong != "" {
		return errors.New(wrong)
	}
	return nil
}

// ask sends a line and reads the answer to it, as JSON.
func (p *prober) ask(question string, answer any) error {
	if _, err := fmt.Fprintln(p.in, question); err != nil {
		return err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, answer)
}

// stop ends the process; what it has running is killed.
func (p *prober) stop(ctx context.Context) {
	p.in.Close()
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// proberMain is the prober's process: for each line on its input, a duration, it
// runs the command once, for no longer than that, and prints as JSON what is
// wrong, "" for nothing. It ends with its input, so with the daemon, and does not
// wait for a command that even SIGKILL does not end.
func proberMain(args []string) int {
	if len(args) == 0 {
		return exitUsage
	}
	ctx, cancel := context.WithCancel(context.Background())
	asked := make(chan time.Duration, 1)
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if within, err := time.ParseDuration(lines.Text()); err == nil {
				asked <- within
			}
		}
	}()
	probe := quorum.Command("", args...)
	for {
		select {
		case <-ctx.Done():
			return exitDone
		case within := <-asked:
			if !probeOnce(ctx, probe, within) {
				return exitDone
			}
		}
	}
}

// probeOnce answers one question; false = the end came first.
func probeOnce(ctx context.Context, probe quorum.Probe, within time.Duration) bool {
	limited, stop := context.WithTimeout(ctx, within)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- probe.Check(limited) }()
	select {
	case err := <-done:
		wrong := ""
		if err != nil {
			wrong = err.Error()
		}
		return json.NewEncoder(os.Stdout).Encode(wrong) == nil
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(proberRest):
	}
	return false
}

// proberRest is how long an ending prober waits for its command to be killed.
const proberRest = 200 * time.Millisecond
