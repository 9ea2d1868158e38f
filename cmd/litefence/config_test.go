package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const goodConfig = `node: n1
fence: {lower: /litefs, mount: /fenced}
quorum:
  listen: 10.0.0.1:7400
  peers: {n1: "10.0.0.1:7400", n2: "10.0.0.2:7400", n3: "10.0.0.3:7400"}
  insecure: true
litefs:
  data-dir: /var/lib/litefs
`

func TestConfigDefaults(t *testing.T) {
	c, err := parseConfig([]byte(goodConfig), "/etc")
	require.NoError(t, err)
	require.Equal(t, "10.0.0.1:7400", c.Quorum.Advertise, "advertise defaults to listen")
	require.Equal(t, 600*time.Millisecond, c.Quorum.HeartbeatTimeout)
	require.Equal(t, 300*time.Millisecond, c.Quorum.Lease)
	require.InDelta(t, 0.01, c.Quorum.ClockDrift, 1e-12)
	require.Equal(t, int64(256<<20), c.Policy.Health.MinFreeDisk)
	require.Equal(t, "http://127.0.0.1:20202", c.LiteFS.URL)
	require.True(t, c.Fence.Enforce)
}

func TestConfigFull(t *testing.T) {
	t.Setenv("LF_PEERS", "n1=10.0.0.1:7400,n2=10.0.0.2:7400")
	t.Setenv("LF_NODE", "n2")
	c, err := parseConfig([]byte(`# ${NOT_SET} in a comment stays
node: ${LF_NODE}
fence:
  lower: /litefs
  mount: ./fenced   # relative to the config file
  primary-file: presence
  allow-other: false
quorum:
  listen: 0.0.0.0:7400
  advertise: 10.0.0.2:7400
  peers: ${LF_PEERS}
  heartbeat-timeout: 1s
  lease: 500ms
  clock-drift: 0.5%
  tls: {ca: ca.pem, cert: n2.pem, key: /keys/n2.pem}
litefs:
  data-dir: /var/lib/litefs
policy:
  strategy: FORCE_REPLICA
  open: deny
  errno: EACCES
  health:
    min-free-disk: 2GiB
    max-lag: 0s
    max-pressure: 80
    command: [/bin/true]
    interval: 2s
admin: {socket: /run/a.sock, listen: ""}
log: {level: debug, format: json}
`), "/etc/lf")
	require.NoError(t, err)
	require.Equal(t, "n2", c.Node)
	require.Equal(t, "/etc/lf/fenced", c.Fence.Mount)
	require.Equal(t, map[string]string{"n1": "10.0.0.1:7400", "n2": "10.0.0.2:7400"}, c.Quorum.Peers)
	require.InDelta(t, 0.005, c.Quorum.ClockDrift, 1e-12)
	require.Equal(t, TLSConfig{"/etc/lf/ca.pem", "/etc/lf/n2.pem", "/keys/n2.pem"}, c.Quorum.TLS)
	require.Equal(t, "force-replica", c.Policy.Strategy)
	require.Equal(t, HealthConfig{2 << 30, 0, 80, []string{"/bin/true"}, 2 * time.Second}, c.Policy.Health)
	require.Empty(t, c.Admin.Listen)
}

