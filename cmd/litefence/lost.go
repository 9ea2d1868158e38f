package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/litefence/litefence/quorum"
)

// lostMain reads the files: it works without a running daemon too.
func lostMain(fs *cli) int {
	path := fs.String("config", "", "config `file` (default /etc/litefence.yml, then ./litefence.yml)")
	asJSON := fs.Bool("json", false, "as JSON")
	words, code, ok := fs.parse()
	if !ok {
		return code
	}
	cfg, err := LoadConfig(*path)
	if err != nil {
		return fail(exitUsage, err)
	}
	// Damaged entries are told after the others, never instead of them.
	all, damaged := quorum.ListLost(cfg.Quorum.DataDir)
	code, err = lostCommand(os.Stdout, all, words, *asJSON)
	if err = errors.Join(err, damaged); err != nil {
		return fail(max(code, exitFailed), err)
	}
	return code
}

func lostCommand(w io.Writer, all []quorum.Lost, args []string, asJSON bool) (int, error) {
	switch {
	case len(args) == 0 || len(args) == 1 && args[0] == "list":
		if asJSON {
			return exitDone, json.NewEncoder(w).Encode(append([]quorum.Lost{}, all...))
		}
		listLost(w, all)
		return exitDone, nil
	case len(args) == 2 && args[0] == "show":
		i := slices.IndexFunc(all, func(e quorum.Lost) bool { return e.ID == args[1] })
		if i < 0 {
			return exitFailed, fmt.Errorf("lost: no entry %q; `litefence lost list` shows them", args[1])
		}
		if asJSON {
			return exitDone, json.NewEncoder(w).Encode(all[i])
		}
		if err := showLost(w, all[i]); err != nil {
			return exitFailed, err
		}
		return exitDone, nil
	}
	return exitUsage, errors.New("lost: want list or show ID")
}

func listLost(w io.Writer, all []quorum.Lost) {
	if len(all) == 0 {
		fmt.Fprintln(w, "nothing was set aside here, and nothing is known to be lost")
		return
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tKIND\tPRIMARY\tDATABASES")
	for _, e := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", e.ID, e.Kind, e.Primary, len(e.Databases))
	}
	t.Flush()
}

func showLost(w io.Writer, e quorum.Lost) error {
	fmt.Fprintf(w, "%s, %s, written by %s\n%s\nprimary %s went on without them (Open %d)\n",
		e.Kind, e.Time.Format(time.RFC3339), e.Node, e.Why, e.Primary, e.Open)
	have := "the primary has"
	if e.Kind == quorum.KindRolledBack {
		have = "the primary has it up to"
	}
	for _, d := range e.Databases {
		fmt.Fprintf(w, "  %s: %s had %s, %s %s\n", d.Name, orNone(d.From), d.Had, have, d.Have)
	}
	if e.Path == "" {
		return nil
	}
	fmt.Fprintf(w, "set aside in %s\n", e.Path)
	if e.Kind == quorum.KindRolledBack {
		return showKept(w, e.Path)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
