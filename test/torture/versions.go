package main

import (
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/test/report"
)

func (t *torture) report() report.Run {
	return report.Run{
		Results: t.results, Controls: t.controls, Command: t.command(), Versions: t.versions(),
		Began: t.began, Took: time.Since(t.began),
	}
}

// command is what repeats this run.
func (t *torture) command() string {
	s := fmt.Sprintf("make torture ROUNDS=%d SEED=%d", t.rounds, t.seed)
	if t.parallel > 1 {
		s += fmt.Sprintf(" PARALLEL=%d", t.parallel)
	}
	if t.limits.Clock {
		s += " CLOCK=1"
	}
	if flags := t.flags(); len(flags) > 0 {
		s += fmt.Sprintf(" TORTUREFLAGS='%s'", strings.Join(flags, " "))
	}
	return s
}

// flags are those beside seed and number that what a round is rests on.
func (t *torture) flags() (flags []string) {
	if t.limits.Steps != mostSteps {
		flags = append(flags, fmt.Sprintf("-steps %d", t.limits.Steps))
	}
	if t.limits.Hold != longestHold {
		flags = append(flags, "-hold "+t.limits.Hold.String())
	}
	if t.confirm != "" {
		flags = append(flags, "-confirm "+t.confirm)
	}
	if t.limits.Only != nil {
		flags = append(flags, fmt.Sprintf("-only \"%s\"", strings.Join(t.limits.Only, ";")))
	}
	return flags
}

func (t *torture) versions() map[string]string {
	v := map[string]string{
		"litefence": output(t.litefence, "version"),
		"LiteFS":    moduleVersion(t.litefs, "github.com/superfly/litefs"),
		"Go":        runtime.Version(),
		"cores":     fmt.Sprint(runtime.NumCPU()),
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		v["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "modernc.org/sqlite" {
				v["SQLite"] = m.Path + " " + m.Version
			}
		}
	}
	return v
}

// moduleVersion is what the program says it was built from.
func moduleVersion(program, module string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	return "unknown"
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

// slug makes a file's name of a subject's.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
}