// badConfigs replace one text of goodConfig, or append to it.
var badConfigs = []struct{ name, old, new, want string }{
	{"unknown key", "node: n1", "node: n1\nnodes: 3", "line 2: nodes: unknown key; allowed here: node, fence, quorum, litefs, policy, admin, log"},
	{"unknown nested key", "", "log: {colour: red}", "line 9: log.colour: unknown key; allowed here: level, format"},
	{"doubled key", "", "node: n2", "line 9: node: given twice, first on line 1"},
	{"doubled nested key", "  insecure: true", "  insecure: true\n  insecure: false", "line 7: quorum.insecure: given twice, first on line 6"},
	{"section is a value", "", "log: info", "line 9: log: expected a mapping with the keys level, format"},
	{"no unit", "  insecure: true", "  insecure: true\n  lease: 300", `line 7: quorum.lease: "300" is not a duration; write a number and a unit (ms, s, m, h), as 500ms`},
	{"negative duration", "", "policy: {suspend-for: -2s}", `line 9: policy.suspend-for: "-2s" is not a duration; write a number and a unit (ms, s, m, h), as 500ms`},
	{"wrong size unit", "", "policy: {health: {min-free-disk: 256MB}}", `line 9: policy.health.min-free-disk: "256MB" is not a size; write a whole number and a unit (B, KiB, MiB, GiB, TiB), as 256MiB`},
	{"percent without sign", "  insecure: true", "  insecure: true\n  clock-drift: 0.01", `line 7: quorum.clock-drift: "0.01" is not a percentage; write a number and %, as 1%`},
	{"drift too large", "  insecure: true", "  insecure: true\n  clock-drift: 11%", "line 7: quorum.clock-drift: 11% is impossible; allowed: 0% to 10%"},
	{"bad boolean", "insecure: true", "insecure: yes", `line 6: quorum.insecure: unknown value "yes"; allowed: true, false`},
	{"bad enum", "", "policy: {errno: EIO}", `line 9: policy.errno: unknown value "EIO"; allowed: EROFS, EACCES`},
	{"bad strategy", "", "policy: {strategy: PANIC}", `line 9: policy.strategy: unknown value "PANIC"; allowed: force-replica, suspend, shutdown-safe, rollback-to-checkpoint, custom`},
	{"no value", "node: n1", "node:", "line 1: node: has no value; give one or delete the line"},
	{"list for a value", "node: n1", "node: [n1]", "line 1: node: expected one value, not a list or a mapping"},
	{"value for a list", "", "policy: {command: /bin/true}", "line 9: policy.command: expected a list, as [PROGRAM, ARGUMENT]"},
	{"anchor", "node: n1", "node: &a n1", "line 1: node: YAML anchors, aliases and tags are not read here; write the value out"},
	{"unset variable", "node: n1", "node: ${LF_SURELY_NOT_SET}", "line 1: node: the environment variable LF_SURELY_NOT_SET is not set"},
	{"two documents", "", "---\nnode: n2", "line 10: only one YAML document is allowed"},
	{"node missing", "node: n1\n", "", "node: missing; give this node's name, one of quorum.peers"},
	{"node not a peer", "node: n1", "node: n9", `line 1: node: "n9" is not in quorum.peers, which has n1, n2, n3`},
	{"peer name", "n2: ", "n/2: ", `line 5: quorum.peers: "n/2" is not a node name; allowed: letters, digits, . _ - inside`},
	{"peer without port", "10.0.0.2:7400", "10.0.0.2", `line 5: quorum.peers: n2: "10.0.0.2" is not an address; write HOST:PORT`},
	{"peer unreachable", "10.0.0.2:7400", "0.0.0.0:7400", `line 5: quorum.peers: n2: "0.0.0.0:7400" names no host that other nodes can reach`},
	{"same address twice", "10.0.0.2:7400", "10.0.0.3:7400", "line 5: quorum.peers: n2 and n3 have the same address 10.0.0.3:7400"},
	{"doubled peer", "n3: ", "n2: ", `line 5: quorum.peers: the peer "n2" is given twice`},
	{"peers string", `{n1: "10.0.0.1:7400", n2: "10.0.0.2:7400", n3: "10.0.0.3:7400"}`, `n1`, `line 5: quorum.peers: "n1" is not NAME=HOST:PORT; write {n1: "HOST:PORT", ...} or "n1=HOST:PORT,n2=..."`},
	{"mount is lower", "mount: /fenced", "mount: /litefs/", "line 2: fence.mount: is the same as fence.lower (/litefs); the fenced mount needs a directory of its own, because LiteFS's exit would unmount it"},
	{"mount in lower", "mount: /fenced", "mount: /litefs/up", "line 2: fence.mount: /litefs/up lies inside fence.lower (/litefs); use a directory outside of it"},
	{"lower in mount", "lower: /litefs,", "lower: /fenced/low,", "line 2: fence.lower: /fenced/low lies inside fence.mount (/fenced); use a directory outside of it"},
	{"data in mount", "data-dir: /var/lib/litefs", "data-dir: /litefs/data", "line 8: litefs.data-dir: /litefs/data lies in the mount /litefs; use a directory outside of it"},
	{"lease too short", "  insecure: true", "  insecure: true\n  lease: 200ms", "line 7: quorum.lease: 200ms does not fit; allowed with quorum.heartbeat-timeout 600ms: 240ms (4 heartbeats) to 600ms"},
	{"lease too long", "  insecure: true", "  insecure: true\n  lease: 601ms", "line 7: quorum.lease: 601ms does not fit; allowed with quorum.heartbeat-timeout 600ms: 240ms (4 heartbeats) to 600ms"},
	{"heartbeat too short", "  insecure: true", "  insecure: true\n  heartbeat-timeout: 10ms", "line 7: quorum.heartbeat-timeout: 10ms is too short; allowed: 50ms and more"},
	{"listen missing", "  listen: 10.0.0.1:7400\n", "", "quorum.listen: missing; give the address that the other nodes reach, as 10.0.0.1:7400"},
	{"listen on all", "listen: 10.0.0.1:7400", "listen: 0.0.0.0:7400", `line 4: quorum.listen: "0.0.0.0:7400" names no host that other nodes can reach, or set quorum.advertise`},
	{"neither tls nor insecure", "  insecure: true\n", "", "quorum.tls: missing; give ca, cert and key, or say `insecure: true` for traffic that anybody on the network can forge"},
	{"both tls and insecure", "  insecure: true", "  insecure: true\n  tls: {ca: a, cert: b, key: c}", "line 6: quorum.insecure: contradicts quorum.tls; delete one of them"},
	{"half tls", "  insecure: true", "  tls: {ca: a}", "line 6: quorum.tls: needs all of ca, cert and key"},
	{"lease endpoint public", "litefs:", "litefs:\n  lease-listen: 0.0.0.0:20201", `line 8: litefs.lease-listen: "0.0.0.0:20201" is not on loopback, and nothing protects it; use 127.0.0.1`},
	{"relay public", "litefs:", "litefs:\n  relay-listen: 10.0.0.1:20203", `line 8: litefs.relay-listen: "10.0.0.1:20203" is not on loopback, and nothing protects it; use 127.0.0.1`},
	{"litefs url", "litefs:", "litefs:\n  url: 127.0.0.1:20202", `line 8: litefs.url: "127.0.0.1:20202" is not the URL of a LiteFS; write it as http://127.0.0.1:20202`},
	{"litefs url public", "litefs:", "litefs:\n  url: http://10.0.0.1:20202", `line 8: litefs.url: "10.0.0.1:20202" is not on loopback, and nothing protects it; use 127.0.0.1`},
	{"same port twice", "litefs:", "litefs:\n  relay-listen: 127.0.0.1:20201", "line 8: litefs.relay-listen: is the same as litefs.lease-listen (127.0.0.1:20201); give each a port of its own"},
	{"admin address", "", "admin: {listen: here}", `line 9: admin.listen: "here" is not an address; write HOST:PORT`},
	{"follow and replicated", "litefs:", "  confirm: replicated\nlitefs:\n  mode: follow", "line 7: quorum.confirm: replicated needs litefs.mode: serve: a LiteFS with a lease of its own streams past us, and chooses its next primary by itself; use lease or quorum"},
	{"follow serves no lease", "litefs:", "litefs:\n  mode: follow\n  lease-listen: 127.0.0.1:20201", "line 9: litefs.lease-listen: has no effect with litefs.mode: follow; delete it"},
	{"follow has no relay", "litefs:", "litefs:\n  mode: follow\n  relay-listen: 127.0.0.1:20203", "line 9: litefs.relay-listen: has no effect with litefs.mode: follow; delete it"},
	{"follow does not forward", "litefs:", "litefs:\n  mode: follow\n  forward: true", "line 9: litefs.forward: this value is not supported yet in this version; use false"},
	{"not built: forward", "litefs:", "litefs:\n  forward: true", "line 8: litefs.forward: this value is not supported yet in this version; use false"},
	{"probes too often", "", "policy: {health: {interval: 500ms}}", "line 9: policy.health.interval: 500ms is too short; allowed: 1s and more"},
	{"lag too fine", "", "policy: {health: {max-lag: 200ms}}", "line 9: policy.health.max-lag: 200ms is too short; allowed: 0 (off), 1s and more"},
	{"pressure", "", "policy: {health: {max-pressure: 101}}", `line 9: policy.health.max-pressure: "101" is not a number from 0 to 100`},
	{"health command", "", "policy: {health: {command: [\"\"]}}", "line 9: policy.health.command: names no program"},
	{"custom without command", "", "policy: {strategy: custom}", "policy.command: missing; policy.strategy: custom runs it"},
	{"command without custom", "", "policy: {command: [page]}", "line 9: policy.command: has no effect with policy.strategy: force-replica; delete it, or say `strategy: custom`"},
	{"suspend for no time", "", "policy: {strategy: suspend, suspend-for: 0s}", "line 9: policy.suspend-for: 0s holds nobody; give the time that a writer may wait, as 2s"},
	{"empty command", "", "policy: {strategy: custom, command: [\"\"]}", "line 9: policy.command: names no program"},
	{"follow cannot set aside", "litefs:", "policy: {strategy: rollback_to_checkpoint}\nlitefs:\n  mode: follow", "line 7: policy.strategy: rollback-to-checkpoint needs litefs.mode: serve: a LiteFS with a lease of its own streams past us, and nothing can be set aside before it"},
}

