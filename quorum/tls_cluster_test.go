package quorum

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// newTLSCluster is a cluster whose nodes know each other by certificate.
func newTLSCluster(t *testing.T) (*testCluster, *testCA, map[string]*TLS) {
	ca, secure := newTestCA(t, "ours"), map[string]*TLS{}
	c := newCluster(t, 3, func(cfg *Config) {
		secure[cfg.Name] = ca.secure(cfg.Name)
		cfg.Secure = secure[cfg.Name]
	})
	return c, ca, secure
}

func peerOf(n *testNode, name string) PeerStatus {
	s := n.Status(context.Background())
	return s.Peers[slices.IndexFunc(s.Peers, func(p PeerStatus) bool { return p.Node == name })]
}

func TestClusterOverTLS(t *testing.T) {
	t.Parallel()
	c, ca, secure := newTLSCluster(t)
	w := c.writer()
	w.lite.commit("db", 7)
	rest := c.others(w)
	for _, n := range rest {
		eventually(t, n.name+" replicates and answers", func() bool {
			return n.lite.at("db").TXID == 1 && peerOf(w, n.name).Answers && peerOf(n, w.name).Answers
		})
		s := n.Status(t.Context())
		require.Empty(t, s.Refused)
		require.WithinDuration(t, time.Now().Add(time.Hour), *s.Expires, 5*time.Minute)
	}

	// A certificate is replaced while its node runs.
	addr, own := c.addrs[rest[0].name], secure[w.name].files.paths
	first := certOf(t, addr, own)
	require.Equal(t, first, certOf(t, addr, own))
	ca.node(rest[0].name)
	require.NotEqual(t, first, certOf(t, addr, own))
	require.True(t, peerOf(w, rest[0].name).Answers)

	// One has expired: both sides say so, and the two others go on.
	past := time.Now().Add(-time.Minute)
	late := rest[1]
	withCert(t, secure[late.name], ca.issue("late", testCert{names: []string{late.name}, to: past}))
	eventually(t, "its peers show why it is refused", func() bool {
		r := w.Status(t.Context()).Refused
		return len(r) == 1 && r[0].Name == late.name && r[0].Reason == explainExpiry(past) &&
			peerOf(w, late.name).Error == c.addrs[late.name]+": "+explainExpiry(past)
	})
	eventually(t, "it is told", func() bool {
		return peerOf(late, w.name).Error == c.addrs[w.name]+": it says that this node's certificate or its CA has expired (TLS alert: expired certificate)"
	})
	require.True(t, w.gate.admits())

	// It mends itself when the file is replaced.
	secure[late.name].files.mu.Lock()
	secure[late.name].files.every = 0
	secure[late.name].files.mu.Unlock()
	ca.node(late.name)
	eventually(t, "all is well again", func() bool {
		return len(w.Status(t.Context()).Refused) == 0 && peerOf(w, late.name).Answers && peerOf(late, w.name).Answers
	})
}

func explainExpiry(at time.Time) string {
	return "its certificate expired on " + stamp(at) + "; replace it with a new one (`litefence ca issue`), a restart is not needed"
}

// certOf returns the serial number of what a port presents.
func certOf(t *testing.T, addr string, own TLSFiles) string {
	cert, err := tls.LoadX509KeyPair(own.Cert, own.Key)
	require.NoError(t, err)
	c, err := tls.Dial("tcp", addr, &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true})
	require.NoError(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// askAs asks at a node's raft port with the certificate of a node of cluster.
func askAs(t *testing.T, cluster string, as Secure, to names, ask func(*raft.NetworkTransport) error) error {
	m := &mux{secure: as, who: to, stop: make(chan struct{}), addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	l := inCluster(m, cluster).protocol(make(chan net.Conn))
	tr := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: l, MaxPool: 1, MaxRPCsInFlight: 1, Timeout: 2 * time.Second, Logger: hclog.NewNullLogger()})
	defer tr.CloseStreams()
	defer tr.Close()
	return ask(tr)
}

// A certificate is good for one name. A node that has one cannot vote, lead or
// ask in another's name.
func TestNobodySpeaksInAnothersName(t *testing.T) {
	t.Parallel()
	c, ca, _ := newTLSCluster(t)
	w := c.writer()
	rest := c.others(w)
	liar, victim := rest[0], rest[1]
	as, to := ca.secure(liar.name), names(c.addrs)
	target := raft.ServerAddress(c.addrs[w.name])
	before := w.raft.CurrentTerm()

	vote := func(id raft.ServerID, resp *raft.RequestVoteResponse) error {
		return askAs(t, w.clusterID(), as, to, func(tr *raft.NetworkTransport) error {
			return tr.RequestVote(w.raftID(), target, &raft.RequestVoteRequest{
				RPCHeader: headerOf(string(id), tr), Term: before + 50, LastLogIndex: 1 << 40, LastLogTerm: before, LeadershipTransfer: true,
			}, resp)
		})
	}
	var resp raft.RequestVoteResponse
	for _, id := range []raft.ServerID{victim.raftID(), w.raftID(), ""} {
		require.ErrorContains(t, vote(id, &resp), "over a connection of "+liar.name)
		require.False(t, resp.Granted)
	}
	require.Equal(t, before, w.raft.CurrentTerm(), "raft has not seen it")
	require.True(t, w.gate.admits())
	refused := w.Status(t.Context()).Refused
	require.Len(t, refused, 3)
	require.Equal(t, liar.name, refused[0].Name)

	ctx := meaning(t.Context(), w.name)
	peers := newPeerClient(&mux{secure: as, who: to})
	defer peers.close()
	_, err := peers.report(ctx, c.addrs[w.name], reportRequest{Term: before, From: string(victim.raftID())})
	require.ErrorContains(t, err, "over a connection of "+liar.name)
	_, err = peers.acceptLoss(ctx, c.addrs[w.name], acceptRequest{From: string(victim.raftID())})
	require.ErrorContains(t, err, "over a connection of "+liar.name)
	plan, err := peers.acceptLoss(ctx, c.addrs[w.name], acceptRequest{From: string(liar.raftID())})
	require.NoError(t, err)
	require.Equal(t, liar.name, plan.Node)
	_, err = peers.state(ctx, c.addrs[w.name])
	require.NoError(t, err)

	// In its own name it is heard: raft sees the vote, and the lease is over.
	require.NoError(t, vote(liar.raftID(), &resp))
	require.True(t, resp.Granted)
	require.Equal(t, before+50, resp.Term)
}
