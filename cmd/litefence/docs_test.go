package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
)

// repoRoot is where links of the documentation end.
const repoRoot = "../.."

// documents lists every Markdown file that the project shows.
func documents(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "deploy/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(repoRoot, pattern))
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.Greater(t, len(files), 10)
	return files
}

var (
	fenced     = regexp.MustCompile("(?ms)^ *(```|~~~).*?^ *(```|~~~) *$")
	inlineCode = regexp.MustCompile("`[^`\n]+`")
	mdLink     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	htmlLink   = regexp.MustCompile(`(?:src|srcset|href)="([^"]+)"`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#* *$`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// linksOf finds the targets in a Markdown text that are no code.
func linksOf(text string) (targets []string) {
	text = inlineCode.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
	for _, re := range []*regexp.Regexp{mdLink, htmlLink} {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			targets = append(targets, m[1])
		}
	}
	return targets
}

// anchorsOf returns the names by which the headings of a Markdown text can be
// linked to, as GitHub makes them.
func anchorsOf(text string) map[string]bool {
	anchors, seen := map[string]bool{}, map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, linkText.ReplaceAllString(m[1], "$1"))
		name := slug
		if n := seen[slug]; n > 0 {
			name = fmt.Sprintf("%s-%d", slug, n)
		}
		seen[slug]++
		anchors[name] = true
	}
	return anchors
}

// checkLink says what is wrong with a link in file.
func checkLink(file, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "" {
		return err
	}
	path := file
	if u.Path != "" {
		path = filepath.Join(filepath.Dir(file), u.Path)
	}
	if rel, err := filepath.Rel(repoRoot, path); err != nil || strings.HasPrefix(rel, "..") {
		return fmt.Errorf("%s lies outside of the repository", target)
	}
	fi, err := os.Stat(path)
	if err != nil || u.Fragment == "" {
		return err
	}
	if fi.IsDir() || filepath.Ext(path) != ".md" {
		return fmt.Errorf("%s: only headings of Markdown can be linked to", target)
	}
	text, err := os.ReadFile(path)
	if err == nil && !anchorsOf(string(text))[u.Fragment] {
		err = fmt.Errorf("%s: no such heading", target)
	}
	return err
}

func TestLinksOfTheDocumentation(t *testing.T) {
	checked := 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, target := range linksOf(string(text)) {
			checked++
			if err := checkLink(file, target); err != nil {
				t.Errorf("%s: %v", strings.TrimPrefix(file, repoRoot+"/"), err)
			}
		}
	}
	require.Greater(t, checked, 50)
}

func TestLinkChecker(t *testing.T) {
	require.Equal(t, []string{"a.md", "b.svg", "c.md#x"}, linksOf("[a](a.md) `[no](no.md)` ![b](b.svg)\n```\n[no](no.md)\n```\n[c](c.md#x)"))
	require.Equal(t, map[string]bool{"split_brain-detected-is-on": true, "ab-1": true, "ab": true},
		anchorsOf("# `split_brain`-detected, is [on](x.md)\n## a.b\n```\n# no\n```\n## ab ##\n"))
	readme := repoRoot + "/README.md"
	require.NoError(t, checkLink(readme, "docs/lease.md#the-argument"))
	require.NoError(t, checkLink(readme, "https://example.com/x"))
	require.Error(t, checkLink(readme, "docs/lease.md#no-such-thing"))
	require.Error(t, checkLink(readme, "docs/no-such-file.md"))
	require.Error(t, checkLink(readme, "../outside.md"))
	require.Error(t, checkLink(readme, "LICENSE#x"))
}

// Whoever looks for a page finds it from the index.
func TestIndexNamesEveryPage(t *testing.T) {
	index, err := os.ReadFile(repoRoot + "/docs/README.md")
	require.NoError(t, err)
	named := linksOf(string(index))
	for _, file := range documents(t) {
		page, err := filepath.Rel(repoRoot+"/docs", file)
		require.NoError(t, err)
		if page != "README.md" && !strings.HasPrefix(page, "..") && !slices.Contains(named, page) {
			t.Errorf("docs/README.md does not name %s", page)
		}
	}
}

