package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// buildVersion is set by the linker: -X main.buildVersion=v1.2.3.
var buildVersion = "dev"

// buildCommit is set by the linker: -X main.buildCommit=abc123.
var buildCommit = "unknown"

func version() string { return buildVersion }

// shownModules are the libraries whose versions matter to an operator.
var shownModules = []string{"github.com/hanwen/go-fuse/v2", "github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2"}

func versionMain(fs *cli) int {
	asJSON := fs.Bool("json", false, "as JSON")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	v := map[string]string{"version": buildVersion, "commit": buildCommit, "go": runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains(shownModules, m.Path) {
				v[m.Path] = m.Version
			}
		}
	}
	if *asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(v)
		return exitDone
	}
	fmt.Printf("litefence %s (commit %s, %s)\n", v["version"], v["commit"], v["go"])
	for _, m := range shownModules {
		fmt.Printf("  %-34s %s\n", strings.TrimPrefix(m, "github.com/"), v[m])
	}
	return exitDone
}
