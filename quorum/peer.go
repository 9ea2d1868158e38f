package quorum

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// maxPeerBody bounds what one peer takes from another: positions of many
// databases, but no more.
const maxPeerBody = 16 << 20

// peerProtocol is the version of what nodes say to each other over the one port:
// PeerState, reports, notes, records. Nodes of different ones do not share a
// lease.
const peerProtocol = 2

// PeerState is what a node tells the others of itself.
type PeerState struct {
	Name      string            `json:"name"`
	RaftID    string            `json:"raft_id"`
	Empty     bool              `json:"empty"`   // holds no raft configuration
	Members   []string          `json:"members"` // raft IDs of its configuration
	Heartbeat time.Duration     `json:"heartbeat"`
	Lease     time.Duration     `json:"lease"`
	Version   string            `json:"version"`
	Time      time.Time         `json:"time"` // its wall clock, which nothing rests on
	Term      uint64            `json:"term"`
	Leader    string            `json:"leader"`
	Fenced    bool              `json:"fenced"`
	Reason    policy.Reason     `json:"reason"`
	Positions policy.Positions  `json:"positions"`
	Marker    policy.OpenRef    `json:"marker"`
	Addresses map[string]string `json:"addresses"`       // its quorum.peers
	Mode      string            `json:"mode"`            // serve, follow
	Claim     *policy.Claim     `json:"claim,omitempty"` // follow: the local LiteFS is primary
	Protocol  int               `json:"protocol"`
	Cluster   string            `json:"cluster"`            // "" = it belongs to none yet
	Witness   bool              `json:"witness"`            // a voter without a LiteFS
	Voters    uint64            `json:"voters"`             // index of its newest committed configuration
	Applied   uint64            `json:"applied"`            // of raft's log
	Problem   string            `json:"problem,omitempty"`  // of a leader that finds no primary
	Conflict  bool              `json:"conflict,omitempty"` // the problem is contents that exclude each other
	// Hears is, by name of every other node, how long its newest answer to this
	// node's question took, in milliseconds; null where it did not answer.
	Hears map[string]*float64 `json:"hears,omitempty"`

	Health policy.HealthStatus `json:"health"`
}

type reportRequest struct {
	Term uint64 `json:"term"`
	From string `json:"from"` // raft ID of the leader
}

type historyRequest struct {
	From      string           `json:"from"` // raft ID
	Open      policy.OpenRef   `json:"open"`
	Positions policy.Positions `json:"positions"`
}

// serveHTTP serves the one port's HTTP side.
func (n *Node) serveHTTP() {
	m := http.NewServeMux()
	m.HandleFunc("GET /peer/state", func(w http.ResponseWriter, r *http.Request) {
		reply(w, n.peerState(r.Context()), nil)
	})
	m.HandleFunc("POST /peer/report", handle(n.serveReport))
	m.HandleFunc("POST /peer/accept", handle(n.serveAccept))
	m.HandleFunc("POST /peer/history", handle(n.serveHistory))
	m.HandleFunc("POST /peer/common", handle(n.serveCommon))
	m.HandleFunc("POST /peer/databases", handle(n.serveDatabases))
	m.HandleFunc("POST /peer/litefs-id", handle(n.serveLiteFSID))
	m.HandleFunc("POST /peer/handoff", handle(n.serveHandoff))
	m.HandleFunc("POST /peer/members", handle(n.serveMembers))
	m.HandleFunc("POST /peer/applied", n.serveApplied)
	if n.relay != nil {
		m.Handle("/relay/", n.relay)
	}
	n.http = &http.Server{
		Handler:           m,
		ReadHeaderTimeout: 2 * time.Second,
		IdleTimeout:       time.Minute,
		Protocols:         new(http.Protocols),
		BaseContext:       func(net.Listener) context.Context { return n.ctx },
		ConnContext:       withNames,
	}
	n.http.Protocols.SetHTTP1(true)
	n.http.Protocols.SetUnencryptedHTTP2(true)
	l := n.mux.protocol(n.mux.http)
	n.goes(func() { _ = n.http.Serve(l) })
}

