package litefs

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	// LiteFS makes a session for every attempt to acquire and destroys it when
	// refused (consul.go, Acquire); those of killed processes would pile up.
	maxSessions = 64
	// Above it a lost lease is noticed too late for the bounds in DESIGN.md.
	maxGoodTTL = 500 * time.Millisecond
)

// holder is the session that holds the key.
type holder struct {
	session string
	grant   uint64
	renewed time.Time
	ttl     time.Duration
}

// sessions is the endpoint's memory. Its lock is never held across a call of
// the Authority.
type sessions struct {
	mu     sync.Mutex
	ttl    map[string]time.Duration // of every session
	order  []string                 // oldest first
	holder *holder
}

func (s *sessions) create(ttl time.Duration) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	id := hex.EncodeToString(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ttl == nil {
		s.ttl = map[string]time.Duration{}
	}
	s.ttl[id] = ttl
	s.order = append(s.order, id)
	for len(s.order) > maxSessions {
		s.dropOldest()
	}
	return id
}

// dropOldest forgets the oldest session that does not hold the key.
func (s *sessions) dropOldest() {
	for i, id := range s.order {
		if s.holder == nil || s.holder.session != id {
			s.order = append(s.order[:i], s.order[i+1:]...)
			delete(s.ttl, id)
			return
		}
	}
}

func (s *sessions) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ttl, id)
	for i, o := range s.order {
		if o == id {
			s.order = append(s.order[:i], s.order[i+1:]...)
			return
		}
	}
}

func (s *sessions) known(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ttl[id]
	return ok
}

// hold records the holder; false if its session has ended meanwhile.
func (s *sessions) hold(id string, grant uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ttl, ok := s.ttl[id]
	if ok {
		s.holder = &holder{session: id, grant: grant, renewed: time.Now(), ttl: ttl}
	}
	return ok
}

func (s *sessions) held() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holder != nil
}

// holds returns the grant that session id holds.
func (s *sessions) holds(id string) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == nil || s.holder.session != id {
		return 0, false
	}
	return s.holder.grant, true
}

// takeHolder ends the hold of session id, of any session if id is "". Only one
// caller gets it, and with it the duty to tell the Authority.
func (s *sessions) takeHolder(id string) (holder, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == nil || id != "" && s.holder.session != id {
		return holder{}, false
	}
	h := *s.holder
	s.holder = nil
	return h, true
}

// renewed stamps the hold; false if it ended while the renewal was decided.
func (s *sessions) renewed(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == nil || s.holder.session != id {
		return false
	}
	s.holder.renewed = time.Now()
	return true
}

func (s *sessions) lastRenewal() (time.Time, time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == nil {
		return time.Time{}, 0, false
	}
	return s.holder.renewed, s.holder.ttl, true
}

// sessionID is the part of a Consul session that LiteFS reads.
type sessionID struct{ ID string }

func (e *Endpoint) createSession(w http.ResponseWriter, r *http.Request) {
	var entry struct{ TTL string } // LockDelay and Behavior are raft's business here
	if err := json.NewDecoder(r.Body).Decode(&entry); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ttl, err := time.ParseDuration(entry.TTL)
	if err != nil {
		http.Error(w, "TTL: "+err.Error(), http.StatusBadRequest)
		return
	}
	if ttl > maxGoodTTL {
		e.slowTTL.Do(func() {
			e.log.Warn("LiteFS notices a lost lease only every TTL/2; set lease.consul.ttl in litefs.yml to 500ms or less", "ttl", ttl)
		})
	}
	answer(w, sessionID{e.sessions.create(ttl)})
}

// renewSession answers 404 as soon as the Authority has let go of the grant.
// A session without the key is never renewed by LiteFS, but by AcquireExisting
// after a handoff behind our back: refused likewise.
func (e *Endpoint) renewSession(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	grant, ok := e.sessions.holds(id)
	if !ok {
		e.sessions.drop(id)
		notFound(w)
		return
	}
	if !e.auth.Renew(e.ctx, grant) {
		e.sessions.takeHolder(id)
		e.sessions.drop(id)
		notFound(w)
		return
	}
	if !e.sessions.renewed(id) {
		notFound(w)
		return
	}
	answer(w, []sessionID{{id}})
}

func (e *Endpoint) destroySession(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if h, ok := e.sessions.takeHolder(id); ok {
		e.release(r.Context(), h.grant)
	}
	e.sessions.drop(id)
	answer(w, true)
}
