package quorum

import (
	"context"
	"fmt"
	"net/http"
)

// LiteFS's cluster id is made by the first LiteFS that becomes primary, and put
// before it is on that LiteFS's disk (store.go, monitorLeaseAsPrimary). One that
// has another id than the cluster neither follows nor leads for good.

// ClusterID returns LiteFS's cluster id once it is on the disk of the primary
// that put it, "" until then: served earlier, a primary killed in between could
// never become primary again.
func (n *Node) ClusterID() string {
	if st := n.fsm.state(); st.Confirmed {
		return st.ClusterID
	}
	return ""
}

// SetClusterID commits the id that the local LiteFS, being primary, has put. It
// returns when the id is committed. Another one that was put before, by a primary
// that lost its role before it was confirmed, holds where that node has it on
// disk; a node that does not answer is not waited for.
func (n *Node) SetClusterID(ctx context.Context, id string) error {
	n.mu.Lock()
	g := n.grant
	n.mu.Unlock()
	if g == nil {
		return errNoPrimary
	}
	if st := n.fsm.state(); st.ClusterID != "" && st.ClusterID != id && !st.Confirmed {
		if who, ok := n.whoHasID(ctx, st.ClusterID); ok {
			_, err := n.apply(Record{Kind: KindConfirmed, Term: g.term, ClusterID: st.ClusterID}, n.cfg.HeartbeatTimeout)
			if err != nil {
				return err
			}
			return fmt.Errorf("LiteFS on %s has put cluster id %s before, and has it on disk; %s is refused", who, st.ClusterID, id)
		}
	}
	_, err := n.apply(Record{Kind: KindClusterID, Term: g.term, ClusterID: id}, n.cfg.HeartbeatTimeout)
	return err
}

// whoHasID asks the other nodes whose LiteFS has this cluster id on disk.
func (n *Node) whoHasID(ctx context.Context, id string) (node string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	peers := n.addresses()
	found := make(chan string, len(peers))
	for name, addr := range peers {
		n.goes(func() {
			if has, err := n.peers.liteFSID(ctx, addr); err != nil || has != id {
				name = ""
			}
			found <- name
		})
	}
	for range peers {
		if name := <-found; name != "" {
			return name, true
		}
	}
	return "", false
}

// serveLiteFSID tells a leader which cluster id the local LiteFS has on disk.
func (n *Node) serveLiteFSID(ctx context.Context, _ struct{}) (string, error) {
	if n.cfg.LiteFS == nil {
		return "", nil
	}
	return n.cfg.LiteFS.ClusterID(ctx)
}

func (p *peerClient) liteFSID(ctx context.Context, addr string) (id string, err error) {
	return id, p.do(ctx, http.MethodPost, addr, "/peer/litefs-id", struct{}{}, &id)
}
