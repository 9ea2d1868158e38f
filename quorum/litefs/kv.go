package litefs

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// primaryInfo is the value of the key (lease.go, PrimaryInfo).
type primaryInfo struct {
	Hostname     string `json:"hostname"`
	AdvertiseURL string `json:"advertise-url"`
}

// kvPair is the part of a Consul KV entry that LiteFS reads.
type kvPair struct {
	Key   string
	Value []byte // base64 in JSON, as Consul has it
}

// The key may have any name and prefix (lease.consul.key, the URL's path); the
// cluster id's is the one below it (consul.go, ClusterIDKey).
func isClusterIDKey(key string) bool { return strings.HasSuffix(key, "/clusterid") }

func (e *Endpoint) getKV(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	if isClusterIDKey(key) {
		e.getClusterID(w, key)
		return
	}
	e.getPrimary(w, r, key)
}

// getClusterID answers the first request of every turn of LiteFS's lease loop.
// monitorLeaseAsPrimary and SetClusterID ask for it as well, right after the
// key was acquired: that is no turn of the loop.
func (e *Endpoint) getClusterID(w http.ResponseWriter, key string) {
	if !e.sessions.held() {
		e.auth.Looped()
	}
	if id := e.auth.ClusterID(); id != "" {
		answer(w, []kvPair{{key, []byte(id)}})
		return
	}
	notFound(w)
}

// getPrimary answers "who is primary". A LiteFS that holds the key never asks
// (store.go, acquireLeaseOrPrimaryInfo, is only entered without a lease): if it
// does, the process that held it is dead and this is its successor.
func (e *Endpoint) getPrimary(w http.ResponseWriter, r *http.Request, key string) {
	if h, ok := e.sessions.takeHolder(""); ok {
		e.log.Warn("LiteFS asks for the key that it holds: it was restarted", "grant", h.grant)
		e.release(r.Context(), h.grant)
		e.auth.Looped() // its question for the cluster id went by as the old holder's
		notFound(w)
		return
	}
	hostname, ok := e.auth.Primary()
	if !ok {
		notFound(w)
		return
	}
	value, err := json.Marshal(primaryInfo{hostname, e.relayURL})
	if err != nil {
		e.log.Error("encode primary", "hostname", hostname, "err", err)
		notFound(w)
		return
	}
	answer(w, []kvPair{{key, value}})
}

func (e *Endpoint) putKV(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	q := r.URL.Query()
	switch {
	case q.Has("acquire"):
		e.acquire(w, r, q.Get("acquire"), body)
	case q.Has("release"):
		e.releaseKey(w, r, q.Get("release"))
	case isClusterIDKey(r.PathValue("key")):
		e.putClusterID(w, r, string(body))
	default:
		http.Error(w, "only acquire, release and the cluster id are served", http.StatusBadRequest)
	}
}

// putClusterID refuses with a status, not with Consul's "false": LiteFS does
// not look at that (consul.go, SetClusterID, drops Put's result; api/kv.go, Put,
// drops put's), and would become primary under an id that nobody committed.
func (e *Endpoint) putClusterID(w http.ResponseWriter, r *http.Request, id string) {
	if id == "" || !e.sessions.held() { // only monitorLeaseAsPrimary sets it
		http.Error(w, "the cluster id is set by the holder of the key", http.StatusConflict)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), clusterIDTimeout)
	defer cancel()
	if err := e.auth.SetClusterID(ctx, id); err != nil {
		e.log.Warn("cluster id refused", "id", id, "err", err)
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	answer(w, true)
}

// acquire grants the key. LiteFS is one process that asks for one thing at a
// time, so whoever holds the key while another session asks is a dead one.
func (e *Endpoint) acquire(w http.ResponseWriter, r *http.Request, session string, body []byte) {
	var info primaryInfo
	if err := json.Unmarshal(body, &info); err != nil || info.Hostname == "" {
		http.Error(w, "the key's value must be JSON with a hostname", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), acquireTimeout)
	defer cancel()
	select {
	case e.acquiring <- struct{}{}:
		defer func() { <-e.acquiring }()
	case <-ctx.Done():
		answer(w, false)
		return
	}
	if h, ok := e.sessions.takeHolder(""); ok {
		e.release(r.Context(), h.grant)
		answer(w, false)
		return
	}
	answer(w, e.sessions.known(session) && e.grant(ctx, session, info.Hostname))
}

// grant asks the Authority and records the holder before the answer goes out.
func (e *Endpoint) grant(ctx context.Context, session, hostname string) bool {
	grant, ok := e.auth.Acquire(ctx, hostname)
	if !ok {
		return false
	}
	if ctx.Err() != nil || !e.sessions.hold(session, grant) { // the asker has died, or ended its session
		e.release(ctx, grant)
		return false
	}
	return true
}

func (e *Endpoint) releaseKey(w http.ResponseWriter, r *http.Request, session string) {
	h, ok := e.sessions.takeHolder(session)
	if ok {
		e.release(r.Context(), h.grant)
	}
	answer(w, ok)
}

// release tells the Authority even if the asker has gone.
func (e *Endpoint) release(ctx context.Context, grant uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	e.auth.Release(ctx, grant)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the asker has gone: nothing to tell
}

func notFound(w http.ResponseWriter) { http.Error(w, "", http.StatusNotFound) }
