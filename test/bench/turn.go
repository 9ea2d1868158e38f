package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

// app is an application process as the bench sees it: a line to it asks for a
// turn, a line from it tells what it did.
type app struct {
	*cluster.Process
	orders  *os.File
	answers *bufio.Reader
	pipe    *os.File // behind answers
	last    outcome  // of its last turn
}

// patience is far beyond what any turn takes; SQLite gives up before it.
const patience = time.Minute

// appError is what SQLite told the application, or how it died.
type appError string

func (e appError) Error() string { return string(e) }

// startApp starts an application on a node and waits until it is ready.
func startApp(ctx context.Context, n *cluster.Node, args ...string) (*app, error) {
	a, err := spawnApp(n, args...)
	if err != nil {
		return nil, err
	}
	if err := a.answer(ctx); err != nil {
		return nil, errors.Join(err, a.end(ctx))
	}
	return a, nil
}

// spawnApp starts it in the node's network: rqlite is reached by that.
func spawnApp(n *cluster.Node, args ...string) (*app, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	in, orders, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close() // the application's ends: it alone has them, so that its death is seen
	answers, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, orders.Close())
	}
	defer out.Close()
	a := &app{orders: orders, pipe: answers, answers: bufio.NewReader(answers)}
	a.Process, err = n.Spawn("app", in, out, n.Command(append([]string{self, appCommand}, args...)...)...)
	if err != nil {
		return nil, errors.Join(err, orders.Close(), answers.Close())
	}
	return a, nil
}

// begin lets the application take a turn. Whether it still lives, its answer
// tells.
func (a *app) begin() { _, _ = a.orders.WriteString("\n") }

// answer waits for the end of the turn.
func (a *app) answer(ctx context.Context) error {
	if err := a.pipe.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = a.pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := a.answers.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return appError(fmt.Sprintf("died, exit code %d", a.ExitCode()))
	}
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("%s (pid %d, running: %v) does not answer: %w", a.Name, a.Pid(), a.Running(), err))
	}
	var o outcome
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("%s said %q: %w", a.Name, line, err)
	}
	if o.Err != "" {
		return appError(o.Err)
	}
	a.last = o
	return nil
}

// end closes the application's input, at which it ends. One that does not is
// the cluster's to kill.
func (a *app) end(ctx context.Context) error {
	defer a.pipe.Close()
	_ = a.orders.Close()
	select {
	case <-a.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("%s (pid %d) does not end", a.Name, a.Pid())
	}
}
