package model

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	docFile  = "../../docs/lease.md"
	docBegin = "<!-- from the tests: MODEL_UPDATE=1 go test ./quorum/model -run TestEveryRule -->\n"
	docEnd   = "<!-- end -->\n"
)

// checkDoc sees that docs/lease.md says what was found.
func checkDoc(t *testing.T, found []finding) {
	b, err := os.ReadFile(docFile)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(b), docBegin)
	require.True(t, ok, "%s has lost its mark", docFile)
	_, after, ok := strings.Cut(rest, docEnd)
	require.True(t, ok, "%s has lost its end mark", docFile)
	want := before + docBegin + docTable(found) + docEnd + after
	if update() {
		require.NoError(t, os.WriteFile(docFile, []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(b), "docs/lease.md is not what the tests find")
}

func docTable(found []finding) string {
	var b strings.Builder
	b.WriteString("| rule | without it | seed | moves |\n|---|---|---|---|\n")
	for _, f := range found {
		kind, _, _ := strings.Cut(f.what, ":")
		fmt.Fprintf(&b, "| %s | %s | %d | %d |\n", inWords(f.off), kind, f.seed, f.moves)
	}
	b.WriteString("\nA second line alone may fall:\n\n| rule | what stands behind it |\n|---|---|\n")
	for _, l := range secondLines {
		fmt.Fprintf(&b, "| %s | %s |\n", inWords(l.off), l.why)
	}
	return b.String()
}

func inWords(off Rules) string {
	var parts []string
	for r := range numRules {
		if !off.on(r) {
			parts = append(parts, fmt.Sprintf("`%s` %s", r, ruleTexts[r]))
		}
	}
	s := strings.Join(parts, "; and ")
	if !off.on(NoCredit) {
		s += " (no saved wait, `NoCredit`)"
	}
	if !off.on(Prompt) {
		s += " (where raft's goroutines end in time, `Prompt`)"
	}
	if !off.on(LossOnly) {
		s += " (`LossOnly`)"
	}
	return s
}
