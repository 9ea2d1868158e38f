package quorum

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
)

// A cluster has an id of its own, made by the node that founds it. Every other
// node takes it over when a peer shows it a configuration with its raft ID, and
// has it on disk before it answers any raft message. From then on it has to do
// with no other cluster.
var keyCluster = []byte("litefence-cluster")

const clusterIDLen = 16 // hex digits

// loadCluster reads the cluster's id. A node without any raft state has promised
// nothing to anybody: an id that it took over without ever being reached is
// forgotten, so that it can be admitted elsewhere.
func (s *store) loadCluster() error {
	raw, err := s.bolt.Get(keyCluster)
	if err != nil && !errors.Is(err, boltdb.ErrKeyNotFound) {
		return err
	}
	promised, err := raft.HasExistingState(s.bolt, s.bolt, s.snapshots)
	if err != nil {
		return err
	}
	switch {
	case !promised:
		return nil
	case len(raw) != clusterIDLen:
		return errors.New("raft state without a cluster id: restore the directory, or move it away to start this node empty")
	}
	s.cluster = string(raw)
	return nil
}

// setCluster puts this node into a cluster, for good.
func (n *Node) setCluster(id string) error {
	if len(id) != clusterIDLen {
		return fmt.Errorf("cluster id %q: want %d digits", id, clusterIDLen)
	}
	if err := n.store.bolt.Set(keyCluster, []byte(id)); err != nil {
		return fmt.Errorf("cluster id not saved: %w", err)
	}
	n.mux.cluster.Store(&id)
	return nil
}

// clusterID returns the id of this node's cluster, "" while it has none.
func (n *Node) clusterID() string {
	if id := n.mux.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

// hello announces a protocol on a connection that this node has dialled.
func (m *mux) hello(c net.Conn, proto byte) error {
	line := []byte{proto}
	if proto == protoRaft {
		id := m.cluster.Load()
		if id == nil {
			return errNotAdmitted
		}
		line = append(line, *id...)
	}
	_, err := c.Write(line)
	return err
}

// checkCluster reads which cluster a raft connection comes from. A node without
// a cluster takes none: it would keep the connection when it has joined another.
func (m *mux) checkCluster(c net.Conn) error {
	var b [clusterIDLen]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	switch id := m.cluster.Load(); {
	case id == nil:
		return errNotAdmitted
	case *id != string(b[:]):
		return fmt.Errorf("%w: it is of %s, this node of %s; correct the address there", errForeign, b[:], *id)
	}
	return nil
}
