package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/litefence/litefence/quorum"
)

// peersLimit is longer than the daemon itself takes for a change.
const peersLimit = 45 * time.Second

// peersReply is what POST /v1/peers answers, whatever the status.
type peersReply struct {
	Steps []string `json:"steps"` // what was committed
	Error string   `json:"error,omitempty"`
}

// peersExits are the statuses of POST /v1/peers and the exit codes for them.
var peersExits = map[int]int{
	http.StatusOK:         exitDone,
	http.StatusConflict:   exitUnsafe,
	http.StatusBadRequest: exitUsage,
}

const peersUsage = "peers [-config FILE] [-json] [add NODE ADDR | remove NODE]"

func peersMain(fs *cli) int {
	connect := socketFlags(fs)
	asJSON := fs.Bool("json", false, "as JSON")
	words, code, ok := fs.parse()
	if !ok {
		return code
	}
	change, err := parseChange(words)
	if err != nil {
		return fail(exitUsage, err)
	}
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	if change == nil {
		return listPeers(c, *asJSON)
	}
	code, r, err := c.changePeers(context.Background(), *change)
	if *asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(r)
	} else {
		for _, s := range r.Steps {
			fmt.Println(s)
		}
	}
	if err != nil {
		return fail(code, err)
	}
	if !*asJSON {
		fmt.Println("now make quorum.peers in the config of every node say so too")
	}
	return code
}

// parseChange returns nil where the members are only to be listed.
func parseChange(words []string) (*quorum.Change, error) {
	switch {
	case len(words) == 0:
		return nil, nil
	case words[0] == "add" && len(words) == 3:
		if !nodeName.MatchString(words[1]) {
			return nil, fmt.Errorf("peers: %q is not a node name; allowed: letters, digits, . _ - inside", words[1])
		}
		if err := checkAddr(words[2], true); err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
		return &quorum.Change{Op: "add", Node: words[1], Address: words[2]}, nil
	case words[0] == "remove" && len(words) == 2:
		return &quorum.Change{Op: "remove", Node: words[1]}, nil
	}
	return nil, errors.New("usage: litefence " + peersUsage)
}

func listPeers(c *adminClient, asJSON bool) int {
	s, err := c.status(context.Background())
	if err != nil {
		return fail(exitNotReady, err)
	}
	self := quorum.PeerStatus{
		Node: s.Node, Address: s.Address, Answers: true, RaftID: s.RaftID, Member: s.Member,
		Witness: s.Witness, Membership: s.Membership,
	}
	all := append([]quorum.PeerStatus{self}, s.Peers...)
	quorum.SortPeers(all)
	if asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(all)
	} else {
		showPeers(os.Stdout, all)
	}
	return exitDone
}

func showPeers(w io.Writer, all []quorum.PeerStatus) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tPART\tRAFT ID\tANSWERS\t")
	for _, p := range all {
		answers := "yes"
		if !p.Answers {
			answers = "no: " + orUnknown(p.Error)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Node, p.Address, part(p.Member, p.Witness), orUnknown(p.RaftID), answers, p.Membership)
	}
	t.Flush()
}

// part is what a node is in the cluster, in one or two words.
func part(member string, witness bool) string {
	switch {
	case witness:
		return "witness, " + member
	case member == "none":
		return "no member"
	}
	return member
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// changePeers returns the exit code too.
func (c *adminClient) changePeers(ctx context.Context, ch quorum.Change) (code int, r peersReply, err error) {
	ctx, cancel := context.WithTimeout(ctx, peersLimit)
	defer cancel()
	code, err = c.ask(ctx, "/v1/peers", ch, &r, peersExits)
	if err == nil && r.Error != "" {
		err = fmt.Errorf("peers: %s", r.Error)
	}
	return code, r, err
}

// servePeers makes a change to its end, also where the client hangs up.
func (d *daemon) servePeers(w http.ResponseWriter, r *http.Request) {
	var c quorum.Change
	status, reply := http.StatusOK, peersReply{}
	if err := decodeBody(r, &c); err != nil {
		status, reply.Error = bodyStatus(err), `want a JSON body like {"op":"add","node":"n3","address":"10.0.0.3:7400"}: `+err.Error()
	} else if _, err := parseChange(changeWords(c)); err != nil {
		status, reply.Error = http.StatusBadRequest, err.Error()
	} else if reply.Steps, err = d.node.ChangeMembers(context.WithoutCancel(r.Context()), c); err != nil {
		status, reply.Error = http.StatusInternalServerError, err.Error()
		if no := (*quorum.Refused)(nil); errors.As(err, &no) {
			status = http.StatusConflict
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply)
}

func changeWords(c quorum.Change) []string {
	words := []string{c.Op, c.Node}
	if c.Op == "add" {
		words = append(words, c.Address)
	}
	return words
}
