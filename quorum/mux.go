package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The one port between nodes carries two protocols. The first byte that the
// dialler sends says which.
const (
	protoRaft byte = 'R'
	protoHTTP byte = 'H' // HTTP/2 in clear text: peer status and the relay

	preambleTimeout = 2 * time.Second
)

// Secure turns a plain connection into one whose peer is known. The identity
// is used where the cluster runs without TLS.
type Secure interface {
	Server(net.Conn) (net.Conn, error)
	Client(ctx context.Context, c net.Conn, addr string) (net.Conn, error)
}

// Insecure leaves connections as they are.
type Insecure struct{}

func (Insecure) Server(c net.Conn) (net.Conn, error) { return c, nil }
func (Insecure) Client(_ context.Context, c net.Conn, _ string) (net.Conn, error) {
	return c, nil
}

// mux owns the listener and hands each connection to its protocol.
type mux struct {
	ln     net.Listener
	addr   net.Addr // advertised
	secure Secure
	log    *slog.Logger

	raft, http chan net.Conn
	stop       chan struct{}
	once       sync.Once
	wg         sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // accepted and not closed yet
}

func listen(addr string, advertise net.Addr, secure Secure, log *slog.Logger) (*mux, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("quorum.listen %s: %w (another daemon on this port? choose a free one)", addr, err)
	}
	m := &mux{
		ln: ln, addr: advertise, secure: secure, log: log,
		raft: make(chan net.Conn), http: make(chan net.Conn),
		stop: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	m.wg.Add(1)
	go m.accept()
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

// trackedConn leaves the mux's books when it is closed. Raft's transport does
// not close what it has accepted, so the mux does at its end.
type trackedConn struct {
	net.Conn
	m *mux
}

func (m *mux) track(c net.Conn) net.Conn {
	t := &trackedConn{c, m}
	m.mu.Lock()
	m.conns[t] = struct{}{}
	m.mu.Unlock()
	return t
}

func (t *trackedConn) Close() error {
	t.m.mu.Lock()
	delete(t.m.conns, t)
	t.m.mu.Unlock()
	return t.Conn.Close()
}

// sort reads the first byte and passes the connection on.
func (m *mux) sort(raw net.Conn) {
	c, proto, err := m.preamble(raw)
	if err != nil {
		m.log.Debug("connection refused", "from", raw.RemoteAddr(), "err", err)
		raw.Close()
		return
	}
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
	if b[0] != protoRaft && b[0] != protoHTTP {
		return nil, 0, fmt.Errorf("unknown protocol byte %#x", b[0])
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
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if dl, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(dl)
	}
	c, err := m.secure.Client(ctx, raw, addr)
	if err == nil {
		_, err = c.Write([]byte{proto})
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	// The wrapper hides a *tls.Conn from net/http, which would look for ALPN.
	return struct{ net.Conn }{c}, nil
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
		return struct{ net.Conn }{c}, nil
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
