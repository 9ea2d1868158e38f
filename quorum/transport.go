package quorum

import (
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// errNotAdmitted answers a raft message to an empty node: it forgot its votes,
// so until a peer shows it a configuration with its ID it has none.
var errNotAdmitted = errors.New("this node is empty and not admitted yet: it holds no raft configuration")

// transport wraps raft's network transport. It stamps what the lease is
// computed from before the bytes leave, and ends the lease before raft sees a
// message that could help another leader.
type transport struct {
	*raft.NetworkTransport
	clock    Clock
	lease    *lease
	admitted func() bool
	heard    func(id raft.ServerID) // any message or answer from id
	rtt      func(id raft.ServerID, nanos int64)
	beat     func(id raft.ServerID, nanos int64) // rtt of an AppendEntries that carries none
	healthy  func() bool                         // what this voter says of itself

	consumer chan raft.RPC
	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{}
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(inner *raft.NetworkTransport, clock Clock, l *lease) *transport {
	return &transport{
		NetworkTransport: inner, clock: clock, lease: l,
		admitted: func() bool { return true },
		heard:    func(raft.ServerID) {},
		rtt:      func(raft.ServerID, int64) {},
		beat:     func(raft.ServerID, int64) {},
		healthy:  func() bool { return true },
		consumer: make(chan raft.RPC),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
}

// start begins to pass messages on; to be called once, before raft runs.
func (t *transport) start() { go t.pump() }

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.stopOnce.Do(func() { close(t.stop) })
	err := t.NetworkTransport.Close()
	<-t.done
	return err
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.consumer }

// SetHeartbeatHandler is not passed on. With the handler set, raft answers
// heartbeats on the connection's goroutine, beside the main loop's votes, and a
// voter can answer an old leader while it votes for a new one.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntriesPipeline is off: a pipelined answer says nothing about when its
// request was sent.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport and feeds the lease.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	sent, number := t.clock.Boot(), t.lease.number()
	var resp raft.AppendEntriesResponse // fresh: raft's heartbeat reuses its own
	if err := t.NetworkTransport.AppendEntries(id, to, req, &resp); err != nil {
		return err
	}
	t.lease.saw(resp.Term)
	// An answer under another ID than the configuration's counts for nothing:
	// the node behind the address has forgotten what the other one promised.
	if raft.ServerID(resp.ID) != id {
		return errors.New("answered by " + string(resp.ID) + ", not by " + string(id))
	}
	t.heard(id)
	took := t.clock.Boot() - sent
	t.rtt(id, took)
	if len(req.Entries) == 0 {
		t.beat(id, took)
	}
	if resp.Success && resp.Term == req.Term {
		said, err := parseNote(resp.Addr)
		if err != nil {
			return err
		}
		if !said.unhealthy {
			t.lease.acked(req.Term, id, sent, said.age)
			t.lease.answered(req.Term, id, number)
		}
	}
	*out = resp
	return nil
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	t.lease.saw(req.Term) // a candidacy of our own ends our older lease
	err := t.NetworkTransport.RequestVote(id, to, req, resp)
	if err != nil {
		return err
	}
	t.lease.saw(resp.Term)
	if raft.ServerID(resp.ID) != id {
		return errors.New("answered by " + string(resp.ID) + ", not by " + string(id))
	}
	t.heard(id)
	return nil
}

// RequestPreVote implements raft.WithPreVote. Pre-votes and their answers carry
// term+1 and change nothing, so their terms are not looked at.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	err := t.NetworkTransport.RequestPreVote(id, to, req, resp)
	if err == nil && raft.ServerID(resp.ID) != id {
		return errors.New("answered by " + string(resp.ID) + ", not by " + string(id))
	}
	return err
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	err := t.NetworkTransport.InstallSnapshot(id, to, req, resp, data)
	if err == nil {
		t.lease.saw(resp.Term)
	}
	return err
}

// pump takes every incoming message past the lease on its way to raft.
func (t *transport) pump() {
	defer close(t.done)
	for {
		select {
		case <-t.stop:
			return
		case rpc := <-t.NetworkTransport.Consumer():
			t.receive(rpc)
		}
	}
}

func (t *transport) receive(rpc raft.RPC) {
	term, from := messageTerm(rpc.Command)
	if !t.admitted() {
		rpc.Respond(nil, errNotAdmitted)
		return
	}
	// A vote is granted only in a term that is higher than any this node leads,
	// so with the request seen here the lease is dead before raft can grant it.
	t.lease.saw(term)
	if from != "" {
		t.heard(from)
	}
	switch rpc.Command.(type) {
	case *raft.AppendEntriesRequest, *raft.InstallSnapshotRequest:
		t.lease.past.took(term, t.clock.Mono())
		rpc = t.annotated(rpc, term)
	}
	select {
	case t.consumer <- rpc:
	case <-t.stop:
		rpc.Respond(nil, raft.ErrTransportShutdown)
	}
}

// annotated has the answer to a leader's message carry this voter's note, in the
// place of the address, which raft does not read in an answer (replication.go
// reads Term, Success and LastLog).
func (t *transport) annotated(rpc raft.RPC, term uint64) raft.RPC {
	out, in := rpc.RespChan, make(chan raft.RPCResponse, 1)
	rpc.RespChan = in
	go func() {
		select {
		case resp := <-in:
			if a, ok := resp.Response.(*raft.AppendEntriesResponse); ok {
				// The age is taken now, after raft has answered: nothing that it
				// accepted before is missing.
				a.Addr = note{age: t.lease.past.age(term, t.clock.Mono()), unhealthy: !t.healthy()}.encode()
			}
			out <- resp
		case <-t.stop:
			out <- raft.RPCResponse{Error: raft.ErrTransportShutdown}
		}
	}()
	return rpc
}

// messageTerm returns the term of an incoming request, 0 where it has none or
// it does not count, and the sender's ID.
func messageTerm(cmd any) (uint64, raft.ServerID) {
	switch m := cmd.(type) {
	case *raft.AppendEntriesRequest:
		return m.Term, raft.ServerID(m.ID)
	case *raft.RequestVoteRequest:
		return m.Term, raft.ServerID(m.ID)
	case *raft.InstallSnapshotRequest:
		return m.Term, raft.ServerID(m.ID)
	case *raft.RequestPreVoteRequest:
		return 0, raft.ServerID(m.ID)
	case *raft.TimeoutNowRequest:
		return 0, raft.ServerID(m.ID)
	}
	return 0, ""
}
