package litefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// roleTick is how often LiteFS has to give a sign of life. A stopped one
	// keeps its event stream open and says nothing.
	roleTick = 200 * time.Millisecond
	// roleSilence is how long LiteFS may take to answer.
	roleSilence = time.Second
)

var errSilent = fmt.Errorf("LiteFS has not answered for %s", roleSilence)

// roleEvent is LiteFS's "init" or "primaryChange" (store.go, SubscribeEvents,
// notifyPrimaryChange): the role, and the hostname of the primary that a
// replica is told to follow.
type roleEvent struct {
	IsPrimary bool   `json:"isPrimary"`
	Hostname  string `json:"hostname"`
}

// Roles tells fn, from one goroutine, which role LiteFS has and who is primary
// ("" = unknown): what it is at first, every change, and the same again at
// every sign of life. It returns, always with an error, when LiteFS cannot be
// heard for a second, ends its event stream (it has ended, or we read too
// slowly: 64 events are kept), or contradicts itself; so fn misses no change.
func (c *Client) Roles(ctx context.Context, fn func(primary bool, hostname string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.openEvents(ctx, cancel)
	if err != nil {
		return err
	}
	events, ended := make(chan roleEvent, 16), make(chan error, 1)
	go func() { defer close(ended); ended <- readRoles(ctx, resp.Body, events) }()
	err = c.relayRoles(ctx, events, ended, fn)
	cancel(err)
	resp.Body.Close()
	for range ended { // the reader's last word, if nobody has heard it, and its end
	}
	return err
}

// openEvents subscribes. LiteFS answers at once, or is stopped.
func (c *Client) openEvents(ctx context.Context, cancel context.CancelCauseFunc) (*http.Response, error) {
	late := time.AfterFunc(roleSilence, func() { cancel(errSilent) })
	defer late.Stop()
	resp, err := c.do(ctx, http.MethodGet, "/events")
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return resp, err
}

// readRoles ends with the stream.
func readRoles(ctx context.Context, r io.Reader, events chan<- roleEvent) error {
	dec := json.NewDecoder(r)
	for {
		var e struct {
			Type string    `json:"type"`
			Data roleEvent `json:"data"`
		}
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
		if e.Type != "init" && e.Type != "primaryChange" {
			continue
		}
		select {
		case events <- e.Data:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) relayRoles(ctx context.Context, events <-chan roleEvent, ended <-chan error, fn func(bool, string)) error {
	tick := time.NewTicker(roleTick)
	defer tick.Stop()
	var last *roleEvent
	contradictions := 0
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("%s/events: %w", c.base, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-events:
			if e.IsPrimary {
				// The event names no hostname then.
				info, err := c.infoSoon(ctx)
				if err != nil {
					return err
				}
				e.Hostname = info.Primary.Hostname
			}
			last = &e
			fn(e.IsPrimary, e.Hostname)
		case <-tick.C:
			info, err := c.infoSoon(ctx)
			if err != nil {
				return err
			}
			if last == nil || info.IsPrimary != last.IsPrimary {
				// An event may be on its way, once.
				if contradictions++; contradictions > 1 {
					return fmt.Errorf("%s: /info and /events disagree about the role", c.base)
				}
				continue
			}
			contradictions = 0
			fn(last.IsPrimary, last.Hostname)
		}
	}
}

func (c *Client) infoSoon(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roleSilence, errSilent)
	defer cancel()
	info, err := c.Info(ctx)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return info, err
}
