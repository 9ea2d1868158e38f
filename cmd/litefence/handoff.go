package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/litefence/litefence/quorum"
)

const (
	handoffTimeout = 10 * time.Second
	// handoffRest is what a handoff may take beyond its timeout: what cannot be
	// called off any more is waited for.
	handoffRest = 8 * time.Second
)

type handoffBody struct {
	To      string `json:"to"`      // "" = the node best suited
	Timeout string `json:"timeout"` // "" = 10s
}

// handoffReply is what POST /v1/handoff answers, whatever the status.
type handoffReply struct {
	quorum.HandoffResult
	Error string `json:"error,omitempty"`
}

// handoffExits are the statuses of POST /v1/handoff and the exit codes for them.
var handoffExits = map[int]int{
	http.StatusOK:             exitDone,
	http.StatusConflict:       exitUnsafe,
	http.StatusGatewayTimeout: exitNotReady,
	http.StatusBadRequest:     exitUsage,
}

func handoffMain(fs *cli) int {
	connect := socketFlags(fs)
	timeout := fs.Duration("timeout", handoffTimeout, "call it off after this `duration`")
	asJSON := fs.Bool("json", false, "as JSON")
	nodes, code, ok := fs.parse()
	if !ok {
		return code
	}
	to := strings.Join(nodes, "")
	if *timeout <= 0 {
		return fail(exitUsage, fmt.Errorf("handoff: -timeout %s: want more than 0", *timeout))
	}
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	code, r, err := c.handoff(context.Background(), to, *timeout)
	if *asJSON && !errors.Is(err, errNoDaemon) {
		_ = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		return fail(code, err)
	}
	if *asJSON {
		return exitDone
	}
	if r.From == r.Primary {
		fmt.Println(r.Primary, "is primary already")
	} else {
		fmt.Printf("%s is primary; no writes for %d ms\n", r.Primary, r.PausedMS)
	}
	return exitDone
}

// handoff returns the exit code too.
func (c *adminClient) handoff(ctx context.Context, to string, timeout time.Duration) (code int, r handoffReply, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+handoffRest)
	defer cancel()
	code, err = c.ask(ctx, "/v1/handoff", handoffBody{To: to, Timeout: timeout.String()}, &r, handoffExits)
	if err == nil && r.Error != "" {
		err = fmt.Errorf("handoff: %s", r.Error)
	}
	return code, r, err
}

// serveHandoff answers when the other node is writable, or when nothing has
// changed; a client that hangs up calls off what can be called off.
func (d *daemon) serveHandoff(w http.ResponseWriter, r *http.Request) {
	q := handoffBody{Timeout: handoffTimeout.String()}
	err := decodeBody(r, &q)
	status := bodyStatus(err)
	timeout, err2 := time.ParseDuration(q.Timeout)
	if err == nil && err2 == nil && timeout <= 0 {
		err2 = fmt.Errorf("timeout: %s: want more than 0", q.Timeout)
	}
	if err = errors.Join(err, err2); err != nil {
		replyHandoff(w, status, handoffReply{Error: fmt.Sprintf(`want a JSON body like {"to":"n2","timeout":"10s"}: %v`, err)})
		return
	}
	// The server's limit is for the reading of the request; passed, it would end
	// the request's context.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	res, err := d.node.Handoff(ctx, q.To)
	reply := handoffReply{HandoffResult: res}
	status = http.StatusOK
	if err != nil {
		reply.Error, status = err.Error(), http.StatusInternalServerError
	}
	switch {
	case errors.Is(err, quorum.ErrUnsafe):
		status = http.StatusConflict
	case errors.Is(err, quorum.ErrLate):
		status = http.StatusGatewayTimeout
	}
	replyHandoff(w, status, reply)
}

func replyHandoff(w http.ResponseWriter, status int, r handoffReply) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(r)
}
