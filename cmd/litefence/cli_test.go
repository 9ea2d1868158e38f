package main

import (
	"flag"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// everyCommand lists the commands that do something.
func everyCommand() (all []*command) {
	for _, c := range commands() {
		if c.subs == nil {
			all = append(all, c)
		}
		all = append(all, c.subs...)
	}
	return all
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, c := range everyCommand() {
		t.Run(c.name, func(t *testing.T) {
			name := strings.Fields(c.name)
			for _, args := range [][]string{append(name, "-h"), append(name, "--help"), append([]string{"help"}, name...)} {
				code, out, errs := said(t, func() int { return litefence(args...) })
				require.Zero(t, code)
				require.Empty(t, errs)
				require.True(t, strings.HasPrefix(out, "usage: litefence "+c.name), out)
				require.Contains(t, out, sentence(c.does))
				require.Contains(t, out, c.words)
				require.NotEmpty(t, c.exits)
				for code, means := range c.exits {
					require.Contains(t, out, "\n  "+strconv.Itoa(code)+"  "+means)
				}
				flagsOf(c).VisitAll(func(f *flag.Flag) {
					require.Contains(t, out, "\n  -"+f.Name)
					value, usage := flag.UnquoteUsage(f)
					require.NotEmpty(t, usage, f.Name)
					require.NotContains(t, []string{"string", "int", "value"}, value, "-%s: the usage names the value in backquotes", f.Name)
				})
			}
		})
	}
}

// Whatever is wrong with a command line is said in one line, and is exit 2.
func TestEveryCommandRefusesWrongUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	refuses := func(t *testing.T, want string, args ...string) {
		t.Helper()
		code, out, errs := said(t, func() int { return litefence(args...) })
		require.Equal(t, exitUsage, code, args)
		require.Empty(t, out, args)
		require.True(t, strings.HasPrefix(errs, "litefence: "), errs)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
		require.Contains(t, errs, want, args)
	}
	for _, c := range everyCommand() {
		t.Run(c.name, func(t *testing.T) {
			name := strings.Fields(c.name)
			refuses(t, "-frobnicate; see `litefence "+c.name+" -h`", append(name, "-frobnicate")...)
			if c.takes >= 0 {
				words := strings.Fields(strings.Repeat("word ", c.takes))
				refuses(t, `unexpected "surplus"; see `+"`litefence "+c.name+" -h`", append(append(name, words...), "surplus")...)
			}
			flagsOf(c).VisitAll(func(f *flag.Flag) {
				if value, _ := flag.UnquoteUsage(f); value == "duration" {
					refuses(t, "-"+f.Name, append(name, "-"+f.Name, "soon")...)
				}
			})
		})
	}
	for want, args := range map[string][]string{
		"no command \"frobnicate\"; `litefence -h` lists them": {"frobnicate"},
		"-reason is missing":                                    {"fence"},
		"-for \"\": want ready, writable or fenced":             {"wait"},
		"-for \"happy\": want ready, writable or fenced":        {"wait", "-for", "happy"},
		"-timeout 0s: want more than 0":                         {"handoff", "-timeout", "0s"},
		"want one of bash, zsh, fish":                           {"completion", "csh"},
		"want list or show ID":                                  {"lost", "-config", writeConfig(t, witnessYAML), "drop"},
		"usage: litefence peers":                                {"peers", "drop"},
		"usage: litefence ca init":                              {"ca", "revoke"},
		"neither /etc/litefence.yml nor ./litefence.yml exists": {"status"},
	} {
		refuses(t, want, args...)
	}
}

func TestUsageListsEveryCommand(t *testing.T) {
	code, out, _ := said(t, func() int { return litefence("-h") })
	require.Zero(t, code)
	bare, _, errs := said(t, func() int { return litefence() })
	require.Equal(t, exitUsage, bare)
	require.Equal(t, out, errs)
	for _, c := range commands() {
		require.Contains(t, out, "  "+c.name+" ")
		require.Contains(t, out, c.does)
	}
}

// Commands that show something show it as JSON too, under names that stay.
func TestJSONNames(t *testing.T) {
	shows := map[string]bool{}
	for _, c := range everyCommand() {
		shows[c.name] = flagsOf(c).Lookup("json") != nil
	}
	require.Equal(t, map[string]bool{"run": false, "witness": false, "completion": false}, onlyFalse(shows))
}

func onlyFalse(m map[string]bool) map[string]bool {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_ string, v bool) bool { return v })
	return out
}
