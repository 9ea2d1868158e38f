package main

import (
	"context"
	"net/http"
	"time"

	"github.com/litefence/litefence/quorum"
	"github.com/litefence/litefence/quorum/litefs"
)

// followSilence is how long a LiteFS with a lease of its own may be silent as
// primary: litefs.Client.Roles asks five times a second and waits a second.
const followSilence = 1500 * time.Millisecond

// serveLease opens what LiteFS asks in litefs.mode serve, and returns the
// primary's side of the relay. A LiteFS with a lease of its own asks nothing of
// us and streams by itself: nil then.
func (d *daemon) serveLease() (relay http.Handler, err error) {
	l := d.cfg.LiteFS
	if l.follows() {
		return nil, nil
	}
	d.relay, err = litefs.NewRelay(l.RelayListen, l.URL, d.node, d.log)
	if err != nil {
		return nil, err
	}
	d.defers(func(ctx context.Context) { d.logged("relay", d.relay.Close(ctx)) })
	d.endpoint, err = litefs.NewEndpoint(l.LeaseListen, d.relay.URL(), d.node, d.log)
	if err != nil {
		return nil, err
	}
	d.defers(func(ctx context.Context) { d.logged("lease endpoint", d.endpoint.Close(ctx)) })
	return d.relay.PeerHandler(), nil
}

// followLease tells the node to go by LiteFS's own lease, where it has one.
func (d *daemon) followLease(q quorum.Config) quorum.Config {
	if d.cfg.LiteFS.follows() {
		q.Roles, q.SingleClaim = d.client, d.cfg.LiteFS.static
	}
	return q
}
