package quorum

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Peers may be named instead of numbered, as containers and pods are. Followers
// hear of their leader by raft, which knows it by number; its certificate is
// looked for by the name that the configuration has.
func TestPeersByHostname(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t, "ours")
	c := newCluster(t, 3, func(cfg *Config) {
		cfg.Secure = ca.secure(cfg.Name)
		cfg.Advertise = byName(cfg.Listen)
		cfg.Listen = strings.Replace(cfg.Advertise, "localhost", "127.0.0.1", 1)
		named := map[string]string{}
		for name, addr := range cfg.Peers {
			named[name] = byName(addr)
		}
		cfg.Peers = named
	})
	w := c.writer()
	for _, n := range c.others(w) {
		eventually(t, n.name+" comes in step with the primary", func() bool {
			return n.Status(t.Context()).InStep
		})
		_, dial, err := n.Upstream()
		require.NoError(t, err)
		conn, err := dial(t.Context())
		require.NoError(t, err, "the replication stream")
		conn.Close()
	}
	_, err := c.others(w)[0].Handoff(t.Context(), c.others(w)[0].name)
	require.NoError(t, err)
}

func byName(addr string) string { return "localhost" + addr[strings.LastIndexByte(addr, ':'):] }
