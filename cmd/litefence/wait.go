package main

import (
	"context"
	"fmt"
	"time"
)

// waitFor are the states that `wait` knows.
var waitFor = map[string]func(statusReply) bool{
	"ready":    func(s statusReply) bool { return s.Ready },
	"writable": func(s statusReply) bool { return s.Writable },
	"fenced":   func(s statusReply) bool { return s.Mounted && !s.Writable },
}

// waited is what wait shows as JSON.
type waited struct {
	For      string       `json:"for"`
	Reached  bool         `json:"reached"`
	WaitedMS int64        `json:"waited_ms"`
	Error    string       `json:"error,omitempty"`  // why it was not reached
	Status   *statusReply `json:"status,omitempty"` // the last one, where the daemon answered
}

func waitMain(fs *cli) int {
	connect := socketFlags(fs)
	what := fs.String("for", "", "wait until it is `ready|writable|fenced` (required)")
	timeout := fs.Duration("timeout", 30*time.Second, "give up after this `duration`")
	asJSON := fs.Bool("json", false, "show what was waited for and the last state, as JSON")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	there, ok := waitFor[*what]
	if !ok {
		return fs.misused("-for %q: want ready, writable or fenced", *what)
	}
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	began := time.Now()
	s, err := c.waitUntil(there, *timeout)
	w := waited{For: *what, Reached: err == nil, WaitedMS: time.Since(began).Milliseconds(), Status: s}
	if err != nil {
		err = fmt.Errorf("not %s within %s: %w", *what, *timeout, err)
		w.Error = err.Error()
	}
	if *asJSON {
		showJSON(w)
	}
	if err != nil {
		return fail(exitNotReady, err)
	}
	return exitDone
}

// waitUntil returns the last status, nil where the daemon never answered.
func (c *adminClient) waitUntil(there func(statusReply) bool, timeout time.Duration) (last *statusReply, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for {
		s, err := c.status(ctx)
		if err == nil {
			if last = &s; there(s) {
				return last, nil
			}
		}
		select {
		case <-ctx.Done():
			if last != nil {
				err = fmt.Errorf("it is not: mounted %t, leader %s, reason %q", last.Mounted, orNone(last.Leader), last.Reason)
			}
			return last, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