// handle makes an HTTP handler of a function from one JSON value to another.
func handle[Q, R any](f func(context.Context, Q) (R, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := json.NewDecoder(io.LimitReader(r.Body, maxPeerBody)).Decode(&q); err != nil {
			http.Error(w, "request does not parse: "+err.Error(), http.StatusBadRequest)
			return
		}
		v, err := f(r.Context(), q)
		reply(w, v, err)
	}
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// serveReport answers the leader of a term, once this node follows it and
// nothing feeds its LiteFS any more.
func (n *Node) serveReport(ctx context.Context, q reportRequest) (policy.Report, error) {
	if err := claims(requestNames(ctx), raft.ServerID(q.From)); err != nil {
		return policy.Report{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ReaderGrace+handOnGrace)
	defer cancel()
	for {
		n.mu.Lock()
		l := n.followed
		n.mu.Unlock()
		if string(l.id) == q.From && l.term == q.Term {
			break
		}
		if n.raft.CurrentTerm() > q.Term {
			return policy.Report{}, fmt.Errorf("term %d is over", q.Term)
		}
		select {
		case <-ctx.Done():
			return policy.Report{}, errors.New("this node does not follow the asking leader")
		case <-time.After(5 * time.Millisecond):
		}
	}
	return n.ownReport(ctx)
}

// serveHistory tells a replica whether its positions lie in this primary's
// history, under the very Open that it names.
func (n *Node) serveHistory(ctx context.Context, q historyRequest) (bool, error) {
	id := raft.ServerID(q.From)
	if err := claims(requestNames(ctx), id); err != nil {
		return false, err
	}
	now, err := n.positionsUnder(ctx, q.Open)
	if err != nil {
		return false, err
	}
	if !n.copies.vouches(q.Open, id, q.Positions) {
		return false, nil
	}
	if len(surplus(q.Positions, now)) > 0 {
		return false, nil // whatever lies about in this LiteFS's directory
	}
	opened := n.fsm.state().Open.Positions
	rest := policy.Positions{}
	for db, pos := range q.Positions {
		if pos.TXID != 0 && now[db] != pos && opened[db] != pos {
			rest[db] = pos
		}
	}
	ok := len(rest) == 0 || n.cfg.LiteFS.InHistory(rest)
	if err := n.servesUnder(q.Open); err != nil {
		return false, err
	}
	return ok, nil
}

// peerClient asks other nodes over the one port.
type peerClient struct{ http *http.Client }

func newPeerClient(m *mux) *peerClient {
	return &peerClient{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return m.dial(ctx, addr, protoHTTP)
		},
		// A kept connection into a partition would cost the next question its
		// whole time limit.
		DisableKeepAlives: true,
	}}}
}

func (p *peerClient) close() { p.http.CloseIdleConnections() }

func (p *peerClient) state(ctx context.Context, addr string) (s PeerState, err error) {
	return s, p.do(ctx, http.MethodGet, addr, "/peer/state", nil, &s)
}

func (p *peerClient) report(ctx context.Context, addr string, q reportRequest) (r policy.Report, err error) {
	return r, p.do(ctx, http.MethodPost, addr, "/peer/report", q, &r)
}

func (p *peerClient) acceptLoss(ctx context.Context, addr string, q acceptRequest) (l LossPlan, err error) {
	return l, p.do(ctx, http.MethodPost, addr, "/peer/accept", q, &l)
}

func (p *peerClient) inHistory(ctx context.Context, addr string, q historyRequest) (ok bool, err error) {
	return ok, p.do(ctx, http.MethodPost, addr, "/peer/history", q, &ok)
}

func (p *peerClient) databases(ctx context.Context, addr string, q databasesRequest) (a databasesAnswer, err error) {
	return a, p.do(ctx, http.MethodPost, addr, "/peer/databases", q, &a)
}

// whyNoAnswer leaves out of a client's error what says nothing to an operator.
func whyNoAnswer(addr string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		err = fmt.Errorf("%w; is it stopping, or are quorum.tls and insecure: true mixed?", err)
	}
	return fmt.Errorf("%s: %w", addr, err)
}

func (p *peerClient) do(ctx context.Context, method, addr, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, &body)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return whyNoAnswer(addr, err)
	}
	defer resp.Body.Close()
	r := io.LimitReader(resp.Body, maxPeerBody)
	if resp.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(r, 512))
		return fmt.Errorf("%s%s: %s: %s", addr, path, resp.Status, bytes.TrimSpace(msg))
	}
	return json.NewDecoder(r).Decode(out)
}
