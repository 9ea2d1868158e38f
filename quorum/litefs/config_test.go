package litefs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const leaseURL = "http://127.0.0.1:20201"

const goodConfig = `
data: {dir: /data/litefs}
fuse: {dir: /data/lower, allow-other: true}
http: {addr: "127.0.0.1:20202"}
exec: ["something", "of LiteFS's own"]
lease:
  type: consul
  hostname: node-a
  candidate: true
  reconnect-delay: 20ms
  consul: {url: "http://127.0.0.1:20201", key: litefs/primary, ttl: 100ms, lock-delay: 1ms}
`

func checkConfig(t *testing.T, text string) (Settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "litefs.yml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	s, err := CheckConfig(path, leaseURL)
	if err != nil {
		require.ErrorContains(t, err, path)
	}
	return s, err
}

func TestCheckConfigGood(t *testing.T) {
	t.Setenv("LITEFS_CLOUD_TOKEN", "")
	s, err := checkConfig(t, goodConfig)
	require.NoError(t, err)
	require.Equal(t, Settings{
		DataDir: "/data/litefs", FUSEDir: "/data/lower", AllowOther: true, HTTPAddr: "127.0.0.1:20202", Hostname: "node-a",
		TTL: 100 * time.Millisecond, ReconnectDelay: 20 * time.Millisecond, Candidate: true,
	}, s)

	// LiteFS's defaults, a prefix, and an empty section.
	s, err = checkConfig(t, "http: {addr: 'localhost:20202'}\nbackup:\nlease: {type: consul, consul: {url: 'http://localhost:20201/a/prefix', key: k}}")
	require.NoError(t, err)
	require.Equal(t, Settings{
		DataDir: "/var/lib/litefs", FUSEDir: "/litefs", HTTPAddr: "localhost:20202",
		TTL: 10 * time.Second, ReconnectDelay: time.Second, Candidate: true,
	}, s)
}

func TestCheckConfigEnvironment(t *testing.T) {
	t.Setenv("LITEFS_CLOUD_TOKEN", "")
	t.Setenv("PRIMARY_REGION", "ams")
	t.Setenv("REGION", "ams")
	t.Setenv("DATA", "/from/env")
	s, err := checkConfig(t, `
data: {dir: "${DATA}"}
http: {addr: "127.0.0.1:20202"}
lease: {type: consul, candidate: ${REGION == PRIMARY_REGION}, promote: ${REGION != 'ams'}, consul: {url: "http://127.0.0.1:20201", key: k, ttl: 200000000}}`)
	require.NoError(t, err)
	require.Equal(t, "/from/env", s.DataDir)
	require.True(t, s.Candidate)
	require.Equal(t, 200*time.Millisecond, s.TTL)
	require.Equal(t, "false true", expandEnv(`${REGION == "fra"} ${ REGION != 'fra' }`))
}

func TestCheckConfigBad(t *testing.T) {
	lease := func(l string) string {
		return "http: {addr: '127.0.0.1:20202'}\nlease: {type: consul, consul: {url: 'http://127.0.0.1:20201', key: k}, " + l + "}"
	}
	consul := func(c string) string {
		return "http: {addr: '127.0.0.1:20202'}\nlease: {type: consul, consul: {" + c + "}}"
	}
	const url = "url: 'http://127.0.0.1:20201'"
	for _, c := range []struct{ name, text, token, key, mend string }{
		{"backup", goodConfig + "\nbackup: {type: file, path: /b}", "", "backup:", "remove it"},
		{"backup, cloud", goodConfig + "\nbackup: {type: litefs-cloud}", "", "backup:", "remove it"},
		{"token", goodConfig, "secret", "LITEFS_CLOUD_TOKEN", "unset"},
		{"promote", lease("promote: true"), "", "lease.promote", "false"},
		{"static", "http: {addr: '127.0.0.1:20202'}\nlease: {type: static, candidate: true}", "", "lease.type", "consul"},
		{"no lease", "http: {addr: '127.0.0.1:20202'}", "", "lease.type", "consul"},
		{"no url", consul("key: k"), "", "lease.consul.url", leaseURL},
		{"a real Consul", consul("key: k, url: 'http://consul:8500'"), "", "lease.consul.url", leaseURL},
		{"another port", consul("key: k, url: 'http://127.0.0.1:20203'"), "", "lease.consul.url", leaseURL},
		{"https", consul("key: k, url: 'https://127.0.0.1:20201'"), "", "lease.consul.url", leaseURL},
		{"no URL at all", consul("key: k, url: '127.0.0.1:20201'"), "", "lease.consul.url", leaseURL},
		{"no key", consul(url), "", "lease.consul.key", "litefs/primary"},
		{"negative ttl", consul(url + ", key: k, ttl: -1s"), "", "lease.consul.ttl", "100ms"},
		{"default http.addr", "lease: {type: consul, consul: {" + url + ", key: k}}", "", "http.addr", "127.0.0.1"},
		{"all addresses", "http: {addr: '0.0.0.0:20202'}\nlease: {type: consul, consul: {" + url + ", key: k}}", "", "http.addr", "127.0.0.1"},
		{"no data dir", lease("promote: false") + "\ndata: {dir: ''}", "", "data.dir", "name"},
		{"no mount", lease("promote: false") + "\nfuse: {dir: ''}", "", "fuse.dir", "name"},
		{"bad duration", lease("reconnect-delay: soon"), "", "soon", ""},
		{"not YAML", "\tlease: [", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("LITEFS_CLOUD_TOKEN", c.token)
			_, err := checkConfig(t, c.text)
			require.ErrorContains(t, err, c.key)
			require.ErrorContains(t, err, c.mend)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	_, err := CheckConfig(filepath.Join(t.TempDir(), "none.yml"), leaseURL)
	require.ErrorIs(t, err, os.ErrNotExist)

	// All at once, so that one run mends them.
	_, err = checkConfig(t, "backup: {type: file}\nlease: {type: consul, promote: true}")
	for _, key := range []string{"backup:", "lease.promote", "http.addr", "lease.consul.url", "lease.consul.key"} {
		require.ErrorContains(t, err, key)
	}
}

func TestCheckOwnLease(t *testing.T) {
	t.Setenv("LITEFS_CLOUD_TOKEN", "")
	check := func(text string) (Settings, error) {
		path := filepath.Join(t.TempDir(), "litefs.yml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return CheckOwnLease(path, leaseURL)
	}
	s, err := check("lease: {type: static, hostname: a, candidate: true, promote: true}")
	require.NoError(t, err, "who may become primary is LiteFS's own business")
	require.True(t, s.Static)
	require.Equal(t, ":20202", s.HTTPAddr, "others stream from it")
	s, err = check("lease: {type: consul, consul: {url: 'http://consul:8500', key: k}}")
	require.NoError(t, err)
	require.False(t, s.Static)
	for text, want := range map[string]string{
		"lease: {type: consul, consul: {url: 'http://127.0.0.1:20201', key: k}}": "lease.consul.url",
		"lease: {type: etcd}":                         `"etcd", set it to static or consul`,
		"lease: {type: static}\nbackup: {type: file}": "backup: remove it",
		"lease: {type: static}\ndata: {dir: ''}":      "data.dir",
	} {
		_, err = check(text)
		require.ErrorContains(t, err, want)
	}
	t.Setenv("LITEFS_CLOUD_TOKEN", "x")
	_, err = check("lease: {type: static}")
	require.ErrorContains(t, err, "LITEFS_CLOUD_TOKEN")
}
