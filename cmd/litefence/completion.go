package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"
)

var shells = []string{"bash", "zsh", "fish"}

func completionMain(c *cli) int {
	words, code, ok := c.parse()
	if !ok {
		return code
	}
	shell := strings.Join(words, "")
	if !slices.Contains(shells, shell) {
		return c.misused("want one of %s", strings.Join(shells, ", "))
	}
	if err := writeCompletion(os.Stdout, shell); err != nil {
		return fail(exitFailed, err)
	}
	return exitDone
}

func writeCompletion(w io.Writer, shell string) error {
	return completions.ExecuteTemplate(w, shell, describeAll(commands()))
}

// described is a command as a completion script needs it.
type described struct {
	Name, Does string
	Flags      []describedFlag
	First      []string
	Node       int
	Takes      int
	Subs       []described
}

type describedFlag struct {
	Name, Does string
	Value      string   // what it takes, "" = it is a switch
	Kind       string   // file, dir, list, word; "" for a switch
	List       []string // of kind list
}

func describeAll(all []*command) (out []described) {
	for _, c := range all {
		d := described{Name: c.name, Does: c.does, First: c.first, Node: c.node, Takes: c.takes, Subs: describeAll(c.subs)}
		if c.subs == nil {
			flagsOf(c).VisitAll(func(f *flag.Flag) { d.Flags = append(d.Flags, describeFlag(f)) })
		}
		out = append(out, d)
	}
	return out
}

// describeFlag goes by the name that a flag's usage gives its value.
func describeFlag(f *flag.Flag) describedFlag {
	value, usage := flag.UnquoteUsage(f)
	d := describedFlag{Name: f.Name, Does: usage, Value: value, Kind: "word"}
	switch {
	case value == "":
		d.Kind = ""
	case value == "file" || value == "socket":
		d.Kind = "file"
	case value == "directory":
		d.Kind = "dir"
	case strings.Contains(value, "|"):
		d.Kind, d.List = "list", strings.Split(value, "|")
	}
	return d
}

// leaves are the commands that take flags.
func leaves(all []described) (out []described) {
	for _, d := range all {
		if d.Subs == nil {
			out = append(out, d)
		}
		out = append(out, leaves(d.Subs)...)
	}
	return out
}

// last is the last word of a command's name.
func last(name string) string { return name[strings.LastIndexByte(name, ' ')+1:] }

var completions = func() *template.Template {
	t := template.New("").Funcs(template.FuncMap{
		"leaves": leaves, "last": last, "join": strings.Join,
		// Single quotes are ended, escaped and begun again.
		"quote":  func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" },
		"fquote": func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'" },
		// In zsh's specs, brackets and colons end a part.
		"zspec":  zspec,
		"zvalue": zvalue,
		// How many words stand before a node's name.
		"fishwords": func(d described) int { return len(strings.Fields(d.Name)) + d.Node - 1 },
	})
	for name, text := range map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion} {
		template.Must(t.New(name).Parse(text))
	}
	return t
}()

func zspec(s string) string {
	return strings.NewReplacer("[", "(", "]", ")", ":", `\:`, "`", "").Replace(s)
}

// zvalue is what stands behind a flag in a spec of zsh's _arguments.
func zvalue(f describedFlag) string {
	switch f.Kind {
	case "":
		return ""
	case "file":
		return ":file:_files"
	case "dir":
		return ":directory:_files -/"
	case "list":
		return ":value:(" + strings.Join(f.List, " ") + ")"
	}
	return ":" + zspec(f.Value) + ": "
}

const nodesCommand = "complete-nodes"

// nodesMain prints the names of the nodes, for completion: those that the daemon
// knows, or else those of the config. It says nothing else, whatever is wrong.
func nodesMain(args []string) int {
	c := newCLI(&command{name: nodesCommand, takes: 0}, args)
	connect := socketFlags(c)
	path := c.Lookup("config")
	if _, code, ok := c.parse(); !ok {
		return code
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	names := map[string]bool{}
	if client, err := connect(); err == nil {
		if s, err := client.status(ctx); err == nil {
			names[s.Node] = true
			for _, p := range s.Peers {
				names[p.Node] = true
			}
		}
	}
	if cfg, err := LoadConfig(path.Value.String()); err == nil && len(names) == 0 {
		for n := range cfg.Quorum.Peers {
			names[n] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		fmt.Println(n)
	}
	return exitDone
}
