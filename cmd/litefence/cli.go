package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// command is one command of the program. Help and shell completion are made of
// this and of the flags that run declares, so that neither can drift.
type command struct {
	name  string
	does  string         // in one line, for the list
	about string         // the rest, for -h; lines at most 80 wide
	words string         // what may stand beside the flags, for the usage line
	exits map[int]string // what its exit codes beyond 0 mean here
	run   func(*cli) int
	subs  []*command // where set, run is not

	takes int      // how many words; -1 = any, and they end the flags
	first []string // what the first word may be, where it is one of a few
	node  int      // which word may be a node's name, from 1; 0 = none
}

// cli is the command line of one command. A command declares its flags first and
// calls parse then; whatever it does, it does after that.
type cli struct {
	*flag.FlagSet
	cmd      *command
	args     []string
	describe bool // only the flags are wanted: parse ends the command
}

func newCLI(cmd *command, args []string) *cli {
	c := &cli{FlagSet: flag.NewFlagSet(cmd.name, flag.ContinueOnError), cmd: cmd, args: args}
	c.SetOutput(io.Discard) // parse words its errors
	return c
}

// flagsOf are the flags that a command declares.
func flagsOf(cmd *command) *flag.FlagSet {
	c := newCLI(cmd, nil)
	c.describe = true
	cmd.run(c)
	return c.FlagSet
}

// parse takes flags before, between and after the other words. It returns whether
// to go on, and the exit code where not.
func (c *cli) parse() (words []string, code int, ok bool) {
	if c.describe {
		return nil, exitDone, false
	}
	for args := c.args; ; {
		err := c.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			c.help(os.Stdout)
			return nil, exitDone, false
		case err != nil:
			return nil, c.misused("%w", err), false
		}
		if c.cmd.takes < 0 {
			return c.Args(), 0, true
		}
		if c.NArg() == 0 {
			break
		}
		words, args = append(words, c.Arg(0)), c.Args()[1:]
	}
	if len(words) > c.cmd.takes {
		return nil, c.misused("unexpected %q", words[c.cmd.takes]), false
	}
	return words, 0, true
}

// misused says in one line what is wrong with the command line.
func (c *cli) misused(format string, args ...any) int {
	err := fmt.Errorf(format, args...)
	return fail(exitUsage, fmt.Errorf("%s: %w; see `litefence %s -h`", c.cmd.name, err, c.cmd.name))
}

func (c *cli) help(w io.Writer) {
	fmt.Fprintf(w, "usage: litefence %s\n\n%s\n", c.line(), sentence(c.cmd.does))
	if c.cmd.about != "" {
		fmt.Fprintf(w, "%s\n", c.cmd.about)
	}
	fmt.Fprintf(w, "\nflags:\n")
	c.SetOutput(w)
	c.PrintDefaults()
	fmt.Fprintf(w, "\nexit codes:\n  0  done\n")
	for _, code := range slices.Sorted(maps.Keys(c.cmd.exits)) {
		fmt.Fprintf(w, "  %d  %s\n", code, c.cmd.exits[code])
	}
}

// line is the command line in short: every flag, then the words.
func (c *cli) line() string {
	parts := []string{c.cmd.name}
	c.VisitAll(func(f *flag.Flag) {
		value, _ := flag.UnquoteUsage(f)
		if !strings.Contains(value, "|") {
			value = strings.ToUpper(value)
		}
		parts = append(parts, "["+strings.TrimSpace("-"+f.Name+" "+value)+"]")
	})
	if c.cmd.words != "" {
		parts = append(parts, c.cmd.words)
	}
	return strings.Join(parts, " ")
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

// findCommand returns the command that args begin with, and what follows.
func findCommand(all []*command, args []string) (cmd *command, rest []string, err error) {
	for _, c := range all {
		words := strings.Fields(c.name)
		if len(args) < len(words) || !slices.Equal(args[:len(words)], words) {
			continue
		}
		if c.subs == nil {
			return c, args[len(words):], nil
		}
		if cmd, rest, err = findCommand(c.subs, args); err == nil {
			return cmd, rest, nil
		}
		return &command{name: c.name, run: func(l *cli) int { return group(c, l.args) }}, args[1:], nil
	}
	if len(args) == 0 {
		return nil, nil, errors.New("no command given")
	}
	return nil, nil, fmt.Errorf("no command %q; `litefence -h` lists them", args[0])
}

// group answers for a command that only holds others.
func group(c *command, args []string) int {
	var lines []string
	for _, sub := range c.subs {
		lines = append(lines, "litefence "+strings.TrimSpace(sub.name+" "+sub.words)+" [flags]")
	}
	line := "usage: " + strings.Join(lines, " | ") + "    (-h on each)"
	if len(args) > 0 && asksHelp(args[0]) {
		fmt.Println(line)
		for _, sub := range c.subs {
			fmt.Printf("  %-11s %s\n", sub.name, sub.does)
		}
		return exitDone
	}
	return fail(exitUsage, errors.New(line))
}
