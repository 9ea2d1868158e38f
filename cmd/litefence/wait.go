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

func waitMain(args []string) int {
	fs := newFlags("wait", "wait [-config FILE] -for ready|writable|fenced [-timeout 30s]")
	connect := socketFlags(fs)
	what := fs.String("for", "", "ready, writable or fenced (required)")
	timeout := fs.Duration("timeout", 30*time.Second, "give up after this long")
	if code, ok := parse(fs, args); !ok {
		return code
	}
	there, ok := waitFor[*what]
	if !ok {
		return fail(exitUsage, fmt.Errorf("wait: -for %q: want ready, writable or fenced", *what))
	}
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	for {
		s, err := c.status(ctx)
		if err == nil && there(s) {
			return exitDone
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("it is not: mounted %t, leader %s, reason %q", s.Mounted, orNone(s.Leader), s.Reason)
			}
			return fail(exitNotReady, fmt.Errorf("not %s within %s: %w", *what, *timeout, err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
