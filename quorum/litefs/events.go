package litefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/litefence/litefence/policy"
)

// transaction is a "tx" event of LiteFS: a transaction that it has carried out,
// its own or its primary's. Its LTX file is on disk by then (LiteFS db.go,
// CommitWAL, CommitJournal; store.go, processLTXStreamFrame).
type transaction struct {
	db      string
	pos     policy.Pos
	dropped bool // it has left no page
}

// transactions follows LiteFS's events. ready is called once nothing will be
// missed. It returns when the stream or ctx ends, or with the error of one of the
// two functions, always with an error. LiteFS ends the stream of one who is 1024
// events late (store.go, notifyEvent).
func (c *Client) transactions(ctx context.Context, ready func() error, fn func(transaction) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/events")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var e struct {
			Type string `json:"type"`
			DB   string `json:"db"`
			Data struct {
				TXID     string  `json:"txID"`
				Checksum string  `json:"postApplyChecksum"`
				Commit   *uint32 `json:"commit"`
			} `json:"data"`
		}
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return fmt.Errorf("%s/events: %w", c.base, io.ErrUnexpectedEOF)
		} else if err != nil {
			return fmt.Errorf("%s/events: %w", c.base, err)
		}
		if e.Type == "init" { // the first one (store.go, SubscribeEvents)
			if err := ready(); err != nil {
				return err
			}
		}
		if e.Type != "tx" || e.Data.Commit == nil {
			continue
		}
		pos, err := policy.ParsePos(e.Data.TXID + "/" + e.Data.Checksum)
		if err != nil {
			return fmt.Errorf("%s/events: position of %q: %w", c.base, e.DB, err)
		}
		if err := fn(transaction{e.DB, pos, *e.Data.Commit == 0}); err != nil {
			return err
		}
	}
}

// Drops follows LiteFS's events and tells fn of every database that was
// dropped, with the transaction that did it: a "tx" event that leaves no page
// (LiteFS db.go, Drop, ApplyLTXNoLock). It returns when the stream or ctx ends,
// always with an error; a drop between two calls is missed.
func (c *Client) Drops(ctx context.Context, fn func(db string, txid uint64)) error {
	return c.transactions(ctx, func() error { return nil }, func(t transaction) error {
		if t.dropped {
			fn(t.db, t.pos.TXID)
		}
		return nil
	})
}

// Applied follows LiteFS and tells fn of every transaction that it has carried
// out, its own or its primary's, in order for each database. ready is called
// before, once none will be missed. It returns when LiteFS's stream or ctx ends,
// or with the error of one of the two functions, always with an error.
func (c *Client) Applied(ctx context.Context, ready func() error, fn func(db string, pos policy.Pos) error) error {
	return c.transactions(ctx, ready, func(t transaction) error { return fn(t.db, t.pos) })
}
