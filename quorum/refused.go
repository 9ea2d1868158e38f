package quorum

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxRefusals bounds what strangers can make this node remember.
	maxRefusals = 32
	// refusalKept is how long after its last try a refused peer is shown.
	refusalKept = 2 * time.Minute
)

// Refusal is a peer that was turned away at the one port.
type Refusal struct {
	From   string    `json:"from,omitempty"` // host
	Name   string    `json:"name,omitempty"` // as its certificate says; proves nothing
	Reason string    `json:"reason"`
	Times  int       `json:"times"`
	Last   time.Time `json:"last"`
}

// refusals is the book of those turned away. Each peer and reason is logged
// once, not with every try.
type refusals struct {
	log *slog.Logger

	mu  sync.Mutex
	all []Refusal
}

func (r *refusals) note(host, name string, err error) {
	if passing(err) {
		r.log.Debug("connection ended before it was accepted", "from", host, "err", err)
		return
	}
	r.mu.Lock()
	i := slices.IndexFunc(r.all, func(o Refusal) bool {
		return o.From == host && o.Name == name && o.Reason == err.Error()
	})
	known := i >= 0
	if !known {
		r.all = append(r.all, Refusal{From: host, Name: name, Reason: err.Error()})
		i = len(r.all) - 1
	}
	r.all[i].Times++
	r.all[i].Last = time.Now()
	if len(r.all) > maxRefusals {
		oldest := slices.MinFunc(r.all, func(a, b Refusal) int { return a.Last.Compare(b.Last) })
		r.all = slices.DeleteFunc(r.all, func(o Refusal) bool { return o == oldest })
	}
	r.mu.Unlock()
	if !known {
		r.log.Warn("peer refused", "from", host, "name", name, "reason", err)
	}
}

// settled forgets what was held against the certificates of a node that has
// been let in.
func (r *refusals) settled(names []string) {
	name := strings.Join(names, ",")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(o Refusal) bool { return o.Name != "" && o.Name == name && o.From != "" })
}

// list returns who is being turned away, by host and name.
func (r *refusals) list() []Refusal {
	r.mu.Lock()
	r.all = slices.DeleteFunc(r.all, func(o Refusal) bool { return time.Since(o.Last) > refusalKept })
	out := slices.Clone(r.all)
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// passing tells a connection that broke or said nothing, as in a partition or
// under a port scan, from a peer that was refused.
func passing(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return strings.TrimPrefix(host, "::ffff:")
}
