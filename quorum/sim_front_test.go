package quorum

import (
	"time"

	"github.com/hashicorp/raft"
)

// simFront is the transport as raft sees it. It holds TimeoutNow back while it
// is told to, as a paused process does, and it is where rules of the transport
// are taken away.
type simFront struct {
	*transport
	p    *simProc
	out  chan raft.RPC
	late past // of lateStamp: what has been stamped by now

	hold chan struct{} // TimeoutNow waits for it; nil = passes. Guarded by the sim's lock
}

func newSimFront(p *simProc) *simFront {
	return &simFront{transport: p.trans, p: p, out: make(chan raft.RPC)}
}

func (f *simFront) Consumer() <-chan raft.RPC { return f.out }

func (f *simFront) pump() {
	for {
		select {
		case <-f.p.ctx.Done():
			return
		case rpc := <-f.transport.Consumer():
			f.pass(rpc)
		}
	}
}

func (f *simFront) send(rpc raft.RPC) {
	select {
	case f.out <- rpc:
	case <-f.p.ctx.Done():
	}
}

func (f *simFront) pass(rpc raft.RPC) {
	f.p.sim.mu.Lock()
	hold := f.hold
	f.p.sim.mu.Unlock()
	switch m := rpc.Command.(type) {
	case *raft.TimeoutNowRequest:
		if hold != nil {
			f.p.wg.Go(func() {
				select {
				case <-hold:
					f.send(rpc)
				case <-f.p.ctx.Done():
				}
			})
			return
		}
	case *raft.AppendEntriesRequest:
		if f.p.rules.lateStamp {
			f.stampLate(m.Term)
		}
	}
	f.send(rpc)
}

// stampLate undoes the stamp that the transport has made and makes it later.
func (f *simFront) stampLate(term uint64) {
	past := &f.p.lease.past
	f.late.mu.Lock()
	past.mu.Lock()
	past.term, past.at, past.older = f.late.term, f.late.at, f.late.older
	past.mu.Unlock()
	f.late.mu.Unlock()
	now := f.p.node.clock.Mono()
	f.p.wg.Go(func() {
		f.p.rest(f.p.D)
		f.late.took(term, now)
		past.took(term, now)
	})
}

// AppendEntries counts the lease from the answer's arrival where the rule is
// off.
func (f *simFront) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := f.transport.AppendEntries(id, to, req, resp)
	if err == nil && resp.Success && f.p.rules.arrival {
		f.lease.acked(req.Term, id, f.clock.Boot(), 0)
	}
	return err
}

// SetHeartbeatHandler passes raft's fast path on where the rule is off. The
// answers carry a note; but what is heard there nobody has stamped.
func (f *simFront) SetHeartbeatHandler(h func(raft.RPC)) {
	if !f.p.rules.fastPath {
		return
	}
	f.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		term, _ := messageTerm(rpc.Command)
		h(f.annotated(rpc, term))
	})
}

// lateTimeoutNow holds TimeoutNow for d.
func (f *simFront) lateTimeoutNow(d time.Duration) {
	ch := make(chan struct{})
	f.p.sim.mu.Lock()
	f.hold = ch
	f.p.sim.mu.Unlock()
	f.p.rest(d)
	f.p.sim.mu.Lock()
	f.hold = nil
	f.p.sim.mu.Unlock()
	close(ch)
}
