package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/fusefs"
	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

func TestServeHealthRefuses(t *testing.T) {
	d := &daemon{} // no node: nothing may reach it
	for body, want := range map[string]string{
		"":                  "want a JSON body like",
		"{":                 "want a JSON body like",
		`{"reason":"x"}`:    "healthy: missing",
		`{"healthy":"no"}`:  "want a JSON body like",
		`{"healthy":false}`: "reason: missing; say why",
	} {
		w := httptest.NewRecorder()
		d.serveHealth(w, httptest.NewRequest(http.MethodPost, "/v1/health", strings.NewReader(body)))
		require.Equal(t, http.StatusBadRequest, w.Code, body)
		require.Contains(t, w.Body.String(), want, body)
	}
}

func TestProbesFollowTheConfig(t *testing.T) {
	names := func(h HealthConfig) (all []string) {
		d := &daemon{cfg: &Config{Policy: PolicyConfig{Health: h}}}
		probes, err := d.probes()
		require.NoError(t, err)
		t.Cleanup(d.stop)
		for _, p := range probes {
			all = append(all, p.Name)
		}
		return all
	}
	require.Equal(t, []string{"lower mount"}, names(HealthConfig{}))
	require.Equal(t, []string{"free disk", "command", "lower mount"}, names(HealthConfig{MinFreeDisk: 1, Command: []string{"true"}}))
	d := &daemon{cfg: &Config{Policy: PolicyConfig{Health: HealthConfig{Command: []string{"/surely/not/there"}}}}}
	_, err := d.probes()
	require.ErrorContains(t, err, "policy.health.command: ")
	require.ErrorContains(t, err, "/surely/not/there")
}

func TestLowerProbe(t *testing.T) {
	dir := t.TempDir()
	d := &daemon{cfg: &Config{Fence: FenceConfig{Lower: dir}}}
	p, err := d.lowerProbe()
	require.NoError(t, err)
	t.Cleanup(d.stop)
	require.NoError(t, p.Check(t.Context()), "nothing is asked before the mount is there")
	d.mounted.Store(&fusefs.FS{})
	require.EqualError(t, p.Check(t.Context()), "lower "+dir+" is not a mount point: start LiteFS with fuse.dir: \""+dir+"\" first")
	require.Equal(t, exitFailed, probeLower([]string{dir}), "no mount")
	require.Equal(t, exitFailed, probeLower(nil))
}

func TestShowHealth(t *testing.T) {
	require.Equal(t, "healthy", showHealth(policy.Healthy, quorum.HealthView{IsHealthy: true}))
	require.Equal(t, "degraded (lag: 12s)", showHealth(policy.Degraded, quorum.HealthView{IsHealthy: true, Reason: "lag: 12s"}))
	require.Equal(t, "health unknown", showHealth("", quorum.HealthView{}))
}
