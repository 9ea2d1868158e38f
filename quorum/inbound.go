package quorum

import (
	"net"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

// inbound ties raft's messages to the certificate of the connection that they
// came in on. raft.NetworkTransport does not say which connection that was, so
// the connections of each identity get a NetworkTransport of their own, which
// only receives. Those without a proved name go to the main one.
type inbound struct {
	protoListener
	open    func(raft.StreamLayer) *raft.NetworkTransport
	receive func(rpc raft.RPC, names []string)
	ready   chan struct{} // closed when receive may be called

	one    sync.Mutex
	mu     sync.Mutex
	closed bool
	layers map[string]*identityLayer // by the identity's names
	wg     sync.WaitGroup
}

// identityLayer is the share of the port that one identity's connections have.
type identityLayer struct {
	protoListener
	trans *raft.NetworkTransport
}

var _ raft.StreamLayer = (*inbound)(nil)

// Accept returns the next connection without a proved name, and passes on those
// with one meanwhile.
func (i *inbound) Accept() (net.Conn, error) {
	for {
		c, err := i.protoListener.Accept()
		if err != nil {
			return nil, err
		}
		names := provenNames(c)
		if names == nil {
			return c, nil
		}
		l := i.layer(names)
		if l == nil {
			c.Close()
			continue
		}
		select {
		case l.conns <- c:
		case <-l.done:
			c.Close()
		case <-i.stop:
			c.Close()
		}
	}
}

func (i *inbound) layer(names []string) *identityLayer {
	key := strings.Join(names, ",")
	i.mu.Lock()
	defer i.mu.Unlock()
	l := i.layers[key]
	if l != nil || i.closed {
		return l
	}
	l = &identityLayer{protoListener: i.protocol(make(chan net.Conn))}
	l.trans = i.open(l.protoListener)
	i.layers[key] = l
	i.wg.Add(1)
	go func() { defer i.wg.Done(); i.pump(l, names) }()
	return l
}

func (i *inbound) pump(l *identityLayer, names []string) {
	select {
	case <-l.done:
	case <-i.ready:
	}
	for {
		select {
		case <-l.done:
			return
		case rpc := <-l.trans.Consumer():
			// One message at a time, as from a single NetworkTransport: what is
			// noted of a message before raft gets it must not be overtaken.
			i.one.Lock()
			i.receive(rpc, names)
			i.one.Unlock()
		}
	}
}

// Close implements raft.StreamLayer.
func (i *inbound) Close() error {
	i.mu.Lock()
	i.closed = true
	layers := i.layers
	i.layers = nil
	i.mu.Unlock()
	err := i.protoListener.Close()
	for _, l := range layers {
		_ = l.trans.Close()
	}
	i.wg.Wait()
	return err
}

// receiveFrom takes in a message of a peer that has proved its names.
func (n *Node) receiveFrom(rpc raft.RPC, names []string) {
	_, from := messageTerm(rpc.Command)
	if err := claims(names, from); err != nil {
		n.mux.refused.note("", strings.Join(names, ","), err)
		rpc.Respond(nil, err)
		return
	}
	n.trans.receive(rpc)
}
