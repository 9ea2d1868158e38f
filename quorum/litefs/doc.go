// Package litefs is all that is known of the local LiteFS: the lease endpoint
// that it asks (Endpoint), the relay that it streams through (Relay), its HTTP
// API (Client), its data directory (marker, history) and its configuration.
//
// It decides nothing. Who may hold the key, whom to follow and when a stream
// ends is the business of an Authority and a Router, which quorum's node
// implements; this package must never know raft, the gate or the fenced mount.
// Statements about LiteFS name the file and function of v0.5.14 they rest on.
package litefs

import (
	"context"
	"net"

	"github.com/litefence/litefence/policy"
)

// Authority decides what the lease endpoint answers. Its methods may be called
// from several goroutines: a LiteFS that was killed and started again asks anew
// while the request of the old process is still being answered.
type Authority interface {
	// Looped says that LiteFS began another turn of its lease loop while not
	// holding the key, so that it applies no stream any more. (store.go,
	// monitorLease: the loop comes round only after monitorLeaseAsReplica or
	// monitorLeaseAsPrimary, and the Recover after it, have returned.)
	Looped()
	// ClusterID returns the cluster's id, committed and confirmed; "" if none.
	ClusterID() string
	// SetClusterID commits id. An error makes LiteFS give the role up again.
	SetClusterID(ctx context.Context, id string) error
	// Primary returns the hostname of the remote primary to follow; ok is
	// false while there is none.
	Primary() (hostname string, ok bool)
	// Acquire is LiteFS's request for the key. The role counts as primary from
	// before Acquire returns ok: LiteFS may act on the answer at once.
	Acquire(ctx context.Context, hostname string) (grant uint64, ok bool)
	// Renew reports whether grant still holds. It returns false only once the
	// gate is shut and drained, and may block for that: LiteFS steps down at
	// once on the answer. No Release follows a false. ctx outlives the
	// connection of the request and ends with the endpoint.
	Renew(ctx context.Context, grant uint64) bool
	// Release says that LiteFS gave the role up: it released the key, its
	// session ended, or it was restarted. Called at most once for a grant.
	Release(ctx context.Context, grant uint64)
}

// Router says where replication streams go.
type Router interface {
	// Upstream returns the way to the current remote primary. ctx ends the
	// moment leadership changes or is unknown; err says that there is no
	// primary to follow.
	Upstream() (ctx context.Context, dial func(context.Context) (net.Conn, error), err error)
	// Connected is called with the positions that LiteFS stated in its request,
	// after the primary has accepted the stream and before LiteFS gets the
	// first byte of the answer. An error refuses the stream; LiteFS asks again.
	Connected(ctx context.Context, pos policy.Positions) error
	// Serving returns a context that ends with this node's lease or role; err
	// says that this node is not the open primary.
	Serving() (context.Context, error)
	// Promote makes this node the primary, by a handoff that loses nothing, and
	// returns once it is.
	Promote(ctx context.Context) error
}
