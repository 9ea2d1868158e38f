package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// consul stands in for a real Consul: the requests that LiteFS makes
// (FACTS: sessions with a TTL, their lock delay, keys that go with their
// session), for several LiteFS at once. Sessions end on time: Consul itself
// takes up to twice the TTL.
type consul struct {
	mu       sync.Mutex
	serial   int
	sessions map[string]*consulSession
	keys     map[string]*consulKey
	delayed  map[string]time.Time // until when a key that lost its session stays free
}

type consulSession struct {
	ttl, delay time.Duration
	ends       time.Time
}

type consulKey struct{ value, session string } // session "" = an ordinary key

func startConsul(t *testing.T, ln net.Listener) *consul {
	c := &consul{sessions: map[string]*consulSession{}, keys: map[string]*consulKey{}, delayed: map[string]time.Time{}}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/session/create", c.create)
	mux.HandleFunc("PUT /v1/session/renew/{id}", c.renew)
	mux.HandleFunc("PUT /v1/session/destroy/{id}", c.destroy)
	mux.HandleFunc("GET /v1/kv/{key...}", c.get)
	mux.HandleFunc("PUT /v1/kv/{key...}", c.put)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.expire()
		mux.ServeHTTP(w, r)
	})}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return c
}

func (c *consul) expire() {
	for id, s := range c.sessions {
		if time.Now().After(s.ends) {
			c.end(id, s.delay)
		}
	}
}

// end deletes what the session holds; after an expiry the key stays free for
// the lock delay.
func (c *consul) end(id string, delay time.Duration) {
	delete(c.sessions, id)
	for name, k := range c.keys {
		if k.session == id {
			delete(c.keys, name)
			c.delayed[name] = time.Now().Add(delay)
		}
	}
}

func (c *consul) create(w http.ResponseWriter, r *http.Request) {
	var q struct{ TTL, LockDelay, Behavior string }
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Behavior != "delete" {
		http.Error(w, fmt.Sprint(q, err), http.StatusBadRequest)
		return
	}
	ttl, err1 := time.ParseDuration(q.TTL)
	delay, err2 := time.ParseDuration(q.LockDelay)
	if err1 != nil || err2 != nil {
		http.Error(w, fmt.Sprint(err1, err2), http.StatusBadRequest)
		return
	}
	c.serial++
	id := fmt.Sprintf("session-%d", c.serial)
	c.sessions[id] = &consulSession{ttl, delay, time.Now().Add(ttl)}
	_ = json.NewEncoder(w).Encode(map[string]string{"ID": id})
}

func (c *consul) renew(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	s := c.sessions[id]
	if s == nil {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	s.ends = time.Now().Add(s.ttl)
	_ = json.NewEncoder(w).Encode([]map[string]string{{"ID": id}})
}

func (c *consul) destroy(w http.ResponseWriter, r *http.Request) {
	c.end(r.PathValue("id"), 0)
	fmt.Fprintln(w, "true")
}

func (c *consul) get(w http.ResponseWriter, r *http.Request) {
	k := c.keys[r.PathValue("key")]
	if k == nil {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode([]map[string]any{{"Key": r.PathValue("key"), "Value": []byte(k.value)}})
}

func (c *consul) put(w http.ResponseWriter, r *http.Request) {
	key, q := r.PathValue("key"), r.URL.Query()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ok := true
	switch id := q.Get("acquire"); {
	case id != "":
		k := c.keys[key]
		ok = c.sessions[id] != nil && (k == nil || k.session == "" || k.session == id) && time.Now().After(c.delayed[key])
		if ok {
			c.keys[key] = &consulKey{string(body), id}
		}
	case q.Has("release"):
		k := c.keys[key]
		if ok = k != nil && k.session == q.Get("release"); ok {
			delete(c.keys, key) // LiteFS destroys the session next
		}
	default:
		c.keys[key] = &consulKey{value: string(body)}
	}
	fmt.Fprintln(w, ok)
}

// holder is the hostname that the key names; "" = nobody's.
func (c *consul) holder() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire()
	k := c.keys["litefs/primary"]
	if k == nil {
		return ""
	}
	var v struct{ Hostname string }
	_ = json.NewDecoder(strings.NewReader(k.value)).Decode(&v)
	return v.Hostname
}
