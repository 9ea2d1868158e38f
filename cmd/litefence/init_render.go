package main

import (
	"bytes"
	"regexp"
	"strconv"
	"text/template"
)

// In both templates a line that begins with "#" and a key is that key with its
// default, to be uncommented; "# " begins a remark. A test reads them so.

const initConfigText = `# litefence on node {{ .Node }}. Keys that are commented out show their defaults.
# Every key: docs/configuration.md. After a change: litefence check

node: {{ y .Node }}

fence:
  # LiteFS's mount. Only root should reach it: whoever writes there goes round the fence.
  lower: {{ y .Lower }}
  # The application opens its databases here.
  mount: {{ y .Mount }}
  # false: only observe. Nothing is refused; what would have been is counted.
  #enforce: true
  # litefs: .primary names the primary on every other node, as LiteFS has it;
  # presence: .primary is there exactly while this node may write.
  #primary-file: litefs
  # Other users than root reach the fenced mount.
  #allow-other: true

quorum:
  # The one port between nodes. The same peers on every node.
  listen: {{ y .Listen }}
{{- if .Advertise }}
  advertise: {{ y .Advertise }}
{{- end }}
  peers:
{{- range $name, $addr := .Peers }}
    {{ y $name }}: {{ y $addr }}
{{- end }}
  data-dir: {{ y .DataDir }}
{{- if .Insecure }}
  # Whoever reaches the port can take part. For trying out only; instead:
  # tls: {ca: ca.pem, cert: {{ .Node }}.pem, key: {{ .Node }}-key.pem}
  insecure: true
{{- else }}
  # Beside this file; "litefence ca issue {{ .Node }}" makes them.
  tls: {ca: ca.pem, cert: {{ y (print .Node ".pem") }}, key: {{ y (print .Node "-key.pem") }}}
{{- end }}
  # Timings must be equal on all nodes. A primary that is cut off refuses writes
  # after a lease at the latest; another accepts them within 3 s.
  #heartbeat-timeout: 600ms
  #lease: 300ms
  #clock-drift: 1%
  # quorum: every commit waits for a round trip to a majority; for machines whose
  # hypervisor may stop their clocks.
  #confirm: lease

litefs:
  config: {{ y .LiteFSName }}
  # What LiteFS is told in its config: its lease server is litefence.
  #lease-listen: 127.0.0.1:20201
  #relay-listen: 127.0.0.1:20203
  #url: http://127.0.0.1:20202
  data-dir: {{ y .LiteFSData }}
{{- if .StartLiteFS }}
  # Started and supervised by "litefence run".
  command: [{{ y .LiteFSBin }}, mount, -config, {{ y .LiteFSPath }}]
{{- end }}

policy:
  # suspend: hold writers for suspend-for while fenced, before they are refused.
  #strategy: force-replica
  #suspend-for: 2s
  # How long a read transaction may hold up a change of the primary.
  #reader-grace: 500ms
  # deny: SQLite opens read-only while fenced, and stays so until reopened.
  #open: allow
  #errno: EROFS
  health:
    #min-free-disk: 256MiB
    #max-lag: 10s
    # A command that exits with 0 while this node is healthy.
    #command: []
    #interval: 5s

admin:
  # Full control, for root.
  socket: {{ y .Socket }}
  # Read-only: health, metrics, status.
  listen: {{ y .Admin }}

log:
  #level: info
  #format: text
`

const initLiteFSText = `# LiteFS on node {{ .Node }}, under litefence.

fuse:
  # No allow-other: applications open {{ .Mount }} instead.
  dir: {{ y .Lower }}

data:
  dir: {{ y .LiteFSData }}

http:
  # Loopback only: nodes talk over litefence's port.
  addr: {{ y .LiteFSHTTP }}

lease:
  # litefence answers as the Consul that LiteFS asks for its lease.
  type: consul
  hostname: {{ y .Node }}
  advertise-url: {{ y (print "http://" .LiteFSHTTP) }}
  candidate: true
  # Small: the quorum decides, and a change of the primary should be noticed.
  reconnect-delay: 50ms
  consul:
    url: {{ y (print "http://" .LeaseListen) }}
    key: litefs/primary
    ttl: {{ .TTL }}
    lock-delay: 1ms
`

var initTemplates = func() *template.Template {
	t := template.New("").Funcs(template.FuncMap{"y": yamlText})
	template.Must(t.New(initConfigFile).Parse(initConfigText))
	template.Must(t.New(initLiteFSFile).Parse(initLiteFSText))
	return t
}()

var plainWord = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/._-]*$`)

// yamlText is s as a YAML scalar, quoted where it could be read as something else.
func yamlText(s string) string {
	switch s {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return strconv.Quote(s)
	}
	if plainWord.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// render makes the two files.
func (v *initValues) render() (ours, theirs []byte, err error) {
	data := struct {
		*initValues
		LiteFSName, LiteFSPath string
	}{v, initLiteFSFile, v.Dir + "/" + initLiteFSFile}
	var a, b bytes.Buffer
	if err = initTemplates.ExecuteTemplate(&a, initConfigFile, data); err == nil {
		err = initTemplates.ExecuteTemplate(&b, initLiteFSFile, data)
	}
	return a.Bytes(), b.Bytes(), err
}
