package litefs

import (
	"context"
	"net/http"
	"time"
)

// promoteTimeout bounds what a promotion waits for in all; LiteFS's request has
// no timeout of its own.
const promoteTimeout = 15 * time.Second

// promote answers the local LiteFS's request to its primary for the role, which
// is what it makes of POST /promote (http/server.go, handlePostPromote; client.go,
// Handoff: anything but 200 is a failure, and the text is not read). LiteFS itself
// hands over what it has streamed by then; here it is a handoff of the quorum's.
func (r *Relay) promote(w http.ResponseWriter, req *http.Request) {
	own, _ := r.nodeID.Load().(string)
	if id := req.URL.Query().Get("nodeID"); id != "" && id != own {
		http.Error(w, "only this node's own LiteFS can be promoted here; for another use `litefence handoff NODE`", http.StatusBadRequest)
		return
	}
	ctx, cancel := r.bind(req.Context(), r.ctx)
	defer cancel(context.Canceled)
	limited, stop := context.WithTimeout(ctx, promoteTimeout)
	defer stop()
	if err := r.router.Promote(limited); err != nil {
		r.log.Warn("LiteFS asked to be promoted: not done", "err", err)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}
