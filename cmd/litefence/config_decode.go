package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// configError is an error about one key. Line 0: the key is not in the file.
type configError struct {
	line int
	key  string
	err  error
}

func (e *configError) Error() string {
	if e.line == 0 {
		return fmt.Sprintf("%s: %v", e.key, e.err)
	}
	return fmt.Sprintf("line %d: %s: %v", e.line, e.key, e.err)
}

func (e *configError) Unwrap() error { return e.err }

// configDecoder walks the syntax tree itself, rather than letting the YAML library
// fill the struct: only so does every error know its line and its full key.
type configDecoder struct {
	c      *Config
	dir    string
	fields []configField
	lines  map[string]int // of every key seen
}

func newConfigDecoder(c *Config, dir string) *configDecoder {
	return &configDecoder{c: c, dir: dir, fields: configSchema(c), lines: map[string]int{}}
}

// errorf makes an error about key, with its line where the file has it.
func (d *configDecoder) errorf(key, format string, args ...any) error {
	return &configError{d.lines[key], key, fmt.Errorf(format, args...)}
}

func (d *configDecoder) decode(data []byte) error {
	// A doubled key is reported by section, which words it like all others.
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return syntaxError(err)
	}
	docs := slices.DeleteFunc(f.Docs, func(doc *ast.DocumentNode) bool { return emptyNode(doc.Body) })
	switch len(docs) {
	case 0:
		return errors.New("the file is empty")
	case 1:
		return d.section("", docs[0].Body)
	}
	return fmt.Errorf("line %d: only one YAML document is allowed", lineOf(docs[1].Body))
}

func emptyNode(n ast.Node) bool {
	switch n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return true
	}
	return false
}

// syntaxError makes one line of the library's message, which comes with an
// excerpt of the source.
func syntaxError(err error) error {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil {
		return fmt.Errorf("line %d: not valid YAML: %s", e.GetToken().Position.Line, e.GetMessage())
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("not valid YAML: %s", first)
}

// section reads the mapping n, whose keys' full names begin with prefix.
func (d *configDecoder) section(prefix string, n ast.Node) error {
	name := strings.TrimSuffix(prefix, ".")
	entries, ok := entriesOf(n)
	if !ok {
		if name == "" {
			return fmt.Errorf("line %d: expected keys, as in `node: n1`", lineOf(n))
		}
		return d.errorf(name, "expected a mapping with the keys %s", strings.Join(d.keysUnder(prefix), ", "))
	}
	for _, e := range entries {
		if err := d.entry(prefix, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *configDecoder) entry(prefix string, e *ast.MappingValueNode) error {
	key := prefix + keyText(e.Key)
	line := lineOf(e.Key)
	if first, seen := d.lines[key]; seen {
		return &configError{line, key, fmt.Errorf("given twice, first on line %d", first)}
	}
	d.lines[key] = line
	if f := slices.IndexFunc(d.fields, func(f configField) bool { return f.key == key }); f >= 0 {
		if err := d.fields[f].set.parse(configValue{e.Value, d.dir}); err != nil {
			return d.errorf(key, "%w", err)
		}
		return nil
	}
	if len(d.keysUnder(key+".")) > 0 {
		if emptyNode(e.Value) { // all its keys commented out
			return nil
		}
		return d.section(key+".", e.Value)
	}
	return d.errorf(key, "unknown key; allowed here: %s", strings.Join(d.keysUnder(prefix), ", "))
}

// keysUnder lists the keys that may follow prefix.
func (d *configDecoder) keysUnder(prefix string) (keys []string) {
	for _, f := range d.fields {
		rest, ok := strings.CutPrefix(f.key, prefix)
		if !ok {
			continue
		}
		k, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

func entriesOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// keyText is a key as written, without quotes. An unusual key (a merge, a
// sequence) keeps its source form, and is then unknown.
func keyText(k ast.MapKeyNode) string {
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.String()
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

var envRef = regexp.MustCompile(`\$\{([^}]*)\}`)

// expandEnv replaces ${NAME}. A variable that is not set is an error: an empty
// string in its place would be a config that nobody wrote.
func expandEnv(s string) (string, error) {
	var missing error
	out := envRef.ReplaceAllStringFunc(s, func(ref string) string {
		name := ref[2 : len(ref)-1]
		v, ok := os.LookupEnv(name)
		if !ok && missing == nil {
			missing = fmt.Errorf("the environment variable %s is not set", name)
		}
		return v
	})
	return out, missing
}
