package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// child is a process that the daemon started: LiteFS or the application.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait; valid after done
}

func startChild(argv []string) (*child, error) {
	c := &child{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Its own group: a terminal's Ctrl-C reaches the daemon alone, which stops
	// its children in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		defer close(c.done)
		c.err = c.cmd.Wait()
	}()
	return c, nil
}

// exited is closed when the child has ended; of no child, never.
func (c *child) exited() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.done
}

// code is the exit code of an ended child, 128+signal where a signal ended it.
func (c *child) code() int {
	var x *exec.ExitError
	switch {
	case c.err == nil:
		return exitDone
	case errors.As(c.err, &x):
		if ws, ok := x.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return x.ExitCode()
	}
	return exitFailed
}

// stop asks the child to end and waits; when ctx is over it is killed.
func (c *child) stop(ctx context.Context) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
		return
	case <-ctx.Done():
	}
	_ = c.cmd.Process.Kill()
	<-c.done
}

// passOn gives the child these signals when the daemon gets them; their meaning is
// the child's. The answer ends that.
func (c *child) passOn(which ...os.Signal) (end func(context.Context)) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, which...)
	go func() {
		for s := range signals {
			_ = c.cmd.Process.Signal(s)
		}
	}()
	return func(context.Context) {
		signal.Stop(signals)
		close(signals)
	}
}
