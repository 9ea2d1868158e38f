package quorum

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// Each race is run twice: with the wait no two gates are open at once, and
// with the wait off the same run shows that they are, so the test can fail.
func bothWays(t *testing.T, run func(t *testing.T, r *rig)) {
	slow, quick := 400*time.Millisecond, 150*time.Millisecond
	h := map[string]time.Duration{"L": slow, "A": slow, "B": quick}
	t.Run("waiting", func(t *testing.T) {
		r := newRig(t, false, h)
		run(t, r)
		opens, overlaps := r.seen()
		require.GreaterOrEqual(t, opens, 2)
		require.Zero(t, overlaps)
	})
	t.Run("not waiting", func(t *testing.T) {
		r := newRig(t, true, h)
		run(t, r)
		_, overlaps := r.seen()
		require.NotZero(t, overlaps, "the race was not run: this test proves nothing")
	})
}

// Leader L hears only A; B has timed out; A restarts and votes for B at once.
func TestRestartRace(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig) {
		l, a, b := r.leadBy("L"), r.nodes["A"], r.nodes["B"]
		r.links.set("L", "B", true)
		eventually(t, "B has no leader", func() bool { _, id := b.raft.LeaderWithID(); return id == "" })
		require.True(t, l.gate.admits())
		a.stop()
		r.links.set("L", "A", true) // A is B's from here on, and L's lease runs on
		a.start()
		eventually(t, "A or B opens", func() bool { return a.gate.admits() || b.gate.admits() })
	})
}

// A leadership transfer times out while its target is paused; the old leader
// goes on; the target wakes and is elected over the vote rule.
func TestLateTimeoutNow(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig) {
		l, b := r.leadBy("L"), r.nodes["B"]
		hold := make(chan struct{})
		r.mu.Lock()
		b.holdTimeoutNow = hold
		r.mu.Unlock()
		_ = l.raft.LeadershipTransferToServer("B", raft.ServerAddress(b.addr)).Error()
		require.Equal(t, raft.Leader, l.raft.State())
		eventually(t, "L still holds its lease", l.gate.admits)
		r.links.set("L", "B", true)
		r.links.set("L", "A", true) // or A would tell L of the new term at its next heartbeat
		close(hold)
		eventually(t, "A or B opens", func() bool { return r.nodes["A"].gate.admits() || b.gate.admits() })
	})
}

// slowStable is a disk that takes its time to write the term, and says when it
// begins.
type slowStable struct {
	raft.StableStore
	armed   atomic.Bool
	writing chan struct{}
}

func (s *slowStable) SetUint64(k []byte, v uint64) error {
	if string(k) == "CurrentTerm" && s.armed.CompareAndSwap(true, false) {
		s.writing <- struct{}{}
		time.Sleep(30 * time.Millisecond)
	}
	return s.StableStore.SetUint64(k, v)
}

// A voter is sent a heartbeat of the old term while it is voting in a new one.
// By raft's heartbeat fast path it accepts both; past our transport it never
// does.
func TestVoteRace(t *testing.T) {
	require.NotZero(t, voteRaces(t, true), "the race was not run: this test proves nothing")
	require.Zero(t, voteRaces(t, false))
}

// startVoter starts voter V, whose leaders L and C the test plays.
func startVoter(t *testing.T, fastPath bool, disk func(raft.StableStore) raft.StableStore) (v *rigNode, l, c *raft.NetworkTransport) {
	r := &rig{t: t, D: time.Second, links: &links{cut: map[[2]string]bool{}}, nodes: map[string]*rigNode{}}
	v = &rigNode{rig: r, name: "V", H: time.Minute, store: raft.NewInmemStore(), fastPath: fastPath}
	v.stable, v.gate, v.addr = disk(v.store), &monitoredGate{rig: r}, "127.0.0.1:0"
	r.nodes["V"] = v
	l, c = askFrom(t), askFrom(t)
	conf := raft.Configuration{Servers: []raft.Server{
		{ID: "V", Address: "v"}, {ID: "L", Address: l.LocalAddr()}, {ID: "C", Address: c.LocalAddr()},
	}}
	_, trans := raft.NewInmemTransport("")
	require.NoError(t, raft.BootstrapCluster(v.raftConfig(), v.store, v.stable, raft.NewDiscardSnapshotStore(), trans, conf))
	v.start()
	t.Cleanup(v.stop)
	return v, l, c
}

// heartbeat is what leader id of term sends.
func heartbeat(id string, from *raft.NetworkTransport, term uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{RPCHeader: headerOf(id, from), Term: term, Leader: from.EncodePeer("", from.LocalAddr())}
}

// voteRaces returns how often, of 10 times, a heartbeat of the old term was
// accepted that was sent after the voter had begun to vote.
func voteRaces(t *testing.T, fastPath bool) (both int) {
	disk := &slowStable{writing: make(chan struct{})}
	v, old, cand := startVoter(t, fastPath, func(s raft.StableStore) raft.StableStore { disk.StableStore = s; return disk })
	target := v.trans.LocalAddr()
	for i := range 10 {
		term := uint64(10 + 10*i)
		hb := heartbeat("L", old, term)
		var resp raft.AppendEntriesResponse
		require.NoError(t, old.AppendEntries("V", target, hb, &resp))
		require.True(t, resp.Success)
		disk.armed.Store(true)
		granted := make(chan bool, 1)
		go func() {
			var resp raft.RequestVoteResponse
			req := &raft.RequestVoteRequest{RPCHeader: headerOf("C", cand), Term: term + 1, LastLogIndex: 1 << 40, LastLogTerm: term, LeadershipTransfer: true}
			err := cand.RequestVote("V", target, req, &resp)
			granted <- err == nil && resp.Granted
		}()
		<-disk.writing
		require.NoError(t, old.AppendEntries("V", target, hb, &resp))
		require.True(t, <-granted)
		if resp.Success {
			both++
		}
	}
	return both
}

func headerOf(id string, t *raft.NetworkTransport) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: t.EncodePeer("", t.LocalAddr())}
}

// askFrom makes a bare transport to ask a voter from.
func askFrom(t *testing.T) *raft.NetworkTransport {
	tr, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 1, 5*time.Second, hclog.NewNullLogger())
	require.NoError(t, err)
	t.Cleanup(func() { tr.Close() })
	return tr
}

// askPort asks over a port that carries more than raft, as a node of cluster.
func askPort(t *testing.T, cluster string, ask func(*raft.NetworkTransport) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: portStream{l, cluster}, MaxPool: 1, Timeout: 5 * time.Second, Logger: hclog.NewNullLogger(),
	})
	defer tr.Close()
	return ask(tr)
}

type portStream struct {
	net.Listener
	cluster string
}

func (p portStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", string(addr), timeout)
	if err == nil {
		_, err = c.Write(append([]byte{protoRaft}, p.cluster...))
	}
	return c, err
}