func TestConfigRefuses(t *testing.T) {
	for _, tc := range badConfigs {
		t.Run(tc.name, func(t *testing.T) {
			text := goodConfig + tc.new + "\n"
			if tc.old != "" {
				require.Contains(t, goodConfig, tc.old)
				text = strings.Replace(goodConfig, tc.old, tc.new, 1)
			}
			_, err := parseConfig([]byte(text), "/etc")
			require.EqualError(t, err, tc.want)
		})
	}
}

func TestConfigSyntaxErrorIsOneLine(t *testing.T) {
	for _, text := range []string{"node: [n1", "\tnode: n1", "node: n1\n  fence: x", "a: b: c", "- n1", "", "# only a comment\n"} {
		_, err := parseConfig([]byte(text), "/etc")
		require.Error(t, err, "%q", text)
		require.NotContains(t, err.Error(), "\n", "%q", text)
	}
}

func TestLoadConfigNamesTheFile(t *testing.T) {
	_, err := LoadConfig(filepath.Join(t.TempDir(), "none.yml"))
	require.ErrorIs(t, err, os.ErrNotExist)

	p := filepath.Join(t.TempDir(), "litefence.yml")
	require.NoError(t, os.WriteFile(p, []byte("nodes: 3\n"), 0o600))
	_, err = LoadConfig(p)
	require.ErrorContains(t, err, "config "+p+": line 1: nodes: unknown key")
}

