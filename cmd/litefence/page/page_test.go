package page

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func get(t *testing.T, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestPolicyAllowsOnlyThePageItself(t *testing.T) {
	resp := get(t)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	csp := resp.Header.Get("Content-Security-Policy")
	require.Contains(t, csp, "default-src 'none'")
	require.Regexp(t, `script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'sha256-[A-Za-z0-9+/]{43}='; connect-src 'self';`, csp)
	require.NotContains(t, csp, "unsafe")
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
}

func TestUnchangedPageIsNotSentAgain(t *testing.T) {
	tag := get(t).Header.Get("ETag")
	require.NotEmpty(t, tag)
	require.Equal(t, http.StatusNotModified, get(t, "If-None-Match", tag).StatusCode)
}

// One file: nothing from elsewhere, and nothing that turns text into markup.
func TestPageHasNoOutsideResourcesAndWritesNoMarkup(t *testing.T) {
	require.Equal(t, 1, strings.Count(string(index), "<script>"))
	require.Equal(t, 1, strings.Count(string(index), "<style>"))
	for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
		"src=", "@import", "url(", " style=\"", "onclick=", "https://"} {
		require.NotContains(t, string(index), bad)
	}
	for _, at := range regexp.MustCompile(`http://[^'"\s<]*`).FindAllString(string(index), -1) {
		require.Equal(t, "http://www.w3.org/2000/svg", at, "a name, not an address, is the only one")
	}
}

// Every reason that policy knows has its words on the page.
func TestEveryReasonHasWords(t *testing.T) {
	reasons := reasonsOfPolicy(t)
	require.Contains(t, reasons, "stale-leader")
	_, words, _ := strings.Cut(string(index), "const WORDS = {")
	words, _, found := strings.Cut(words, "\n};")
	require.True(t, found)
	for _, r := range reasons {
		require.Regexp(t, `(?m)^  '?`+regexp.QuoteMeta(r)+`'?: \{`, words, "policy reason %q has no words in index.html", r)
	}
}

func reasonsOfPolicy(t *testing.T) (reasons []string) {
	t.Helper()
	pkgs, err := parser.ParseDir(token.NewFileSet(), "../../../policy", nil, 0)
	require.NoError(t, err)
	for _, f := range pkgs["policy"].Files {
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if id, ok := v.Type.(*ast.Ident); !ok || id.Name != "Reason" {
				return true
			}
			for _, x := range v.Values {
				if lit, ok := x.(*ast.BasicLit); ok {
					if s, err := strconv.Unquote(lit.Value); err == nil && s != "" {
						reasons = append(reasons, s)
					}
				}
			}
			return true
		})
	}
	return reasons
}
