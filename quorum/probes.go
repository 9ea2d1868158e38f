package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FreeDisk wants at least least bytes, that anybody may use, free where each of
// dirs lies.
func FreeDisk(least int64, dirs ...string) Probe {
	return Probe{"free disk", func(context.Context) error {
		for _, dir := range dirs {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			if free := int64(st.Bavail) * st.Bsize; free < least {
				return fmt.Errorf("%s has %d MiB free; policy.health.min-free-disk is %d MiB", dir, free>>20, least>>20)
			}
		}
		return nil
	}}
}

const pressureDir = "/proc/pressure"

// Pressure wants the share of the last ten seconds in which some task waited for
// the CPU, or for memory, to be at most limit percent. It returns an error where
// this kernel does not tell.
func Pressure(limit float64) (Probe, error) { return pressureIn(pressureDir, limit) }

func pressureIn(dir string, limit float64) (Probe, error) {
	check := func(context.Context) error {
		for _, what := range []string{"cpu", "memory"} {
			some, err := readPressure(dir + "/" + what)
			if err != nil {
				return err
			}
			if some > limit {
				return fmt.Errorf("%s pressure %g %%; policy.health.max-pressure is %g", what, some, limit)
			}
		}
		return nil
	}
	for _, what := range []string{"cpu", "memory"} {
		if _, err := readPressure(dir + "/" + what); err != nil {
			return Probe{}, fmt.Errorf("policy.health.max-pressure: this kernel does not tell the pressure: %w; boot with psi=1, or use 0", err)
		}
	}
	return Probe{"pressure", check}, nil
}

// readPressure returns "some avg10" of a file in the kernel's PSI format
// (Documentation/accounting/psi.rst).
func readPressure(path string) (float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "some" {
			continue
		}
		if v, ok := strings.CutPrefix(fields[1], "avg10="); ok {
			if some, err := strconv.ParseFloat(v, 64); err == nil {
				return some, nil
			}
		}
	}
	return 0, fmt.Errorf("%s has no line \"some avg10=...\"", path)
}

// Command wants argv to end with exit code 0 in time. The first line that it
// prints is the reason. It has a process group of its own, which is killed when
// the time is up.
func Command(name string, argv ...string) Probe {
	return Probe{name, func(ctx context.Context) error {
		began := time.Now()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = commandRest
		var said head
		cmd.Stdout, cmd.Stderr = &said, &said
		err := cmd.Run()
		switch {
		case err == nil, errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("not done within %s; killed", time.Since(began).Round(time.Second/10))
		}
		if line := said.line(); line != "" {
			return errors.New(line)
		}
		return err
	}}
}

// commandRest is how long an ended command's output is waited for, where a child
// that it left behind holds it open.
const commandRest = 100 * time.Millisecond

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

const headMax = 256

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), headMax-len(h.b))]...)
	return len(p), nil
}

func (h *head) line() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(h.b), []byte("\n"))
	return strings.ToValidUTF8(string(bytes.TrimSpace(line)), "?")
}
