package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum/litefs"
)

const (
	liteFSAnswers = 3 * time.Second
	// haltFor is how long a lock must be seen to be called left: no transaction
	// takes that long to end.
	haltFor = time.Second
)

func (d *doctor) lookLiteFS(ctx context.Context) (found []finding, skipped string) {
	const check = "litefs"
	l := d.cfg.LiteFS
	found = d.publicListeners()
	if by, ok := d.liteFSProcess(); ok {
		for _, v := range environOf(by.pid) {
			if name, value, _ := strings.Cut(v, "="); name == "LITEFS_CLOUD_TOKEN" && value != "" {
				found = append(found, d.err("litefs-config", "unset it where LiteFS is started, and restart LiteFS", "LITEFS_CLOUD_TOKEN is set for %s: it switches a LiteFS backup on, which replaces rows that a primary acknowledged", by))
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, liteFSAnswers)
	defer cancel()
	info, err := litefs.NewClient(l.URL).Info(ctx)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) && !d.runs():
		return found, "no LiteFS answers on " + l.URL + ", and no daemon runs"
	case errors.Is(err, syscall.ECONNREFUSED):
		return append(found, d.err(check, "start it, or correct litefs.url", "no LiteFS answers on litefs.url %s", l.URL)), ""
	case errors.Is(err, context.DeadlineExceeded):
		return append(found, d.err(check, "see whether it is stopped; restart it", "LiteFS on litefs.url %s does not answer within %v", l.URL, liteFSAnswers)), ""
	case err != nil:
		return append(found, d.err(check, "free that port, or correct litefs.url", "what answers on litefs.url %s is no LiteFS: %v", l.URL, err)), ""
	case info.Path != l.DataDir:
		found = append(found, d.err(check, "correct litefs.url or litefs.data-dir", "the LiteFS on litefs.url %s keeps its data in %s, not in litefs.data-dir %s", l.URL, info.Path, l.DataDir))
	case !info.Candidate && !l.follows():
		found = append(found, d.err(check, "set lease.candidate to true in its config, and restart it", "LiteFS is no candidate: it never becomes primary, and leadership passes this node by"))
	}
	return found, ""
}

// liteFSPort is the port of litefs.url.
func (d *doctor) liteFSPort() uint16 {
	u, err := url.Parse(d.cfg.LiteFS.URL)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(u.Port(), 10, 16)
	return uint16(n)
}

// publicListeners sees where LiteFS really listens: its config may be unknown, or
// may have changed since it was started.
func (d *doctor) publicListeners() (found []finding) {
	if d.cfg.LiteFS.follows() {
		return nil // others stream from there
	}
	for _, l := range listeners() {
		if l.at.Port() == d.liteFSPort() && !l.at.Addr().IsLoopback() {
			found = append(found, d.err("litefs", fmt.Sprintf("set http.addr to 127.0.0.1:%d in its config, and restart it", l.at.Port()),
				"LiteFS listens on %s, beyond loopback: whoever reaches it can write past the fence (%s)", l.at, ownerOf(l.inode)))
		}
	}
	return found
}

// liteFSProcess is who listens at litefs.url.
func (d *doctor) liteFSProcess() (process, bool) {
	for _, l := range listeners() {
		if l.at.Port() == d.liteFSPort() {
			p := ownerOf(l.inode)
			return p, p.pid != 0
		}
	}
	return process{}, false
}

// lookHalt looks, a second long, for databases that stay locked against readers.
// A running litefence frees such locks itself, and takes them for moments.
func (d *doctor) lookHalt(ctx context.Context) (found []finding, skipped string) {
	if d.held() {
		return nil, "a daemon runs, which frees them"
	}
	ctx, cancel := context.WithTimeout(ctx, liteFSAnswers)
	defer cancel()
	client := litefs.NewClient(d.cfg.LiteFS.URL)
	locked, err := client.Locked(ctx)
	if err != nil {
		return nil, "LiteFS does not answer"
	}
	for began := time.Now(); len(locked) > 0 && time.Since(began) < haltFor; time.Sleep(haltFor / 5) {
		now, err := client.Locked(ctx)
		if err != nil {
			return nil, "LiteFS does not answer"
		}
		keepSame(locked, now)
	}
	for _, db := range sortedKeys(locked) {
		found = append(found, d.warn("halt-lock", "start litefence, which frees the lock; it expires by itself within 35 s", "%s is locked in LiteFS, against readers too, and no litefence runs: a HALT lock that a killed one left, or a program on LiteFS's mount", db))
	}
	return found, ""
}

// keepSame drops what is not locked any more, and what has moved on.
func keepSame(locked, now policy.Positions) {
	for db, pos := range locked {
		if at, still := now[db]; !still || at != pos {
			delete(locked, db)
		}
	}
}
