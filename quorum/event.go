package quorum

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// picture is what events tell the changes of.
type picture struct {
	verdict policy.Verdict
	o       policy.Observation
	health  policy.HealthStatus
}

// knowsQuorum reports whether a majority is known to this node: it vouches for
// it, or for the leader that it follows.
func knowsQuorum(o policy.Observation) bool {
	return o.HasQuorum() || o.Leader != "" && !o.RaftLeader && o.Leader != o.Node
}

// tell makes an event of every difference between two pictures, and counts the
// losses of the quorum. Called by publish alone. The state has its own teller
// (stateMoved): it may pass through more than one between two pictures.
func (n *Node) tell(was, now picture) {
	if knowsQuorum(was.o) && !knowsQuorum(now.o) && !now.o.Stopping && !was.o.Handoff {
		n.quorumLost.Add(1)
	}
	v, o := now.verdict, now.o
	if o.Leader != was.o.Leader {
		n.event(policy.EventLeader, now, leaderText(o))
	}
	if o.Role != was.o.Role {
		n.event(policy.EventRole, now, "LiteFS's role here: "+o.Role.String())
	}
	if v.Stale && !was.verdict.Stale {
		n.event(policy.EventStale, now, staleText)
	}
	switch {
	case v.Admit && !was.verdict.Admit:
		n.event(policy.EventLifted, now, "writes pass: a majority vouches for this node")
	case !v.Admit && (was.verdict.Admit || v.Reason != was.verdict.Reason):
		n.event(policy.EventFenced, now, "writes are refused: "+v.Reason.Text())
	}
	if now.health.Health != was.health.Health && was.health.Health != "" {
		text := fmt.Sprintf("this node is %s, was %s", now.health.Health, was.health.Health)
		if now.health.Reason != "" {
			text += ": " + now.health.Reason
		}
		n.event(policy.EventHealth, now, text)
	}
}

const staleText = "split-brain: this node is a stale leader; writes are refused"

func leaderText(o policy.Observation) string {
	switch o.Leader {
	case "":
		return "no leader is known"
	case o.Node:
		return "this node leads"
	}
	return o.Leader + " leads"
}

func (n *Node) event(kind string, p picture, message string) {
	if n.cfg.OnEvent != nil {
		n.cfg.OnEvent(n.eventOf(kind, p, message))
	}
}

func (n *Node) eventOf(kind string, p picture, message string) policy.Event {
	state, _ := n.resolve.State()
	return policy.Event{
		Time: time.Now(), Kind: kind, Node: n.cfg.Name,
		Term: p.o.Term, Leader: p.o.Leader, Role: p.o.Role.String(),
		Reason: p.verdict.Reason, State: string(state), LeaseLeftMS: n.leaseLeft(p.o), Message: message,
	}
}

// eventNow is event for what is no difference between two pictures.
func (n *Node) eventNow(kind, message string) { n.event(kind, n.pictureNow(), message) }

func (n *Node) pictureNow() picture {
	n.mu.Lock()
	defer n.mu.Unlock()
	return picture{verdict: n.verdict, o: n.observeLocked()}
}

// leaseLeft is what is left of the lease of o's term, in milliseconds.
func (n *Node) leaseLeft(o policy.Observation) int64 {
	until, ok := n.lease.until(o.Term)
	if !ok || n.cfg.LiteFS == nil {
		return 0
	}
	left := max(0, until-n.clock.Boot()) / int64(time.Millisecond)
	return min(n.cfg.Lease.Milliseconds(), left) // a cluster of one has no end
}

// QuorumLost counts how often this node has known a majority and then knew none
// any more: its lease ran out, or its leader fell silent.
func (n *Node) QuorumLost() uint64 { return n.quorumLost.Load() }

// noteBeat passes the round trip of one heartbeat on.
func (n *Node) noteBeat(id raft.ServerID, nanos int64) {
	if n.cfg.OnHeartbeat != nil {
		n.cfg.OnHeartbeat(nodeName(id), time.Duration(nanos))
	}
}