func TestLiteFSConfig(t *testing.T) {
	const good = `fuse: {dir: /litefs}
data: {dir: /var/lib/litefs}
http: {addr: "127.0.0.1:20202"}
lease: {type: consul, consul: {url: "http://127.0.0.1:20201", key: litefs/primary}}
`
	for _, tc := range []struct{ name, text, want string }{
		{"good", good, ""},
		{"backup", good + "backup: {type: file, path: /b}\n", "backup: remove it"},
		{"promote", strings.Replace(good, "type: consul", "type: consul, promote: true", 1), "lease.promote: set it to false"},
		{"static lease", strings.Replace(good, "type: consul", "type: static", 1), `lease.type: is "static"`},
		{"other mount", strings.Replace(good, "/litefs}", "/other}", 1), "mounts on /other"},
		{"other data", strings.Replace(good, "lib/litefs", "lib/other", 1), "keeps its data in /var/lib/other"},
		{"not yaml", "fuse: [", "litefs.yml: "},
		{"several", "backup: {type: file}\n", "; http.addr"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			lp, p := filepath.Join(dir, "litefs.yml"), filepath.Join(dir, "litefence.yml")
			require.NoError(t, os.WriteFile(lp, []byte(tc.text), 0o600))
			require.NoError(t, os.WriteFile(p, []byte(goodConfig+"  config: litefs.yml\n"), 0o600))
			c, err := LoadConfig(p)
			if tc.want == "" {
				require.NoError(t, err)
				require.Equal(t, lp, c.LiteFS.Config)
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestFollowConfig(t *testing.T) {
	const static = `fuse: {dir: /litefs}
data: {dir: /var/lib/litefs}
lease: {type: static, advertise-url: "http://10.0.0.1:20202", candidate: true, promote: true}
`
	const consul = `fuse: {dir: /litefs}
data: {dir: /var/lib/litefs}
http: {addr: "10.0.0.1:20202"}
lease: {type: consul, consul: {url: "http://consul:8500", key: litefs/primary}}
`
	for _, tc := range []struct{ name, litefs, ours, want string }{
		{"static", static, "", ""},
		{"consul", consul, "url: http://10.0.0.1:20202", ""},
		{"unknown", "", "", ""},
		{"another machine's LiteFS", consul, "url: http://10.0.0.2:20202", `litefs.url: "http://10.0.0.2:20202" is neither on loopback nor http.addr`},
		{"unknown LiteFS elsewhere", "", "url: http://10.0.0.2:20202", "litefs.url: "},
		{"our own endpoint", strings.Replace(consul, "consul:8500", "localhost:20201", 1), "", "lease.consul.url: is \"http://localhost:20201\", litefence's lease endpoint"},
		{"no lease", "fuse: {dir: /litefs}\n", "", `lease.type: is "", set it to static or consul`},
		{"backup", static + "backup: {type: file, path: /b}\n", "", "backup: remove it"},
		{"other mount", strings.Replace(static, "/litefs}", "/other}", 1), "", "mounts on /other"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			text := goodConfig + "  mode: follow\n"
			if tc.litefs != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "litefs.yml"), []byte(tc.litefs), 0o600))
				text += "  config: litefs.yml\n"
			}
			if tc.ours != "" {
				text += "  " + tc.ours + "\n"
			}
			p := filepath.Join(dir, "litefence.yml")
			require.NoError(t, os.WriteFile(p, []byte(text), 0o600))
			c, err := LoadConfig(p)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				require.NotContains(t, err.Error(), "\n")
				return
			}
			require.NoError(t, err)
			require.True(t, c.LiteFS.follows())
			require.Equal(t, tc.name == "static", c.LiteFS.static)
		})
	}
}

