package quorum

import (
	"time"

	"github.com/litefence/litefence/policy"
)

// eventNow tells of a change of this node as it stands now.
func (n *Node) eventNow(kind, message string) {
	if n.cfg.OnEvent != nil {
		n.cfg.OnEvent(n.eventAs(kind, message))
	}
}

func (n *Node) eventAs(kind, message string) policy.Event {
	n.mu.Lock()
	o, v, state := n.observeLocked(), n.verdict, n.state
	n.mu.Unlock()
	left := int64(0)
	if until, ok := n.lease.until(o.Term); ok {
		left = max(0, (until-n.clock.Boot())/int64(time.Millisecond))
	}
	return policy.Event{
		Time: time.Now(), Kind: kind, Node: n.cfg.Name, Term: o.Term, Leader: o.Leader, Role: o.Role.String(),
		Reason: v.Reason, State: string(state), LeaseLeftMS: left, Message: message,
	}
}
