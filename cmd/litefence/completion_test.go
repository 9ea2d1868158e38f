package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// completeInBash asks a real bash what it would offer for the last of words.
func completeInBash(t *testing.T, dir string, words ...string) []string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	script := filepath.Join(dir, "completion.bash")
	f, err := os.Create(script)
	require.NoError(t, err)
	require.NoError(t, writeCompletion(f, "bash"))
	require.NoError(t, f.Close())
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, "'"+w+"'")
	}
	// The program's own name is looked up for the names of nodes.
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(bash, "--norc", "-c", fmt.Sprintf(`set -u; source %s; COMP_WORDS=(%s %s); COMP_CWORD=%d; _litefence; printf '%%s\n' "${COMPREPLY[@]-}"`,
		script, self, strings.Join(quoted, " "), len(words)))
	cmd.Env = append(os.Environ(), asProgram)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	require.Empty(t, errs.String())
	return strings.Fields(string(out))
}

func TestBashCompletesEveryCommandAndFlag(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	require.ElementsMatch(t, names, completeInBash(t, dir, ""))
	for _, c := range everyCommand() {
		want := []string{"-h"}
		flagsOf(c).VisitAll(func(f *flag.Flag) { want = append(want, "-"+f.Name) })
		require.ElementsMatch(t, want, completeInBash(t, dir, append(strings.Fields(c.name), "-")...), c.name)
	}
}

func TestBashCompletesWords(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "litefence.yml"), []byte(witnessYAML), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "litedir"), 0o700))
	nodes := []string{"n1", "n2", "n3"}
	require.Equal(t, nodes, nodesOf(t, witnessYAML))
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"st", []string{"status"}},
		{"ca ", []string{"init", "issue"}},
		{"ca is", []string{"issue"}},
		{"completion ", shells},
		{"wait -for ", []string{"ready", "writable", "fenced"}},
		{"wait -for w", []string{"writable"}},
		{"wait --for w", []string{"writable"}},
		{"wait -for = f", []string{"fenced"}},
		{"wait -t", []string{"-timeout"}},
		{"wait --t", []string{"--timeout"}},
		{"wait -timeout ", nil},
		{"wait x", nil},
		{"status -config litef", []string{"litefence.yml"}},
		{"ca init -dir lite", []string{"litedir"}},
		{"peers ", []string{"add", "remove"}},
		{"peers remove ", nodes},
		{"peers -json remove ", nodes},
		{"peers -config litefence.yml remove n", nodes},
		{"peers -config = litefence.yml remove n", nodes},
		{"peers remove n1 ", nil},
		{"handoff n", nodes},
		{"handoff -timeout 3s n", nodes},
		{"handoff n2 ", nil},
		{"frobnicate ", nil},
		{"run -- litefence.y", []string{"litefence.yml"}},
	} {
		require.ElementsMatch(t, tc.want, completeInBash(t, dir, strings.Split(tc.line, " ")...), tc.line)
	}
}

// nodesOf are the nodes of a config, for the test's own sake.
func nodesOf(t *testing.T, text string) (names []string) {
	c, err := parseConfig([]byte(text), "/")
	require.NoError(t, err)
	for n := range c.Quorum.Peers {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Every shell's script parses, and names every command and flag.
func TestCompletionScriptsParse(t *testing.T) {
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			code, out, errs := said(t, func() int { return litefence("completion", shell) })
			require.Zero(t, code, errs)
			for _, c := range everyCommand() {
				require.Contains(t, out, last(c.name))
				flagsOf(c).VisitAll(func(f *flag.Flag) { require.Contains(t, out, f.Name) })
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(shell + " is not installed: its script was not parsed")
			}
			file := filepath.Join(t.TempDir(), "litefence")
			require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
			msg, err := exec.Command(path, "-n", file).CombinedOutput()
			require.NoError(t, err, string(msg))
			require.Empty(t, string(msg))
		})
	}
}

// Where fish is installed, it offers what bash does.
func TestFishCompletes(t *testing.T) {
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Skip("fish is not installed")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "litefence.yml"), []byte(witnessYAML), 0o600))
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, "litefence")))
	f, err := os.Create(filepath.Join(dir, "litefence.fish"))
	require.NoError(t, err)
	require.NoError(t, writeCompletion(f, "fish"))
	require.NoError(t, f.Close())
	for line, want := range map[string][]string{
		"st":                   {"status"},
		"ca is":                {"issue"},
		"completion ":          shells,
		"wait -for ":           {"ready", "writable", "fenced"},
		"peers ":               {"add", "remove"},
		"peers remove ":        {"n1", "n2", "n3"},
		"handoff ":             {"n1", "n2", "n3"},
		"handoff n1 ":          nil,
		"version -":            {"-json"},
		"status -config litef": {"litefence.fish", "litefence.yml", "litefence"},
	} {
		cmd := exec.Command(fish, "--no-config", "-c", "source litefence.fish; complete -C 'litefence "+line+"'")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), asProgram, "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		var got []string
		for l := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
			got = append(got, word)
		}
		if strings.HasSuffix(line, " is") { // fish offers what merely contains it, too
			require.Subset(t, got, want, line)
			continue
		}
		require.ElementsMatch(t, want, got, line)
	}
}
