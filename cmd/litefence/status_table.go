package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/litefence/litefence/policy"
)

// watchBlock is the picture of `status -watch`: this node in some lines, the
// cluster as a table.
func watchBlock(s statusReply, now time.Time) []string {
	writes := fmt.Sprintf("writes refused: %s, since %s", s.Reason, s.Since.Format(time.TimeOnly))
	if s.Writable {
		writes = fmt.Sprintf("writes pass, lease left %d of %d ms", s.LeaseLeftMS, s.LeaseMS)
	}
	lines := []string{
		fmt.Sprintf("%s   %s, term %d, leader %s   %s", s.Node, s.Role, s.Term, orNone(s.Leader), now.Format(time.TimeOnly)),
		fmt.Sprintf("%s   state %s   quorum %s", writes, s.State, yesNo(s.HasQuorum || s.FollowsLeader)),
	}
	for _, note := range []struct{ what, text string }{
		{"fence", s.FenceReason}, {"problem", s.Problem}, {"failed", s.StateError}, {"membership", s.Membership},
		{"out of step", s.OutOfStep}, {"health", s.Health.Reason}, {"copies", copiesText(s.Copies)},
	} {
		if note.text != "" {
			lines = append(lines, note.what+": "+note.text)
		}
	}
	if !s.Enforce && !s.Witness {
		lines = append(lines, "fence.enforce: false: observing only, nothing is refused")
	}
	lines = append(lines, "")
	lines = append(lines, clusterTable(s)...)
	if len(s.Positions) > 0 {
		lines = append(lines, "")
	}
	for _, db := range slices.Sorted(maps.Keys(s.Positions)) {
		lines = append(lines, fmt.Sprintf("%s  %s", db, s.Positions[db]))
	}
	return lines
}

// tableRow is one node in the table; "-" stands for what is unknown or has no
// meaning for it.
type tableRow struct{ node, role, leaseLeft, heard, rtt, health, inStep, lag, fence string }

func clusterTable(s statusReply) []string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tLEASE\tHEARD\tRTT\tHEALTH\tIN STEP\tLAG\tFENCE")
	rows := []tableRow{ownRow(s)}
	for i := range s.Peers {
		rows = append(rows, peerRow(s, i))
	}
	slices.SortFunc(rows, func(a, b tableRow) int { return strings.Compare(a.node, b.node) })
	for _, r := range rows {
		if r.node == s.Node {
			r.node += " *"
		}
		fmt.Fprintln(t, strings.Join([]string{r.node, r.role, r.leaseLeft, r.heard, r.rtt, r.health, r.inStep, r.lag, r.fence}, "\t"))
	}
	t.Flush()
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func ownRow(s statusReply) tableRow {
	r := tableRow{node: s.Node, role: s.Role, leaseLeft: "-", heard: "-", rtt: "-", health: orDash(string(s.HealthStatus)), inStep: "-", lag: "-", fence: orDash(string(s.Reason))}
	if s.Witness {
		r.role = "witness"
		return r
	}
	if s.LeaseLeftMS > 0 {
		r.leaseLeft = fmt.Sprintf("%d ms", s.LeaseLeftMS)
	}
	r.inStep = yesNo(s.InStep || s.Writable)
	r.lag = fmt.Sprint(furthest(s))
	return r
}

func peerRow(s statusReply, i int) tableRow {
	p := s.Peers[i]
	r := tableRow{node: p.Node, role: "-", leaseLeft: "-", heard: "never", rtt: "-", health: "-", inStep: "-", lag: "-", fence: "-"}
	if age := s.LastHeartbeatFrom[p.Node]; age != nil {
		r.heard = fmt.Sprintf("%.2f s", *age)
	}
	if !p.Answers {
		r.fence = "does not answer: " + orUnknown(p.Error)
		return r
	}
	if p.RTTMS > 0 {
		r.rtt = fmt.Sprintf("%.1f ms", p.RTTMS)
	}
	r.health, r.fence = orDash(string(p.HealthStatus)), orDash(string(p.Reason))
	switch {
	case p.Witness:
		r.role = "witness"
		return r
	case !p.Fenced:
		r.role = policy.RolePrimary.String()
	case p.Node == s.Leader:
		r.role = "leader"
	case p.Reason == policy.ReasonReplica:
		r.role = policy.RoleReplica.String()
	}
	r.inStep = yesNo(p.InStep || !p.Fenced)
	r.lag = fmt.Sprint(p.Lag + furthest(s))
	return r
}

// furthest is how many transactions this node is behind the one that has most.
func furthest(s statusReply) (lag int64) {
	for _, p := range s.Peers {
		if p.Answers && !p.Witness {
			lag = max(lag, -p.Lag)
		}
	}
	return lag
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
