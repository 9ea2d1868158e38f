package litefs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The node that halts, to LiteFS: any id but LiteFS's own, which is random, and
// a lock id that is always the same, so that a successor of this process can
// release what it left (LiteFS holds a HALT lock for 30 s, and readers wait).
const (
	haltNodeID = "6C69746566656E63"
	haltLockID = 0x6c6974656665
)

const (
	unhaltTimeout = 2 * time.Second
	// A POST that was given up: for LiteFS to notice and to answer all the same.
	haltGrace = 2 * time.Second
)

// Halt makes LiteFS repair database db: it takes LiteFS's HALT lock, whereby
// LiteFS rolls a hot journal back and checkpoints the WAL (db.go,
// AcquireHaltLock), and lets go of it at once, whatever happened. LiteFS waits
// up to 10 s for other lock holders. ErrNoDatabase if there is none: LiteFS
// would create it (http/server.go, handlePostHalt).
func (c *Client) Halt(ctx context.Context, db string) error {
	return c.HaltWith(ctx, db, func() {})
}

// HaltWith is Halt that calls held while LiteFS holds the lock: for the stat
// of -wal without which a live WAL database is corrupted (FACTS.md 1). While
// it lasts nobody can read the database.
func (c *Client) HaltWith(ctx context.Context, db string, held func()) (err error) {
	unlock, err := c.lockHalt(ctx, db)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.hasDatabase(ctx, db); err != nil {
		return err
	}
	defer func() { // also where held panics
		err = errors.Join(err, c.unhalt(context.WithoutCancel(ctx), db))
	}()
	if err := c.postHalt(ctx, db); err != nil {
		return fmt.Errorf("halt %q: %w", db, err)
	}
	held()
	return nil
}

// Unhalt releases a HALT lock that a predecessor of this process left on db.
func (c *Client) Unhalt(ctx context.Context, db string) error {
	unlock, err := c.lockHalt(ctx, db)
	if err != nil {
		return err
	}
	defer unlock()
	// LiteFS panics on a database that it does not have (handleDeleteHalt).
	if err := c.hasDatabase(ctx, db); err != nil {
		return err
	}
	return c.unhalt(ctx, db)
}

// lockHalt admits one at a time per database: to a second POST of the same
// lock id LiteFS answers yes without having repaired anything, and the first
// DELETE would end both.
func (c *Client) lockHalt(ctx context.Context, db string) (unlock func(), err error) {
	c.mu.Lock()
	token, ok := c.halts[db]
	if !ok {
		token = make(chan struct{}, 1)
		c.halts[db] = token
	}
	c.mu.Unlock()
	select {
	case token <- struct{}{}:
		return func() { <-token }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *Client) hasDatabase(ctx context.Context, db string) error {
	pos, err := c.Positions(ctx)
	if err != nil {
		return err
	}
	if _, ok := pos[db]; !ok {
		return fmt.Errorf("%q: %w", db, ErrNoDatabase)
	}
	return nil
}

// postHalt asks for the lock and returns only when LiteFS has answered, or has
// no more answer to give. A POST that is merely dropped can be granted after
// the DELETE that was to undo it. So when ctx ends we close our half of the
// connection: LiteFS's server takes that for the client's end and cancels the
// request, but still sends the answer down the other half.
func (c *Client) postHalt(ctx context.Context, db string) error {
	req, err := http.NewRequest(http.MethodPost, c.base+haltPath(db), nil)
	if err != nil {
		return err
	}
	req.Header.Set(headerNodeID, haltNodeID)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.host)
	if err != nil {
		return err
	}
	defer conn.Close()
	release := onDone(ctx, func() {
		_ = conn.SetReadDeadline(time.Now().Add(haltGrace))
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	defer release()
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err == nil {
		if err = checkOK(resp); err == nil {
			resp.Body.Close()
		}
	}
	if err == nil {
		return nil
	}
	return errors.Join(context.Cause(ctx), err)
}

func (c *Client) unhalt(ctx context.Context, db string) error {
	ctx, cancel := context.WithTimeout(ctx, unhaltTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodDelete, haltPath(db))
	if err != nil {
		return fmt.Errorf("release the HALT lock of %q: %w", db, err)
	}
	return resp.Body.Close()
}

func haltPath(db string) string {
	return "/halt?" + url.Values{"name": {db}, "id": {strconv.FormatInt(haltLockID, 10)}}.Encode()
}
