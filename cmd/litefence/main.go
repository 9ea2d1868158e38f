// Command litefence fences writes to SQLite databases on LiteFS: through its
// mount they pass only while a majority of nodes vouches for this one.
//
// It is the only place that knows all rooms of the house (fusefs, quorum,
// quorum/litefs, policy) and wires them in one straight sequence, in run.go.
package main

import (
	"errors"
	"flag"
	"fmt"
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

type command struct {
	name, does string
	run        func(args []string) int
}

var commands = []command{
	{"run", "the daemon: raft, lease endpoint, relay, fenced mount; then APP, if given after --", runMain},
	{"witness", "a voter without LiteFS and mount: the third vote of a two-node cluster", witnessMain},
	{"status", "this node and the cluster as it sees it", statusMain},
	{"fence", "refuse writes on this node until unfence; a leader hands leadership on", fenceMain},
	{"unfence", "lift a manual fence", unfenceMain},
	{"handoff", "make another node primary, without a loss, or call it off", handoffMain},
	{"peers", "the members, and their change: peers [add NODE ADDR | remove NODE]", peersMain},
	{"wait", "wait until this node is ready, writable or fenced", waitMain},
	{"ca", "certificates for the mutual TLS between nodes: ca init, ca issue NODE", caMain},
	{"accept-loss", "let this node become primary although nobody in step with the last one can", acceptLossMain},
	{"lost", "transactions that were set aside or are known to be lost", lostMain},
	{"demo", "three nodes with real LiteFS on this machine, a silent partition, the figures", demoMain},
	{"version", "version, commit, Go, module versions", versionMain},
}

func main() {
	if len(os.Args) > 1 {
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == os.Args[1] })
		if i >= 0 {
			os.Exit(commands[i].run(os.Args[2:]))
		}
		if code, ok := hiddenMain(os.Args[1], os.Args[2:]); ok {
			os.Exit(code)
		}
	}
	os.Exit(usage())
}

func usage() int {
	asked := len(os.Args) > 1 && slices.Contains([]string{"-h", "-help", "--help", "help"}, os.Args[1])
	w := os.Stderr
	if asked {
		w = os.Stdout
	} else if len(os.Args) > 1 {
		fmt.Fprintf(w, "litefence: no command %q\n\n", os.Args[1])
	}
	fmt.Fprintln(w, "usage: litefence COMMAND [flags]    (-h on each)")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.does)
	}
	if asked {
		return exitDone
	}
	return exitUsage
}

// newFlags makes a flag set whose errors are a usage error and whose -h is not.
func newFlags(name, line string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "usage: litefence %s\n", line)
		fs.PrintDefaults()
	}
	return fs
}

// parse returns whether to go on, and the exit code where not.
func parse(fs *flag.FlagSet, args []string) (code int, ok bool) {
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone, false
	case err != nil:
		return exitUsage, false
	}
	return 0, true
}

// parseAround takes flags before, between and after the other words.
func parseAround(fs *flag.FlagSet, args []string) (words []string, code int, ok bool) {
	for {
		if code, ok = parse(fs, args); !ok || fs.NArg() == 0 {
			return words, code, ok
		}
		words, args = append(words, fs.Arg(0)), fs.Args()[1:]
	}
}

// fail prints one clear line.
func fail(code int, err error) int {
	fmt.Fprintln(os.Stderr, "litefence:", err)
	return code
}