// codeHeadings lists what the ### headings below the ## heading section name as
// code.
func codeHeadings(t *testing.T, file, section string) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\n## "+section+"\n")
	require.True(t, ok, "%s has no section %q", file, section)
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^### `([^`]+)`$").FindAllStringSubmatch(rest, -1) {
		names = append(names, m[1])
	}
	return names
}

// reasonConstants are the values of all constants of type policy.Reason.
func reasonConstants(t *testing.T) (reasons []string) {
	t.Helper()
	files, err := filepath.Glob(repoRoot + "/policy/*.go")
	require.NoError(t, err)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
				return true
			}
			for _, v := range spec.Values {
				s, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				require.NoError(t, err)
				if s != "" {
					reasons = append(reasons, s)
				}
			}
			return true
		})
	}
	require.Greater(t, len(reasons), 10)
	return reasons
}

const runbook = repoRoot + "/docs/runbook.md"

func TestRunbookHasEveryReason(t *testing.T) {
	require.ElementsMatch(t, reasonConstants(t), codeHeadings(t, runbook, "Reasons"))
}

func TestRunbookHasEveryAlert(t *testing.T) {
	rules, err := os.ReadFile(repoRoot + "/deploy/prometheus/alerts.yml")
	if os.IsNotExist(err) {
		t.Skip("there are no alerts yet")
	}
	require.NoError(t, err)
	var alerts []string
	for _, m := range regexp.MustCompile(`(?m)^\s*-?\s*alert:\s*"?([^"\s]+)`).FindAllStringSubmatch(string(rules), -1) {
		alerts = append(alerts, m[1])
	}
	require.Subset(t, alerts, []string{"split_brain_detected", "quorum_lost", "heartbeat_timeout"})
	require.ElementsMatch(t, alerts, codeHeadings(t, runbook, "Alerts"))
}

// fieldsOf lists the paths of all JSON fields of a type: a.b, a[].b.
func fieldsOf(typ reflect.Type, path string) (paths []string) {
	leaf := reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Marshaler]()) ||
		reflect.PointerTo(typ).Implements(reflect.TypeFor[encoding.TextMarshaler]()) || typ == reflect.TypeFor[time.Time]()
	switch {
	case leaf:
	case typ.Kind() == reflect.Pointer:
		return fieldsOf(typ.Elem(), path)
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
		return append([]string{path}, fieldsOf(typ.Elem(), path+"[]")[1:]...)
	case typ.Kind() == reflect.Struct:
		paths = append(paths, path)
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case name == "-" || !f.IsExported() && !f.Anonymous:
			case f.Anonymous && name == "":
				paths = append(paths, fieldsOf(f.Type, path)[1:]...)
			default:
				if name == "" {
					name = f.Name
				}
				paths = append(paths, fieldsOf(f.Type, strings.TrimPrefix(path+"."+name, "."))...)
			}
		}
		return paths
	}
	return []string{path}
}

// The schema of /v1/status names every field of the answer, and no other.
func TestStatusSchema(t *testing.T) {
	text, err := os.ReadFile(repoRoot + "/docs/status.md")
	require.NoError(t, err)
	var named []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		named = append(named, m[1])
	}
	require.ElementsMatch(t, fieldsOf(reflect.TypeFor[statusReply](), "")[1:], named)
}

// Every path of the admin interface is documented.
func TestEveryPathIsDocumented(t *testing.T) {
	source, err := os.ReadFile("admin.go")
	require.NoError(t, err)
	page, err := os.ReadFile(repoRoot + "/docs/http.md")
	require.NoError(t, err)
	paths := regexp.MustCompile(`"(?:GET|POST) (/[^"]*)"`).FindAllStringSubmatch(string(source), -1)
	require.Greater(t, len(paths), 10)
	for _, m := range paths {
		path := strings.TrimSuffix(m[1], "{$}")
		require.Regexp(t, "`(?:GET |POST )?"+regexp.QuoteMeta(path)+"`", string(page))
	}
}
