// Command litefence fences writes to SQLite databases on LiteFS: through its
// mount they pass only while a majority of nodes vouches for this one.
//
// It is the only place that knows all rooms of the house (fusefs, quorum,
// quorum/litefs, policy) and wires them in one straight sequence, in run.go.
package main

import (
	"fmt"
	"io"
	"os"
	"slices"
)

// Exit codes are an interface: scripts rely on them. Never reuse one.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2 // wrong usage or config
	exitNotReady = 3 // not ready, or not in the asked-for state in time
	exitUnsafe   = 4 // refused because it would be unsafe
	exitBroken   = 5 // a promise was seen broken
)

func main() {
	if len(os.Args) > 1 {
		if code, ok := hiddenMain(os.Args[1], os.Args[2:]); ok {
			os.Exit(code)
		}
	}
	os.Exit(litefence(os.Args[1:]...))
}

// litefence runs one command line and returns its exit code.
func litefence(args ...string) int {
	switch {
	case len(args) > 1 && args[0] == "help":
		args = append(slices.Clone(args[1:]), "-h")
	case len(args) > 0 && asksHelp(args[0]):
		usage(os.Stdout)
		return exitDone
	}
	cmd, rest, err := findCommand(commands(), args)
	switch {
	case err == nil:
		return cmd.run(newCLI(cmd, rest))
	case len(args) == 0:
		usage(os.Stderr)
		return exitUsage
	}
	return fail(exitUsage, err)
}

func asksHelp(arg string) bool {
	return slices.Contains([]string{"-h", "-help", "--help", "help"}, arg)
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: litefence COMMAND [flags]    (-h on each)")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.does)
	}
}

// fail prints one clear line.
func fail(code int, err error) int {
	fmt.Fprintln(os.Stderr, "litefence:", err)
	return code
}
