package quorum

import (
	"net"
	"time"
)

// vouchEvery is how often open connections are looked at again. One whose peer
// would be refused twice in a row is closed: a member that was removed hears of it
// from its peers meanwhile (peersEvery). With the time for which the certificate
// files are not looked at (lookEvery), a connection outlives what let it in by
// three seconds at most.
const vouchEvery = time.Second

// vouched is implemented by connections whose peer was let in for what
// certificates and membership said then. Vouch asks again, as of now, and returns
// why the peer would be refused.
type vouched interface{ Vouch() error }

// tlsPeer is a connection whose peer has proved its names.
type tlsPeer struct {
	peerConn
	vouch func() error
}

func (p tlsPeer) Vouch() error { return p.vouch() }

// trackedConn leaves the mux's books when it is closed. Raft's transport does
// not close what it has accepted, so the mux does at its end.
type trackedConn struct {
	net.Conn
	m *mux

	vouch func() error // nil = nothing to ask; guarded by m.mu
	bad   bool         // would have been refused at the last look; closeRefused's
}

func (m *mux) track(c net.Conn) *trackedConn {
	t := &trackedConn{Conn: c, m: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conns == nil {
		m.conns = map[*trackedConn]struct{}{}
	}
	m.conns[t] = struct{}{}
	return t
}

// lookAgain has the connection closed once the peer of c, which speaks over it,
// would be refused.
func (t *trackedConn) lookAgain(c net.Conn) {
	if v, ok := c.(vouched); ok {
		t.m.mu.Lock()
		defer t.m.mu.Unlock()
		t.vouch = v.Vouch
	}
}

// closeRefused looks at every open connection, until the mux ends. A peer that
// has good certificates by now comes again at once; one that has not is refused
// with the reason.
func (m *mux) closeRefused() {
	defer m.wg.Done()
	tick := time.NewTicker(vouchEvery)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		for c, vouch := range m.vouchers() {
			err := vouch()
			if err != nil && c.bad {
				m.log.Info("open connection closed: its peer would be refused now", "peer", c.RemoteAddr(), "reason", err)
				c.Close()
			}
			c.bad = err != nil
		}
	}
}

func (m *mux) vouchers() map[*trackedConn]func() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[*trackedConn]func() error{}
	for c := range m.conns {
		if c.vouch != nil {
			all[c] = c.vouch
		}
	}
	return all
}
