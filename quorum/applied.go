package quorum

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// applied is a message of a replica's report to its primary: a stream of them is
// the body of one request, which lasts for as long as the replication stream and
// belongs to one Open. The first has the position of every database, the others
// where it has moved since. Messages are sent as fast as they are taken; what
// LiteFS applies meanwhile goes into the next one.
type applied struct {
	Open      policy.OpenRef   `json:"open,omitzero"` // the first only
	From      string           `json:"from,omitempty"`
	Positions policy.Positions `json:"positions"`
}

// reportApplied tells the primary of f what LiteFS here has applied, while this
// node follows it, in step with its Open.
func (n *Node) reportApplied(ctx context.Context, f following) {
	if !n.cfg.Replicated {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()
	for ctx.Err() == nil {
		if err := n.pushApplied(ctx, f); err != nil && ctx.Err() == nil {
			n.log.Debug("report of what was applied ended", "to", nodeName(f.id), "err", err)
		}
		rest(ctx, reignTick)
	}
}

// pushApplied is one connection of reportApplied.
func (n *Node) pushApplied(ctx context.Context, f following) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	batch := appliedBatch{more: make(chan struct{}, 1)}
	followed := make(chan error, 1)
	n.goes(func() {
		followed <- n.cfg.LiteFS.Applied(ctx, func() error {
			// Subscribed: what comes between the two is said twice.
			pos, primary, err := n.cfg.LiteFS.Positions(ctx)
			if err != nil || primary {
				return fmt.Errorf("LiteFS is no replica, or does not answer: %w", err)
			}
			batch.add(pos)
			return nil
		}, func(db string, pos policy.Pos) error {
			batch.add(policy.Positions{db: pos})
			return nil
		})
		cancel()
	})
	n.goes(func() {
		first := applied{Open: f.ref, From: string(n.raftID())}
		_ = w.CloseWithError(batch.send(ctx, w, first))
	})
	err := n.peers.stream(ctx, f.addr, "/peer/applied", r)
	cancel()
	_ = r.CloseWithError(context.Canceled)
	if ended := <-followed; err == nil {
		err = ended
	}
	return err
}

// appliedBatch gathers positions that are yet to be sent.
type appliedBatch struct {
	mu   sync.Mutex
	pos  policy.Positions
	more chan struct{}
}

func (b *appliedBatch) add(pos policy.Positions) {
	b.mu.Lock()
	if b.pos == nil {
		b.pos = policy.Positions{}
	}
	maps.Copy(b.pos, pos)
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
}

func (b *appliedBatch) send(ctx context.Context, w io.Writer, m applied) error {
	for {
		select {
		case <-b.more:
		case <-ctx.Done():
			return ctx.Err()
		}
		b.mu.Lock()
		m.Positions, b.pos = b.pos, nil
		b.mu.Unlock()
		if m.Positions == nil {
			continue
		}
		var line bytes.Buffer
		if err := json.NewEncoder(&line).Encode(m); err != nil {
			return err
		}
		if _, err := w.Write(line.Bytes()); err != nil {
			return err
		}
		m = applied{}
	}
}

// stream posts a body that grows, and returns when the other side answers.
func (p *peerClient) stream(ctx context.Context, addr, path string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, body)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return whyNoAnswer(addr, err)
	}
	defer resp.Body.Close()
	msg, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return fmt.Errorf("%s%s: %s: %s", addr, path, resp.Status, bytes.TrimSpace(msg))
}

// serveApplied takes a replica's report, for as long as this node is primary
// under the Open that it names. Nothing of it outlives the connection.
func (n *Node) serveApplied(w http.ResponseWriter, r *http.Request) {
	reply(w, nil, n.takeApplied(w, r))
}

func (n *Node) takeApplied(w http.ResponseWriter, r *http.Request) error {
	dec := json.NewDecoder(r.Body)
	var m applied
	if err := dec.Decode(&m); err != nil {
		return fmt.Errorf("report does not parse: %w", err)
	}
	id := raft.ServerID(m.From)
	if err := claims(requestNames(r.Context()), id); err != nil {
		return err
	}
	serving, err := n.Serving()
	if err != nil {
		return err
	}
	if err := n.servesUnder(m.Open); err != nil {
		return err
	}
	c := &n.copies
	end := func() { _ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }
	at := &copyAt{policy.Positions{}, end}
	if !c.join(m.Open, id, at) {
		return errNoPrimary
	}
	defer c.leave(id, at)
	defer context.AfterFunc(serving, end)()
	for {
		c.note(at, m.Positions)
		m = applied{}
		if err := dec.Decode(&m); err != nil {
			return err
		}
	}
}

// join makes at the report of id; an older one of its is forgotten.
func (c *copies) join(ref policy.OpenRef, id raft.ServerID, at *copyAt) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on || c.ref != ref {
		return false
	}
	c.at[id] = at
	return true
}

func (c *copies) note(at *copyAt, pos policy.Positions) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for db, p := range pos {
		if p.TXID >= at.pos[db].TXID { // what was said twice may come in the other order
			at.pos[db] = p
		}
	}
	c.changedLocked()
}

func (c *copies) leave(id raft.ServerID, at *copyAt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at[id] == at {
		delete(c.at, id)
		c.changedLocked()
	}
}
