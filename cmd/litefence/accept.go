package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/litefence/litefence/quorum"
)

func acceptLossMain(fs *cli) int {
	connect := socketFlags(fs)
	yes := fs.Bool("yes", false, "do not ask")
	asJSON := fs.Bool("json", false, "show as JSON what would be lost; accepts it only with -yes")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	plan, err := c.acceptLoss(nil)
	if errors.Is(err, errNoDaemon) {
		return fail(exitNotReady, err)
	}
	if err != nil {
		return fail(exitFailed, err)
	}
	if *asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(plan)
	} else if plan.NotNeeded == "" && plan.Wait == "" {
		showPlan(os.Stdout, plan)
	}
	switch {
	case plan.NotNeeded != "":
		return fail(exitUnsafe, fmt.Errorf("accept-loss: not needed: %s", plan.NotNeeded))
	case plan.Wait != "":
		return fail(exitNotReady, fmt.Errorf("accept-loss: not yet: %s", plan.Wait))
	case *asJSON && !*yes:
		return exitDone
	case !*yes && !agreed(os.Stdin, os.Stdout, plan.Node):
		return fail(exitFailed, errors.New("accept-loss: nothing was accepted"))
	}
	if _, err := c.acceptLoss(&plan); err != nil {
		return fail(exitFailed, err)
	}
	return exitDone
}

func showPlan(w io.Writer, p quorum.LossPlan) {
	if p.Primary == "" {
		fmt.Fprintf(w, "There has been no primary yet. %s would become primary", p.Node)
	} else {
		fmt.Fprintf(w, "Nobody in step with %s, the last primary, can become primary. %s would, in its stead", p.Primary, p.Node)
	}
	fmt.Fprintf(w, ", with what it has:\n")
	if len(p.Positions) == 0 {
		fmt.Fprintf(w, "  no database at all\n")
	}
	for _, db := range sortedKeys(p.Positions) {
		fmt.Fprintf(w, "  %s at transaction %d\n", db, p.Positions[db].TXID)
	}
	if len(p.Lost) == 0 {
		fmt.Fprintln(w, "Nothing is known that would be lost; a node that does not answer may have more.")
		return
	}
	fmt.Fprintln(w, "LOST would be, as far as is known (a node that does not answer may have more):")
	for _, l := range p.Lost {
		switch {
		case l.Have.TXID == 0:
			fmt.Fprintf(w, "  %s, all of it: %s had transactions up to %d\n", l.Name, l.From, l.Had.TXID)
		case l.Had.TXID == l.Have.TXID:
			fmt.Fprintf(w, "  %s: transaction %d of %s, which differs\n", l.Name, l.Had.TXID, l.From)
		default:
			fmt.Fprintf(w, "  %s: transactions %d to %d of %s\n", l.Name, l.Have.TXID+1, l.Had.TXID, l.From)
		}
	}
}

// agreed asks for the node's name: a mere "y" is typed too easily.
func agreed(r io.Reader, w io.Writer, node string) bool {
	fmt.Fprintf(w, "Type the node's name (%s) to accept this: ", node)
	line, _ := bufio.NewReader(r).ReadString('\n')
	return strings.TrimSpace(line) == node
}

func (c *adminClient) acceptLoss(shown *quorum.LossPlan) (p quorum.LossPlan, err error) {
	body, err := json.Marshal(map[string]any{"shown": shown})
	if err != nil {
		return p, err
	}
	return p, c.do(context.Background(), http.MethodPost, "/v1/accept-loss", bytes.NewReader(body), &p)
}

func (d *daemon) serveAcceptLoss(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Shown *quorum.LossPlan `json:"shown"`
	}
	if err := decodeBody(r, &q); err != nil {
		refuse(w, bodyStatus(err), `want a JSON body like {"shown":null}: `+err.Error())
		return
	}
	p, err := d.node.AcceptLoss(r.Context(), q.Shown)
	answer(w, p, err)
}
