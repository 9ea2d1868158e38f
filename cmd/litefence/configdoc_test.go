package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const configurationDoc = "../../docs/configuration.md"

const configurationIntro = `# Configuration

<!-- Made from cmd/litefence/config_schema.go: UPDATE=1 go test ./cmd/litefence -run TestConfigurationReference -->

` + "`litefence.yml`" + `: the file given with ` + "`-config`" + `, else ` + "`/etc/litefence.yml`" + `, else ` + "`./litefence.yml`" + `. It is read once, at the start.

- It is strict: an unknown or doubled key, a value of the wrong kind, an impossible timing ends the start with exit code 2 and one line that names file, line and key, and says what is allowed.
- ` + "`${NAME}`" + ` in a value is replaced by that environment variable; one that is not set is an error. ` + "`quorum.peers: ${PEERS}`" + ` with ` + "`PEERS=n1=10.0.0.1:7400,n2=10.0.0.2:7400`" + ` works.
- A duration is a number and a unit (` + "`ms`, `s`, `m`, `h`" + `), as ` + "`500ms`" + `; a size a whole number and a unit (` + "`B`, `KiB`, `MiB`, `GiB`, `TiB`" + `), as ` + "`256MiB`" + `; a percentage a number and ` + "`%`" + `, as ` + "`1%`" + `.
- A relative path is relative to the directory of the file. YAML anchors, aliases and tags are not read.
- A witness ([membership.md](membership.md#witness)) has ` + "`node`, `quorum`, `admin` and `log`" + ` only.
- What LiteFS's own ` + "`litefs.yml`" + ` must say stands in [deployment.md](deployment.md#litefsyml); it is checked at every start.

## All keys with their defaults

Commented out: what has no default.

`

// samples stand where a key has no default. The first three are required; of the
// rest a comment is made.
var samples = map[string]string{
	"node":             "n1",
	"quorum.listen":    "10.0.0.1:7400",
	"quorum.peers":     `{n1: "10.0.0.1:7400", n2: "10.0.0.2:7400", n3: "10.0.0.3:7400"}`,
	"quorum.tls.ca":    "ca.pem",
	"quorum.tls.cert":  "n1.pem",
	"quorum.tls.key":   "n1-key.pem",
	"quorum.advertise": "# 10.0.0.1:7400",
	"litefs.config":    "# /etc/litefs.yml",
	"litefs.data-dir":  "# /var/lib/litefs",
	"litefs.command":   "# [litefs, mount, -config, /etc/litefs.yml]",
	"policy.command":   "# [/usr/local/bin/on-split-brain]",
}

// defaultOf is what stands in the config if the file does not have the key; ""
// where nothing does.
func defaultOf(f configField) string {
	if now := f.set.now(); now != "[]" {
		return now
	}
	return ""
}

// sampleConfig is a file with every key.
func sampleConfig(fields []configField) string {
	var b strings.Builder
	var open []string
	for _, f := range fields {
		path := strings.Split(f.key, ".")
		for i, section := range path[:len(path)-1] {
			if i >= len(open) || open[i] != section {
				fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), section)
			}
		}
		open = path[:len(path)-1]
		value, comment := defaultOf(f), ""
		if s, ok := samples[f.key]; ok && value == "" {
			value = s
			if v, optional := strings.CutPrefix(s, "# "); optional {
				comment, value = "# ", v
			}
		}
		if value == "" {
			value = "[]"
		}
		fmt.Fprintf(&b, "%s%s%s: %s\n", strings.Repeat("  ", len(path)-1), comment, path[len(path)-1], value)
	}
	return b.String()
}

// configurationReference is the text of docs/configuration.md.
func configurationReference() string {
	fields := configSchema(defaultConfig())
	var b strings.Builder
	b.WriteString(configurationIntro)
	fmt.Fprintf(&b, "```yaml\n%s```\n", sampleConfig(fields))
	section := ""
	for _, f := range fields {
		if s, _, nested := strings.Cut(f.key, "."); s != section {
			section = s
			if !nested {
				fmt.Fprintf(&b, "\n## The node\n")
			} else {
				fmt.Fprintf(&b, "\n## %s\n", s)
			}
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n", f.key, f.doc)
		fmt.Fprintf(&b, "Takes %s.", f.set.takes)
		if d := defaultOf(f); d != "" {
			fmt.Fprintf(&b, " Default: `%s`.", d)
		}
		for _, u := range unsupportedConfig {
			if u.key == f.key {
				fmt.Fprintf(&b, " Not all of it is supported yet: %s.", u.use)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestConfigurationReference(t *testing.T) {
	want := configurationReference()
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(configurationDoc, []byte(want), 0o644))
	}
	got, err := os.ReadFile(configurationDoc)
	require.NoError(t, err)
	have, need := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i, line := range need {
		if i >= len(have) || have[i] != line {
			t.Fatalf("%s:%d is not what config_schema.go says; run: UPDATE=1 go test ./cmd/litefence -run TestConfigurationReference\nit should say: %s", configurationDoc, i+1, line)
		}
	}
	require.Len(t, have, len(need))
}

// The file with every key says what the defaults say.
func TestConfigurationReferenceSample(t *testing.T) {
	fields := configSchema(defaultConfig())
	text := sampleConfig(fields)
	got, err := parseConfig([]byte(text), "/etc")
	require.NoError(t, err, text)
	want := defaultConfig()
	want.Node, want.Quorum.Peers = "n1", map[string]string{"n1": "10.0.0.1:7400", "n2": "10.0.0.2:7400", "n3": "10.0.0.3:7400"}
	want.Quorum.Listen, want.Quorum.Advertise = "10.0.0.1:7400", "10.0.0.1:7400"
	want.Quorum.TLS = TLSConfig{"/etc/ca.pem", "/etc/n1.pem", "/etc/n1-key.pem"}
	want.Policy.Health.Command = []string{}
	got.data = nil
	require.Equal(t, want, got)
	for _, f := range fields {
		require.NotEmpty(t, f.doc, f.key)
		require.NotEmpty(t, f.set.takes, f.key)
		if _, sample := samples[f.key]; !sample && defaultOf(f) == "" {
			require.Equal(t, "policy.health.command", f.key, "neither a default nor a sample")
		}
	}
}
