package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

// socketFlags adds the flags that say which daemon is meant and returns a
// function that connects.
func socketFlags(fs interface {
	String(name, value, usage string) *string
}) func() (*adminClient, error) {
	path := fs.String("config", "", "config `file` (default /etc/litefence.yml, then ./litefence.yml)")
	socket := fs.String("socket", "", "admin `socket`, instead of the config's")
	return func() (*adminClient, error) {
		if *socket != "" {
			return newAdminClient(*socket), nil
		}
		cfg, err := LoadConfig(*path)
		if err != nil {
			return nil, err
		}
		return newAdminClient(cfg.Admin.Socket), nil
	}
}

func statusMain(fs *cli) int {
	connect := socketFlags(fs)
	asJSON := fs.Bool("json", false, "as JSON; with -watch one object a line")
	watch := fs.Bool("watch", false, "again every second, until interrupted")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	if *watch {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		return watchStatus(ctx, c, os.Stdout, *asJSON)
	}
	s, err := c.status(context.Background())
	switch {
	case err != nil:
		return fail(exitNotReady, err)
	case *asJSON:
		_ = json.NewEncoder(os.Stdout).Encode(s)
	default:
		showStatus(os.Stdout, s)
	}
	return exitDone
}

func showStatus(w io.Writer, s statusReply) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(k, format string, v ...any) { fmt.Fprintf(t, "%s\t%s\n", k, fmt.Sprintf(format, v...)) }
	row("node", "%s (%s), term %d, leader %s", s.Node, s.Role, s.Term, orNone(s.Leader))
	if s.Writable {
		row("writes", "pass; lease left %d ms", s.LeaseLeftMS)
	} else {
		row("writes", "refused: %s, since %s", s.Reason, s.Since.Format(time.RFC3339))
	}
	if s.FenceReason != "" {
		row("fence", "%s", s.FenceReason)
	}
	row("state", "%s", s.stateText())
	row("part", "%s", part(s.Member, s.Witness))
	if s.Membership != "" {
		row("membership", "%s", s.Membership)
	}
	if s.Problem != "" {
		row("problem", "%s", s.Problem)
	}
	if s.Mode == "follow" {
		row("mode", "follow: LiteFS elects by its own lease")
	}
	row("health", "%s", showHealth(s.HealthStatus, s.Health))
	if !s.Witness {
		row("mount", "%s over %s, mounted %t", s.Mount, s.Lower, s.Mounted)
	}
	if !s.Enforce {
		row("enforce", "false: observing only, nothing is refused")
	}
	if s.Insecure {
		row("insecure", "true: traffic between nodes is neither encrypted nor authenticated")
	}
	if s.Expires != nil {
		row("certificate", "expires %s", s.Expires.Format(time.RFC3339))
	}
	if text := copiesText(s.Copies); text != "" {
		row("copies", "%s", text)
	}
	if s.Role != "primary" && s.Open != 0 && !s.InStep && !s.Witness {
		row("data", "not in step with the newest primary (open %d): this node cannot become primary before it has followed one", s.Open)
	}
	if s.OutOfStep != "" {
		row("out of step", "%s", s.OutOfStep)
	}
	for _, db := range slices.Sorted(maps.Keys(s.Positions)) {
		row("db "+db, "%s", s.Positions[db])
	}
	for _, p := range s.Peers {
		heard := "never heard"
		if age := s.LastHeartbeatFrom[p.Node]; age != nil {
			heard = fmt.Sprintf("heard %.2f s ago", *age)
		}
		switch {
		case p.Answers && p.Witness:
			row("peer "+p.Node, "%s, %s, round trip %.1f ms, witness", p.Address, heard, p.RTTMS)
		case p.Answers:
			row("peer "+p.Node, "%s, %s, round trip %.1f ms, in step %t, behind by %d, %s", p.Address, heard, p.RTTMS, p.InStep, p.Lag, showHealth(p.HealthStatus, p.Health))
		default:
			row("peer "+p.Node, "%s, %s, does not answer: %s", p.Address, heard, p.Error)
		}
		if p.Membership != "" {
			row("", "%s", p.Membership)
		}
	}
	for _, r := range s.Refused {
		row("refused", "%s: %s (%d times, last %s)", strings.TrimSpace(r.From+" "+r.Name), r.Reason, r.Times, r.Last.Format(time.RFC3339))
	}
	t.Flush()
}

func showHealth(h policy.Health, v quorum.HealthView) string {
	switch {
	case h == "":
		return "health unknown"
	case v.Reason == "":
		return string(h)
	}
	return fmt.Sprintf("%s (%s)", h, v.Reason)
}

func orNone(s string) string {
	if s == "" {
		return "none known"
	}
	return s
}
