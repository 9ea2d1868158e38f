package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/quorum/litefs"
)

var yamlBlock = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")

// Every whole litefence.yml in the documentation is read, and every litefs.yml
// for it; parts of one, and what is for other programs, are not.
func TestConfigsInTheDocumentation(t *testing.T) {
	t.Setenv("NODE", "n1")
	t.Setenv("ADVERTISE", "n1:7400")
	t.Setenv("PEERS", "n1=n1:7400,n2=n2:7400,n3=n3:7400")
	ours, theirs := 0, 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			block := strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n")[1:]
			switch {
			case strings.HasPrefix(block, "node:"):
				ours++
				_, err = parseConfig([]byte(block), "/etc")
			case strings.HasPrefix(block, "fuse:"):
				theirs++
				path := filepath.Join(t.TempDir(), "litefs.yml")
				require.NoError(t, os.WriteFile(path, []byte(block), 0o600))
				_, err = litefs.CheckConfig(path, "http://127.0.0.1:20201")
			}
			if err != nil {
				t.Errorf("%s: %v in\n%s", file, err, block)
			}
		}
	}
	require.Greater(t, ours, 4)
	require.Greater(t, theirs, 1)
}

// So are the image's.
func TestConfigOfTheImage(t *testing.T) {
	t.Setenv("NODE", "n1")
	t.Setenv("PEERS", "n1=n1:7400,n2=n2:7400,n3=n3:7400")
	text, err := os.ReadFile(repoRoot + "/deploy/image/litefence.yml")
	require.NoError(t, err)
	c, err := parseConfig(text, "/etc")
	require.NoError(t, err)
	require.Equal(t, []string{"litefs", "mount", "-config", "/etc/litefs.yml"}, c.LiteFS.Command)
	c.LiteFS.Config = repoRoot + "/deploy/image/litefs.yml"
	require.NoError(t, c.readLiteFSConfig())
}
