package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reasons are the constants of type Reason in policy.go, so that none is
// forgotten here.
func reasons(t *testing.T) (all []Reason) {
	f, err := parser.ParseFile(token.NewFileSet(), "policy.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Reason") && len(v.Values) == 1 {
			s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			all = append(all, Reason(s))
		}
		return true
	})
	require.Greater(t, len(all), 10)
	return all
}

// Every reason has words of its own.
func TestReasonsHaveWords(t *testing.T) {
	seen := map[string]Reason{}
	for _, r := range reasons(t) {
		text := r.Text()
		require.Equal(t, r == ReasonNone, text == "")
		if r != ReasonNone {
			require.NotEqual(t, string(r), text)
		}
		require.NotContains(t, seen, text, "%q and %q", r, seen[text])
		seen[text] = r
	}
}
