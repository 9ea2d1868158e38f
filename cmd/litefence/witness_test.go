package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/quorum"
)

const witnessYAML = `node: n3
quorum:
  listen: 10.0.0.3:7400
  peers: "n1=10.0.0.1:7400,n2=10.0.0.2:7400,n3=10.0.0.3:7400"
  insecure: true
admin: {socket: /run/w.sock}
log: {level: warn}
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "litefence.yml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// A witness's config names no LiteFS: it serves `witness`, and the commands that
// only need the socket, but not `run`.
func TestWitnessConfig(t *testing.T) {
	path := writeConfig(t, witnessYAML)
	c, err := LoadConfig(path)
	require.NoError(t, err)
	require.Nil(t, c.data)
	require.Equal(t, "/run/w.sock", c.Admin.Socket)
	require.Equal(t, exitUsage, litefence("run", "-config", path))
	require.Equal(t, exitUsage, litefence("witness", "-config", path, "app"))
	require.Equal(t, exitNotReady, litefence("peers", "-config", path, "remove", "n1"), "no daemon")
}

// Whoever starts a witness where data was meant to be hears of it.
func TestWitnessRefusesDataConfig(t *testing.T) {
	for section, line := range map[string]string{
		"fence: {mount: /x}":          "line 8: fence: a witness has neither LiteFS nor a mount; delete the section",
		"litefs: {data-dir: /d}":      "line 8: litefs: ",
		"policy: {reader-grace: 1s}":  "line 8: policy: ",
		"policy: {}\nfence: {}":       "line 8: policy: ",
		"litefs: {mode: serve}\n\n\n": "start this node with `litefence run`",
	} {
		c, err := parseConfig([]byte(witnessYAML+section+"\n"), "/")
		require.NoError(t, err, section)
		require.NotNil(t, c.data, section)
		require.ErrorContains(t, c.data, line)
		require.Equal(t, exitUsage, litefence("witness", "-config", writeConfig(t, witnessYAML+section+"\n")))
	}
}

func TestPeersCommandLine(t *testing.T) {
	for line, want := range map[string]*quorum.Change{
		"":                       nil,
		"add n4 10.0.0.4:7400":   {Op: "add", Node: "n4", Address: "10.0.0.4:7400"},
		"remove n4":              {Op: "remove", Node: "n4"},
		"add n4":                 {Op: "usage: litefence peers"},
		"add n4 10.0.0.4":        {Op: "is not an address"},
		"add n4 0.0.0.0:7400":    {Op: "names no host that other nodes can reach"},
		"add n/4 10.0.0.4:7400":  {Op: "is not a node name"},
		"remove n4 10.0.0.4:740": {Op: "usage: litefence peers"},
		"drop n4":                {Op: "usage: litefence peers"},
	} {
		c, err := parseChange(splitWords(line))
		if want != nil && want.Node == "" {
			require.ErrorContains(t, err, want.Op, line)
			continue
		}
		require.NoError(t, err, line)
		require.Equal(t, want, c, line)
		if c != nil {
			require.Equal(t, splitWords(line), changeWords(*c))
		}
	}
}

func splitWords(s string) (words []string) {
	for _, w := range bytes.Fields([]byte(s)) {
		words = append(words, string(w))
	}
	return words
}

func TestShowPeers(t *testing.T) {
	var b bytes.Buffer
	showPeers(&b, []quorum.PeerStatus{
		{Node: "n1", Address: "10.0.0.1:7400", Answers: true, Member: "voter", RaftID: "n1-a"},
		{Node: "n2", Address: "10.0.0.2:7400", Answers: true, Member: "none", RaftID: "n2-b", Membership: "empty, not a member"},
		{Node: "n3", Address: "10.0.0.3:7400", Member: "voter", Witness: true, Error: "refused"},
		{Node: "n4", Address: "10.0.0.4:7400", Member: "none"},
	})
	require.Equal(t, `NODE  ADDRESS        PART            RAFT ID  ANSWERS      
n1    10.0.0.1:7400  voter           n1-a     yes          
n2    10.0.0.2:7400  no member       n2-b     yes          empty, not a member
n3    10.0.0.3:7400  witness, voter  unknown  no: refused  
n4    10.0.0.4:7400  no member       unknown  no: unknown  
`, b.String())
}
