package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/quorum/litefs"
)

// remark is a line of prose; a line with "#" and a key is a default.
var (
	remark       = regexp.MustCompile(`(?m)^ *# .*\n`)
	commentedOut = regexp.MustCompile(`(?m)^( *)#([a-z])`)
)

// What init writes is what it shows, loads, and says the defaults truly.
func TestInitWritesWhatLoads(t *testing.T) {
	for name, args := range map[string][]string{
		"alone":    {"-node", "n1"},
		"three":    {"-node", "n2", "-peers", "n1=10.0.0.1:7400,n2=10.0.0.2:7400,n3=10.0.0.3:7400"},
		"by name":  {"-node", "n1", "-peers", "n1=a.example:7400,n2=b.example:7400"},
		"insecure": {"-node", "n1", "-insecure", "-start-litefs", "-litefs", "/usr/local/bin/litefs"},
		"odd": {"-node", "on", "-peers", "on=10.0.0.1:7400,1=10.0.0.2:7400", "-listen", "0.0.0.0:7400", "-lower", "/a b/#lower", "-mount", "/a b/m: x",
			"-data-dir", "/d/'raft'", "-litefs-data-dir", `/d/"l`, "-socket", "/run/x/s", "-admin", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "etc")
			code, out, errs := said(t, func() int { return litefence(append([]string{"init", "-json", "-dir", dir}, args...)...) })
			require.Zero(t, code, errs)
			var is inited
			require.NoError(t, json.Unmarshal([]byte(out), &is))
			require.Equal(t, filepath.Join(dir, "litefence.yml"), is.Config)
			require.Equal(t, args[1], is.Node)
			c, err := LoadConfig(is.Config)
			require.NoError(t, err)
			require.Equal(t, is.LiteFS, c.LiteFS.Config)
			require.Equal(t, c.Quorum.Peers[c.Node], c.Quorum.Advertise)
			s, err := litefs.CheckConfig(is.LiteFS, "http://"+c.LiteFS.LeaseListen)
			require.NoError(t, err)
			require.False(t, s.AllowOther)
			require.Equal(t, is.Node, s.Hostname)
			require.Equal(t, name == "insecure", c.Quorum.Insecure)
			if name == "odd" {
				require.Equal(t, `/d/"l`, s.DataDir)
				require.Equal(t, "/a b/m: x", c.Fence.Mount)
			}
			text, err := os.ReadFile(is.Config)
			require.NoError(t, err)
			all := commentedOut.ReplaceAllString(remark.ReplaceAllString(string(text), ""), "$1$2")
			require.NotContains(t, all, "#e", "every default is a line of its own")
			d, err := parseConfig([]byte(all), dir)
			require.NoError(t, err, all)
			require.NoError(t, d.readLiteFSConfig())
			d.data, c.data = nil, nil
			require.Empty(t, d.Policy.Health.Command)
			d.Policy.Health.Command = c.Policy.Health.Command
			require.Equal(t, c, d, "the defaults that are commented out are the defaults")
		})
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	for _, there := range []string{"litefence.yml", "litefs.yml"} {
		dir := t.TempDir()
		path := filepath.Join(dir, there)
		require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
		code, out, errs := said(t, func() int { return litefence("init", "-node", "n1", "-dir", dir) })
		require.Equal(t, exitFailed, code)
		require.Empty(t, out)
		require.Contains(t, errs, path+" exists and is not overwritten; move it away, or name another directory")
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "mine", string(got))
		all, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, all, 1, "nothing beside it")
	}
}

func TestInitRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		`"n/1" is no node name`:                     {"-node", "n/1"},
		`"n9" is not in quorum.peers, which has n1`: {"-node", "n9", "-peers", "n1=10.0.0.1:7400"},
		`"n1" is not NAME=HOST:PORT`:                {"-node", "n1", "-peers", "n1"},
		"have the same address":                     {"-node", "n1", "-peers", "n1=10.0.0.1:7400,n2=10.0.0.1:7400"},
		"names no host that other nodes can reach":  {"-node", "n1", "-peers", "n1=:7400"},
		"is the same as fence.lower":                {"-node", "n1", "-mount", "/litefs"},
		"lies in the mount":                         {"-node", "n1", "-litefs-data-dir", "/litefs/data"},
		"a config cannot hold a $":                  {"-node", "n1", "-lower", "/$HOME"},
		"admin.listen":                              {"-node", "n1", "-admin", "here"},
	} {
		dir := t.TempDir()
		code, _, errs := said(t, func() int { return litefence(append([]string{"init", "-dir", dir}, args...)...) })
		require.Equal(t, exitUsage, code, errs)
		require.Contains(t, errs, want)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
		all, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, all)
	}
}
