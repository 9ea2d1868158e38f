package main

import (
	"net/http"

	"github.com/litefence/litefence/policy"
)

// checkReply is the answer to POST /v1/check.
type checkReply struct {
	State policy.State `json:"state"`
	// Error says which steps have failed, and why; "" = none has.
	Error string `json:"error"`
}

// stateText is the state as `litefence status` shows it.
func (s statusReply) stateText() string {
	if s.StateError == "" {
		return string(s.State)
	}
	return string(s.State) + " (" + s.StateError + "; tried again by itself, `litefence unfence` goes on without)"
}

// serveCheck is the analysis's check_and_resolve_split_brain. The answer comes
// when every step has been taken, at the latest after some ten seconds; whoever
// goes away earlier stops nothing.
func (d *daemon) serveCheck(w http.ResponseWriter, _ *http.Request) {
	state, err := d.node.CheckAndResolve()
	a := checkReply{State: state}
	if err != nil {
		a.Error = err.Error()
	}
	answer(w, a, nil)
}
