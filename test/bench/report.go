package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"
)

// report is what -json writes.
type report struct {
	Setup map[string]string
	Rows  []*row

	variants []variant
}

func newReport(ctx context.Context, o options, s *site) *report {
	version, _, _ := sqlite3.Version()
	var u unix.Utsname
	_ = unix.Uname(&u)
	r := &report{variants: s.variants, Setup: map[string]string{
		"nodes":  fmt.Sprintf("%d on this machine, heartbeat %v, lease %v; all read databases have %d rows of 1,900 bytes", o.nodes, o.heartbeat, o.lease, o.rows),
		"rounds": fmt.Sprintf("%d, each %d turns of %v for every variant", o.rounds, o.turns, o.slice/time.Duration(o.turns)),
		"machine": fmt.Sprintf("%d cores, Linux %s, load before %s", runtime.NumCPU(),
			unix.ByteSliceToString(u.Release[:]), firstWord("/proc/loadavg")),
		"litefence": firstLine(ctx, o.litefence, "version"),
		"LiteFS":    moduleVersion(o.litefs, "github.com/superfly/litefs"),
		"SQLite":    version + " (in a process of its own, one connection, default cache of 2 MB)",
		"bindfs":    firstLine(ctx, "bindfs", "--version") + " --multithreaded --enable-lock-forwarding",
	}}
	if s.noBindfs != "" {
		r.Setup["bindfs"] = s.noBindfs
	}
	return r
}

func firstLine(ctx context.Context, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// moduleVersion is the version of a module in a Go binary: LiteFS built from
// its module calls itself "development build".
func moduleVersion(binary, module string) string {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err.Error()
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	return "unknown"
}

func firstWord(path string) string {
	b, _ := os.ReadFile(path)
	word, _, _ := strings.Cut(string(b), " ")
	return word
}

func (r *report) printSetup(out io.Writer) {
	for _, k := range []string{"nodes", "rounds", "machine", "litefence", "LiteFS", "SQLite", "bindfs"} {
		fmt.Fprintf(out, "%-10s %s\n", k, r.Setup[k])
	}
}

func (r *report) printRows(out io.Writer) {
	fmt.Fprintf(out, "\nOperations a second, relative to LiteFS alone in the same round: median (least..greatest). again = LiteFS itself once more: noise.\n\n")
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tagain\tfenced\tbindfs\ttarget\t\tlower op/s\tfenced op/s")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.0f\t%.0f\n", row.Name, row.cell("again"), row.cell("fenced"), row.cell("bindfs"),
			row.verdict(), median(row.rates(baseline)), median(row.rates("fenced")))
	}
	t.Flush()
}

// cell is one ratio, or why there is none.
func (r *row) cell(name string) string {
	v := r.ratios(name)
	switch n := r.Failed[name]; {
	case n > 0 && len(v) == 0:
		return "fails: " + r.Fails[name]
	case len(v) == 0:
		return "-"
	case n > 0:
		return fmt.Sprintf("%.2f (%.2f..%.2f), %d failed: %s", median(v), slices.Min(v), slices.Max(v), n, r.Fails[name])
	}
	return fmt.Sprintf("%.2f (%.2f..%.2f)", median(v), slices.Min(v), slices.Max(v))
}

func (r *row) verdict() string {
	switch {
	case r.Target == 0:
		return "-\t"
	case median(r.ratios("fenced")) < r.Target:
		return fmt.Sprintf("%.2f\tBELOW", r.Target)
	}
	return fmt.Sprintf("%.2f\tok", r.Target)
}

func (r *report) writeJSON(path string) error {
	type figures struct {
		*row
		Ratio map[string]float64
	}
	rows := []figures{}
	for _, row := range r.Rows {
		f := figures{row, map[string]float64{}}
		for _, v := range r.variants {
			if all := row.ratios(v.name); len(all) > 0 {
				f.Ratio[v.name] = median(all)
			}
		}
		rows = append(rows, f)
	}
	b, err := json.MarshalIndent(map[string]any{"Setup": r.Setup, "Rows": rows}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// failed reports what only the others may do: LiteFS alone has its own ways to
// kill an application, and bindfs cannot write in every journal mode.
func (r *report) failed() error {
	var errs []error
	for _, row := range r.Rows {
		if n := row.Failed["fenced"]; n > 0 {
			errs = append(errs, fmt.Errorf("%s: the fenced mount failed in %d rounds: %s", row.Name, n, row.Fails["fenced"]))
		}
	}
	return errors.Join(errs...)
}
