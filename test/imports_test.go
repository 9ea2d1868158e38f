package test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/litefence/litefence"

// mayImport is the design's "Who may know whom": for every room, the packages
// of the project that its code may import. Tests of a room keep the rule too,
// except for the shared helpers of test/.
var mayImport = map[string][]string{
	"policy":             {},
	"fusefs":             {"policy"},
	"quorum":             {"policy"},
	"quorum/model":       {"policy"},
	"quorum/litefs":      {"policy"},
	"cmd/litefence":      {"policy", "fusefs", "quorum", "quorum/litefs", "cmd/litefence/page", "test/cluster", "test/workload"},
	"cmd/litefence/page": {},
	"test":               {"test/cluster", "test/workload"},
	"test/bench":         {"test/cluster"},
	"test/cluster":       {"test/workload"},
	"test/history":       {},
	"test/report":        {"test/history"},
	"test/page":          {"test/cluster", "test/workload", "cmd/litefence/page"},
	"test/workload":      {},
}

func TestWhoMayKnowWhom(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || rel == "test/litefs" || rel == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		room := filepath.Dir(rel)
		seen[room] = true
		for _, imp := range projectImports(t, path) {
			if !allowed(room, imp, strings.HasSuffix(path, "_test.go")) {
				t.Errorf("%s imports %s; %s may import of the project only %v", rel, imp, room, mayImport[room])
			}
		}
		return nil
	})
	require.NoError(t, err)
	for room := range mayImport {
		require.True(t, seen[room], "no code in %s: the rule is about something that is gone", room)
	}
}

// allowed: a package that the rule does not name may import nothing of the
// project. A test may import the package it stands in (package x_test), and that
// package's model.
func allowed(room, imp string, isTest bool) bool {
	if isTest && (imp == room || imp == room+"/model" || strings.HasPrefix(imp, "test/")) {
		return true
	}
	for _, ok := range mayImport[room] {
		if imp == ok {
			return true
		}
	}
	return false
}

func projectImports(t *testing.T, path string) (imports []string) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	require.NoError(t, err)
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		if rest, ok := strings.CutPrefix(name, module+"/"); ok {
			imports = append(imports, rest)
		}
	}
	return imports
}
