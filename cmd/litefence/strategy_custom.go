package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/litefence/litefence/policy"
)

const (
	// customWithin bounds one run of policy.command.
	customWithin = 10 * time.Second
	// customOutput is how much of its output is logged.
	customOutput = 4 << 10

	customCommand = "policy-command"
)

// custom is policy.strategy: custom, a command of the operator's. Like the probes
// it is run by a process that was started before the mount (prober).
type custom struct {
	*prober
	argv []string
	log  *slog.Logger
}

// customRun asks for one run, and customDone tells of its end.
type customRun struct {
	Within time.Duration
	Event  policy.Event
}

type customDone struct{ Error, Output string }

func startCustom(argv []string, log *slog.Logger) (*custom, error) {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("policy.command: %w; give a program that can be run", err)
	}
	p, err := startHelper(customCommand, argv...)
	return &custom{p, argv, log}, err
}

// run has the command run once. An error says that it failed, or was killed
// because its time was up. ctx ends with the daemon, and then it is killed too.
func (c *custom) run(ctx context.Context, e policy.Event) error {
	defer context.AfterFunc(ctx, func() { c.in.Close() })()
	q, err := json.Marshal(customRun{customWithin, e})
	if err != nil {
		return err
	}
	var a customDone
	if err := c.ask(string(q), &a); err != nil {
		return fmt.Errorf("the process for policy.command is gone (%w); restart litefence", err)
	}
	if a.Error != "" {
		c.log.Error("policy.command failed", "command", c.argv[0], "err", a.Error, "output", a.Output)
		return fmt.Errorf("policy.command %s: %s", c.argv[0], a.Error)
	}
	c.log.Info("policy.command done", "command", c.argv[0], "output", a.Output)
	return nil
}

// customMain is the process that runs the command, once for each line on its
// input. It ends with its input, so with the daemon, and a command that runs by
// then is killed.
func customMain(argv []string) int {
	if len(argv) == 0 {
		return exitUsage
	}
	ctx, cancel := context.WithCancel(context.Background())
	asked := make(chan customRun, 1)
	go func() {
		defer cancel()
		lines := bufio.NewScanner(os.Stdin)
		lines.Buffer(nil, maxAdminBody)
		for lines.Scan() {
			var q customRun
			if json.Unmarshal(lines.Bytes(), &q) == nil {
				asked <- q
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return exitDone
		case q := <-asked:
			a := runCustom(ctx, argv, q)
			if json.NewEncoder(os.Stdout).Encode(a) != nil {
				return exitDone
			}
		}
	}
}

// runCustom runs the command with the event on its standard input, as JSON, and
// in its environment. Its process group is killed when the time is up.
func runCustom(ctx context.Context, argv []string, q customRun) (a customDone) {
	ctx, cancel := context.WithTimeout(ctx, q.Within)
	defer cancel()
	event, err := json.Marshal(q.Event)
	if err != nil {
		return customDone{Error: err.Error()}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), eventEnv(q.Event)...)
	cmd.Stdin = bytes.NewReader(append(event, '\n'))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 100 * time.Millisecond // a child left behind may hold the output open
	said := tail{max: customOutput}
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	err = cmd.Run()
	a.Output = strings.ToValidUTF8(strings.TrimSpace(string(said.b)), "?")
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
	case ctx.Err() != nil:
		a.Error = fmt.Sprintf("not done within %v; killed", time.Since(began).Round(time.Second/10))
	default:
		a.Error = err.Error()
	}
	return a
}

func eventEnv(e policy.Event) []string {
	return []string{
		"LITEFENCE_EVENT=" + e.Kind,
		"LITEFENCE_TIME=" + e.Time.UTC().Format(time.RFC3339Nano),
		"LITEFENCE_NODE=" + e.Node,
		"LITEFENCE_TERM=" + strconv.FormatUint(e.Term, 10),
		"LITEFENCE_LEADER=" + e.Leader,
		"LITEFENCE_ROLE=" + e.Role,
		"LITEFENCE_REASON=" + string(e.Reason),
		"LITEFENCE_STATE=" + e.State,
		"LITEFENCE_MESSAGE=" + e.Message,
	}
}

// tail keeps the end of what is written to it: an error stands there.
type tail struct {
	b   []byte
	max int
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - t.max; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}
