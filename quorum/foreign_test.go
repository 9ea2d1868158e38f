package quorum

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A node comes with the state of another cluster, whose members have the same
// addresses and whose term is far ahead. Raft alone would follow it.
func TestStateOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	c := newCluster(t, 3, func(cfg *Config) {
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil)).With("n", cfg.Name)
	})
	c.writer()
	dir := c.nodes["n2"].dir
	lites := maps.Clone(c.lites)
	other := c.nodes["n2"].clusterID()
	c.stopAll()
	s, err := openStore(dir, "n2", testLog("n2"))
	require.NoError(t, err)
	require.NoError(t, s.bolt.SetUint64([]byte("CurrentTerm"), 500))
	require.NoError(t, s.close())

	for name := range c.addrs {
		c.lites[name] = newFakeLiteFS()
		c.start(name, t.TempDir())
	}
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	c.stop("n2")
	c.lites["n2"] = lites["n2"]
	n2 := c.start("n2", dir)
	w = c.writer("n2")
	eventually(t, "both sides say so", func() bool {
		var there string
		for _, p := range w.Status(t.Context()).Peers {
			if p.Node == "n2" {
				there = p.Error
			}
		}
		here := n2.Status(t.Context()).Peers[0].Error
		return strings.Contains(there, "belongs to another cluster ("+other) && strings.Contains(here, "belongs to another cluster ("+w.clusterID())
	})
	eventually(t, "its candidacies are refused aloud", func() bool {
		return strings.Contains(log.String(), "raft connection of another cluster refused: it is of "+other)
	})
	for _, n := range c.others(n2) {
		require.Less(t, n.raft.CurrentTerm(), uint64(400), n.name)
	}
	require.True(t, w.gate.admits())
	require.False(t, n2.gate.admits())

	var vote raft.RequestVoteResponse
	err = askPort(t, other, func(tr *raft.NetworkTransport) error {
		return tr.RequestVote(w.raftID(), raft.ServerAddress(w.cfg.Advertise), &raft.RequestVoteRequest{RPCHeader: headerOf("n2-x", tr), Term: 999}, &vote)
	})
	require.Error(t, err)
	require.True(t, w.gate.admits(), "a foreign term ends no lease")
}

func TestOtherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	w := c.writer()
	s := w.peerState(t.Context())
	require.NoError(t, w.mismatch("n1", "x", s))
	s.Protocol, s.Version = peerProtocol+1, "v9"
	require.ErrorContains(t, w.mismatch("n1", "x", s), fmt.Sprintf("n1 runs version v9 (protocol %d)", peerProtocol+1))
}
