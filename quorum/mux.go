package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// The one port between nodes carries two protocols. The first byte that the
// dialler sends says which.
const (
	protoRaft byte = 'R'
	protoHTTP byte = 'H' // HTTP/2 in clear text: peer status and the relay

	tlsHandshake byte = 0x16 // first byte of a TLS record that begins a handshake

	preambleTimeout = 2 * time.Second
	dialTimeout     = 2 * time.Second // with the handshake; the caller's may be shorter

	// For a peer that was refused to read why.
	lingerTimeout = 200 * time.Millisecond
	maxLinger     = 64 << 10
)

// Raft's connections name the dialler's cluster after the protocol byte. Raft
// itself would follow any leader of a higher term, and two clusters meet where
// an address is misspelt or used again.
var errForeign = errors.New("raft connection of another cluster refused")

// Secure turns a plain connection into one whose peer is known: one that is
// Named. Insecure is used where the cluster runs without TLS.
type Secure interface {
	Server(net.Conn) (net.Conn, error)
	// Client is told the name of the node that is meant, "" for none known.
	Client(ctx context.Context, c net.Conn, name string) (net.Conn, error)
}

// Insecure leaves connections as they are.
type Insecure struct{}

func (Insecure) Server(c net.Conn) (net.Conn, error) { return c, nil }
func (Insecure) Client(_ context.Context, c net.Conn, _ string) (net.Conn, error) {
	return c, nil
}

// mux owns the listener and hands each connection to its protocol.
type mux struct {
	ln      net.Listener
	addr    net.Addr // advertised
	secure  Secure
	who     directory
	log     *slog.Logger
	refused refusals

	raft, http chan net.Conn
	stop       chan struct{}
	once       sync.Once
	wg         sync.WaitGroup

	cluster atomic.Pointer[string] // id of this node's cluster; nil = none yet

	mu    sync.Mutex
	conns map[*trackedConn]struct{} // accepted or dialled, and not closed yet
}

func listen(addr string, advertise net.Addr, secure Secure, who directory, log *slog.Logger) (*mux, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("quorum.listen %s: %w (another daemon on this port? choose a free one)", addr, err)
	}
	m := &mux{
		ln: ln, addr: advertise, secure: secure, who: who, log: log, refused: refusals{log: log},
		raft: make(chan net.Conn), http: make(chan net.Conn),
		stop: make(chan struct{}),
	}
	if t, ok := secure.(interface{ Admit(func([]string) error) }); ok {
		t.Admit(m.admit)
	}
	m.wg.Add(2)
	go m.accept()
	go m.closeRefused()
	return m, nil
}

func (m *mux) accept() {
	defer m.wg.Done()
	for {
		c, err := m.ln.Accept()
		if err != nil {
			select {
			case <-m.stop:
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors: they come back
				continue
			}
		}
		m.wg.Add(1)
		go func() { defer m.wg.Done(); m.sort(m.track(c)) }()
	}
}

// CloseWrite is TCP's.
func (t *trackedConn) CloseWrite() error {
	if h, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (t *trackedConn) Close() error {
	t.m.mu.Lock()
	delete(t.m.conns, t)
	t.m.mu.Unlock()
	return t.Conn.Close()
}

// sort reads the first byte and passes the connection on.
func (m *mux) sort(raw *trackedConn) {
	c, proto, err := m.preamble(raw)
	if err != nil {
		if !errors.Is(err, errNotAdmitted) { // members try an empty node all the time
			var r refusedName
			errors.As(err, &r)
			m.refused.note(hostOf(raw.RemoteAddr()), r.name, err)
		}
		hangUp(raw)
		return
	}
	raw.lookAgain(c)
	m.refused.settled(provenNames(c))
	to := m.http
	if proto == protoRaft {
		to = m.raft
	}
	select {
	case to <- c:
	case <-m.stop:
		c.Close()
	}
}

// admit lets in the certificates of the cluster's nodes.
func (m *mux) admit(names []string) error {
	if slices.ContainsFunc(names, m.who.knows) {
		return nil
	}
	name := strings.Join(names, ",")
	return refusedName{name, fmt.Errorf("its certificate is for %s, which is no node of this cluster; add it with `litefence peers add`, or correct quorum.peers", name)}
}

// hangUp closes a connection so that what was last said, a TLS alert, arrives:
// a close with bytes unread would send a reset, which overtakes it.
func hangUp(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		_ = c.SetDeadline(time.Now().Add(lingerTimeout))
		_, _ = io.CopyN(io.Discard, c, maxLinger)
	}
	c.Close()
}

func (m *mux) preamble(raw net.Conn) (net.Conn, byte, error) {
	_ = raw.SetDeadline(time.Now().Add(preambleTimeout))
	c, err := m.secure.Server(raw)
	if err != nil {
		return nil, 0, err
	}
	var b [1]byte
	if _, err := c.Read(b[:]); err != nil {
		return nil, 0, err
	}
	switch b[0] {
	case protoRaft, protoHTTP:
	case tlsHandshake:
		return nil, 0, errors.New("it speaks TLS to this insecure port; give this node quorum.tls too, in place of insecure: true")
	default:
		return nil, 0, fmt.Errorf("unknown protocol byte %#x", b[0])
	}
	if b[0] == protoRaft {
		if err := m.checkCluster(c); err != nil {
			return nil, 0, err
		}
	}
	return c, b[0], raw.SetDeadline(time.Time{})
}

func (m *mux) close() {
	m.once.Do(func() {
		close(m.stop)
		m.ln.Close()
		m.mu.Lock()
		open := slices.Collect(maps.Keys(m.conns))
		m.mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	m.wg.Wait()
}

// dial connects to a peer's port and announces a protocol.
func (m *mux) dial(ctx context.Context, addr string, proto byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	tcp, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	raw := m.track(tcp)
	if dl, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(dl)
	}
	c, err := m.secure.Client(ctx, raw, meant(ctx, m.who, addr))
	if err == nil {
		err = m.hello(c, proto)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	raw.lookAgain(c)
	_ = raw.SetDeadline(time.Time{})
	return peerConn{c, provenNames(c)}, nil
}

// protoListener is one protocol's share of the port, as a net.Listener and
// raft.StreamLayer.
type protoListener struct {
	*mux
	conns chan net.Conn
	once  *sync.Once
	done  chan struct{}
}

var _ raft.StreamLayer = protoListener{}

func (m *mux) protocol(conns chan net.Conn) protoListener {
	return protoListener{m, conns, new(sync.Once), make(chan struct{})}
}

func (p protoListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return peerConn{c, provenNames(c)}, nil
	case <-p.done:
	case <-p.stop:
	}
	return nil, net.ErrClosed
}

func (p protoListener) Addr() net.Addr { return p.addr }

func (p protoListener) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Dial implements raft.StreamLayer.
func (p protoListener) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		return nil, errors.New("dial without a timeout")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.dial(ctx, string(addr), protoRaft)
}
