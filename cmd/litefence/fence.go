package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/litefence/litefence/policy"
)

// fenceShown is what fence and unfence show as JSON: this node afterwards.
type fenceShown struct {
	Node        string        `json:"node"`
	FenceReason string        `json:"fence_reason"` // of the manual fence, "" = none
	Fenced      bool          `json:"fenced"`
	Reason      policy.Reason `json:"reason"` // why writes are refused, "" = they pass
	Writable    bool          `json:"writable"`
	Leader      string        `json:"leader"`
	Term        uint64        `json:"term"`
}

func fenceMain(fs *cli) int {
	connect := socketFlags(fs)
	reason := fs.String("reason", "", "why: a `text` for whoever finds the fence (required)")
	asJSON := fs.Bool("json", false, "show this node afterwards, as JSON")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	if *reason == "" {
		return fs.misused("-reason is missing; say why, for whoever finds the fence")
	}
	body, _ := json.Marshal(map[string]string{"reason": *reason})
	return post(connect, "/v1/fence", body, *asJSON)
}

func unfenceMain(fs *cli) int {
	connect := socketFlags(fs)
	asJSON := fs.Bool("json", false, "show this node afterwards, as JSON")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	return post(connect, "/v1/unfence", nil, *asJSON)
}

// errNoDaemon is wrapped where nobody answers on the admin socket.
var errNoDaemon = errors.New("no daemon answers")

func post(connect func() (*adminClient, error), path string, body []byte, asJSON bool) int {
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	err = c.do(context.Background(), http.MethodPost, path, bytes.NewReader(body), &struct{}{})
	var s statusReply
	if err == nil && asJSON {
		s, err = c.status(context.Background())
	}
	switch {
	case errors.Is(err, errNoDaemon):
		return fail(exitNotReady, err)
	case err != nil:
		return fail(exitFailed, err)
	case asJSON:
		return showJSON(fenceShown{
			Node: s.Node, FenceReason: s.FenceReason, Fenced: s.Fenced, Reason: s.Reason, Writable: s.Writable,
			Leader: s.Leader, Term: s.Term,
		})
	}
	return exitDone
}
