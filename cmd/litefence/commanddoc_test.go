//go:build !litefence_unsafe

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const commandsDoc = "../../docs/commands.md"

const commandsIntro = "# Commands\n\n" +
	"<!-- Made from cmd/litefence/commands.go: UPDATE=1 go test ./cmd/litefence -run TestCommandReference -->\n\n" +
	"`litefence COMMAND [flags]`; `-h` on each shows what stands here. Flags may stand before, between and after the other words, with one dash or two. What a command shows it shows as JSON with `-json`; what is wrong goes to standard error, in one line.\n\n" +
	"Exit codes mean the same everywhere and are never reused: 0 done, 1 failed, 2 wrong usage or config, 3 not ready or not in the asked-for state in time, 4 refused because it would be unsafe, 5 a promise was seen broken.\n\n" +
	"Shell completion: `litefence completion bash|zsh|fish`, below.\n"

// The reference is what -h says, in a normal build.
func TestCommandReference(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(commandsIntro)
	for _, c := range everyCommand() {
		b.WriteString("\n## " + c.name + "\n\n```\n")
		l := newCLI(c, nil)
		l.describe = true
		c.run(l)
		// The default is the name of the machine that this runs on.
		if f := l.Lookup("node"); f != nil {
			f.DefValue = ""
		}
		l.help(&b)
		b.WriteString("```\n")
	}
	want := strings.ReplaceAll(b.String(), "\t", "    ")
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(commandsDoc, []byte(want), 0o644))
	}
	got, err := os.ReadFile(commandsDoc)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "docs/commands.md is not what the commands say; UPDATE=1 makes it so")
}

// The document of the doctor names every examination.
func TestCheckReference(t *testing.T) {
	got, err := os.ReadFile("../../docs/check.md")
	require.NoError(t, err)
	for _, x := range append([]examination{hostExamination}, examinations...) {
		require.Contains(t, string(got), "\n| `"+x.name+"` |")
	}
}
