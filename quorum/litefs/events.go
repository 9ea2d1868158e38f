package litefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Drops follows LiteFS's events and tells fn of every database that was
// dropped, with the transaction that did it: a "tx" event that leaves no page
// (LiteFS db.go, Drop, ApplyLTXNoLock). It returns when the stream or ctx ends,
// always with an error; a drop between two calls is missed.
func (c *Client) Drops(ctx context.Context, fn func(db string, txid uint64)) error {
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
				TXID   string  `json:"txID"`
				Commit *uint32 `json:"commit"`
			} `json:"data"`
		}
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return fmt.Errorf("%s/events: %w", c.base, io.ErrUnexpectedEOF)
		} else if err != nil {
			return fmt.Errorf("%s/events: %w", c.base, err)
		}
		if e.Type != "tx" || e.Data.Commit == nil || *e.Data.Commit != 0 {
			continue
		}
		txid, err := strconv.ParseUint(e.Data.TXID, 16, 64)
		if err != nil {
			return fmt.Errorf("%s/events: transaction id %q of %q: %w", c.base, e.Data.TXID, e.DB, err)
		}
		fn(e.DB, txid)
	}
}
