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
	"strings"
	"text/tabwriter"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// report is what -json writes.
type report struct {
	Setup   [][2]string
	Rows    []*row
	Commits []*commitRow
}

func newReport(ctx context.Context, o options, todo []workload, commits []commitLoad) *report {
	var rows []*row
	for _, w := range todo {
		rows = append(rows, newRow(w))
	}
	sqlite, _, _ := sqlite3.Version()
	var commitRows []*commitRow
	for _, l := range commits {
		commitRows = append(commitRows, newCommitRow(l))
	}
	rqlite := o.rqliteMissing()
	if rqlite == "" {
		rqlite = moduleVersion(o.rqlite, "github.com/rqlite/rqlite/v8")
	}
	bindfs := "not installed"
	if bindfsThere() {
		bindfs = firstLine(ctx, "bindfs", "--version") + " --multithreaded --enable-lock-forwarding"
	}
	return &report{Rows: rows, Commits: commitRows, Setup: [][2]string{
		{"nodes", fmt.Sprintf("%d on this machine, heartbeat %v, lease %v", o.nodes, o.heartbeat, o.lease)},
		{"table", fmt.Sprintf("%d rows, two in a page of 4 kB", o.rows)},
		{"rounds", fmt.Sprintf("%d, each %d turns of %v for every variant", o.rounds, o.turns, o.slice/time.Duration(o.turns))},
		{"commits", fmt.Sprintf("%d nodes for each variant, all clusters at once; as many rounds, each %d turns of %v for every variant", o.commitNodes, commitTurns, o.commitTurn())},
		{"machine", fmt.Sprintf("%d cores, Linux %s, load before %s", runtime.NumCPU(), firstLine(ctx, "uname", "-r"), firstLine(ctx, "cut", "-d ", "-f1", "/proc/loadavg"))},
		{"litefence", firstLine(ctx, o.litefence, "version")},
		{"LiteFS", moduleVersion(o.litefs, "github.com/superfly/litefs")},
		{"SQLite", sqlite + ", in a process of its own, one connection, default cache of 2 MB"},
		{"bindfs", bindfs},
		{"rqlite", rqlite},
	}}
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

func (r *report) printSetup(out io.Writer) {
	for _, line := range r.Setup {
		fmt.Fprintf(out, "%-10s %s\n", line[0], line[1])
	}
}

func (r *report) printRows(out io.Writer) {
	fmt.Fprintf(out, "\nOperations a second, relative to LiteFS alone in the same round: median (least..greatest). again = LiteFS itself once more: noise.\n\n")
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tagain\tfenced\tbindfs\ttarget\t\tlower op/s\tfenced op/s")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.0f\t%.0f\n", row.Name, row.cell("again"), row.cell("fenced"), row.cell("bindfs"),
			row.verdict(), median(row.Rates[baseline]), median(row.Rates["fenced"]))
	}
	t.Flush()
}

func (r *report) writeJSON(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
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
		if f := row.Fails["fenced"]; len(f) > 0 {
			errs = append(errs, fmt.Errorf("%s: the fenced mount fails %d times: %s", row.Name, len(f), f[0]))
		}
	}
	for _, row := range r.Commits {
		for _, name := range row.Variants {
			if f := row.Figures[name].Fails; len(f) > 0 && isMode(name) {
				errs = append(errs, fmt.Errorf("%s: %s fails %d times: %s", row.Name, name, len(f), f[0]))
			}
		}
	}
	return errors.Join(errs...)
}
