package quorum

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// Named is implemented by connections whose peer has proved who it is: the
// names in its certificate.
type Named interface{ PeerNames() []string }

// peerConn is a connection as raft and net/http get it. It hides a *tls.Conn
// from net/http, which would look for ALPN, and keeps the peer's names.
type peerConn struct {
	net.Conn
	names []string
}

func (c peerConn) PeerNames() []string { return c.names }

// provenNames returns nil where nothing was proved: without TLS.
func provenNames(c net.Conn) []string {
	if n, ok := c.(Named); ok {
		return n.PeerNames()
	}
	return nil
}

// claims checks that the peer of a connection may speak as the node with this
// raft ID. Without TLS nothing is proved and everything may be claimed.
func claims(names []string, id raft.ServerID) error {
	if names == nil || slices.Contains(names, nodeName(id)) {
		return nil
	}
	return fmt.Errorf("message in the name of %q over a connection of %s", id, strings.Join(names, ", "))
}

// directory is who belongs to the cluster, as of the moment it is asked.
type directory interface {
	// knows reports whether a node of this name is configured or a member.
	knows(name string) bool
	// nameAt returns the node that is meant by an address, "" for none.
	nameAt(addr string) string
}

func (n *Node) knows(name string) bool {
	if _, ok := n.cfg.Peers[name]; ok {
		return true
	}
	_, ok := n.server(name)
	return ok
}

func (n *Node) nameAt(addr string) string {
	for _, s := range n.servers() {
		if string(s.Address) == addr {
			return nodeName(s.ID)
		}
	}
	for name, a := range n.cfg.Peers {
		if a == addr {
			return name
		}
	}
	return ""
}

type meantKey struct{}

// meaning says which node is meant by the address that is dialled under ctx: for
// one that is neither configured nor a member yet.
func meaning(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, meantKey{}, name)
}

func meant(ctx context.Context, d directory, addr string) string {
	if name, ok := ctx.Value(meantKey{}).(string); ok {
		return name
	}
	return d.nameAt(addr)
}

type namesKey struct{}

// withNames carries a connection's names to the handlers of its requests.
func withNames(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, namesKey{}, provenNames(c))
}

func requestNames(ctx context.Context) []string {
	names, _ := ctx.Value(namesKey{}).([]string)
	return names
}