func TestLiteFSConfigGivesDataDir(t *testing.T) {
	dir := t.TempDir()
	lp, p := filepath.Join(dir, "litefs.yml"), filepath.Join(dir, "litefence.yml")
	require.NoError(t, os.WriteFile(lp, []byte("data: {dir: /elsewhere}\nhttp: {addr: \"127.0.0.1:20202\"}\nlease: {type: consul, consul: {url: \"http://127.0.0.1:20201\", key: litefs/primary}}\n"), 0o600))
	require.NoError(t, os.WriteFile(p, []byte(strings.Replace(goodConfig, "data-dir: /var/lib/litefs", "config: litefs.yml", 1)), 0o600))
	c, err := LoadConfig(p)
	require.NoError(t, err)
	require.Equal(t, "/elsewhere", c.LiteFS.DataDir)
}

// FuzzConfig: no input panics, every error is one line, and what is accepted
// keeps the rules that safety rests on.
func FuzzConfig(f *testing.F) {
	f.Add(goodConfig)
	for _, tc := range badConfigs {
		f.Add(strings.Replace(goodConfig, tc.old, tc.new, 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig([]byte(text), "/etc")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		q := c.Quorum
		if q.Lease > q.HeartbeatTimeout || q.Lease < 4*(q.HeartbeatTimeout/10) || q.Peers[c.Node] == "" ||
			c.Fence.Lower == c.Fence.Mount || q.Insecure == q.TLS.Enabled() {
			t.Fatalf("accepted: %+v", c)
		}
	})
}
