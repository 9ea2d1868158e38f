package quorum

import (
	"context"
	"log/slog"
	"sort"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// State is the analysis's state of a node.
type State = policy.State

const (
	StateHealthy    = policy.StateHealthy
	StateSplitBrain = policy.StateSplitBrain
	StateResolved   = policy.StateResolved
	StateFailed     = policy.StateFailed
)

// Status is this node and the cluster as it sees it, as shown by `litefence
// status` and /v1/status.
type Status struct {
	Node              string              `json:"node"`
	Time              time.Time           `json:"time"` // of this answer, by this node's wall clock
	Mode              string              `json:"mode"` // serve, follow
	RaftID            string              `json:"raft_id"`
	Address           string              `json:"address"`
	Version           string              `json:"version"`
	Term              uint64              `json:"term"`
	Leader            string              `json:"leader"`
	IsLeader          bool                `json:"is_leader"`
	Role              string              `json:"role"`
	Fenced            bool                `json:"fenced"`
	Reason            policy.Reason       `json:"reason"`
	Since             time.Time           `json:"since"`
	FenceReason       string              `json:"fence_reason,omitempty"` // of a manual fence
	Writable          bool                `json:"writable"`
	LeaseLeftMS       int64               `json:"lease_left_ms"`
	HasQuorum         bool                `json:"has_quorum"`
	CanCommitWrites   bool                `json:"can_commit_writes"`
	StaleLeadership   bool                `json:"stale_leadership"`
	State             State               `json:"state"`
	StateError        string              `json:"state_error,omitempty"` // which steps against a split brain have failed, and why
	Resolutions       Resolutions         `json:"resolutions"`
	Problem           string              `json:"problem,omitempty"`   // why there is no primary, and the mend
	LastHeartbeatFrom map[string]*float64 `json:"last_heartbeat_from"` // seconds; null = never
	Positions         policy.Positions    `json:"positions"`
	InStep            bool                `json:"in_step"`
	OutOfStep         string              `json:"out_of_step,omitempty"` // what keeps this follower from it, and the mend
	Open              uint64              `json:"open"`                  // raft index of the newest Open
	Held              policy.Positions    `json:"held,omitempty"`        // recorded as held by a majority since that Open
	Primary           string              `json:"primary"`
	Peers             []PeerStatus        `json:"peers"`
	// Refused are peers turned away at the port, Expires the end of this node's
	// own certificate.
	Refused []Refusal  `json:"refused,omitempty"`
	Expires *time.Time `json:"certificate_expires,omitempty"`
	// FollowsLeader: a majority is known to this node through its leader.
	FollowsLeader bool `json:"follows_leader"`
	// Cluster is the id of the cluster that this node belongs to, "" for none.
	Cluster string `json:"cluster"`
	// Member is this node's part in it: voter, nonvoter, or none.
	Member     string `json:"member"`
	Witness    bool   `json:"witness"`              // a voter without a LiteFS
	Membership string `json:"membership,omitempty"` // what is wrong with its part, and the mend

	// QuorumLost counts how often a majority was known here and then was not.
	QuorumLost uint64 `json:"quorum_lost"`
	LeaseMS    int64  `json:"lease_ms"` // a whole lease

	HealthStatus policy.Health `json:"health_status"`
	Health       HealthView    `json:"health"`

	// Copies is what commits wait for, with quorum.confirm: replicated.
	Copies *CopiesStatus `json:"copies,omitempty"`
}

// PeerStatus is another node as this one sees it.
type PeerStatus struct {
	Node      string           `json:"node"`
	Address   string           `json:"address"`
	Answers   bool             `json:"answers"`
	Error     string           `json:"error,omitempty"`
	RTTMS     float64          `json:"rtt_ms"` // of a heartbeat where this node leads, else of a question
	Fenced    bool             `json:"fenced"`
	Reason    policy.Reason    `json:"reason,omitempty"`
	Positions policy.Positions `json:"positions,omitempty"`
	InStep    bool             `json:"in_step"`
	Lag       int64            `json:"lag"` // transactions behind this node
	// RaftID is the one under which it answers; "" where it has never answered.
	RaftID string `json:"raft_id"`
	// LastAnswerS is the age of its last answer to a question, in seconds; null =
	// never. Hears is whom it said there that it hears.
	LastAnswerS *float64            `json:"last_answer_s"`
	Hears       map[string]*float64 `json:"hears,omitempty"`
	Member      string              `json:"member"` // voter, nonvoter, none
	Witness     bool                `json:"witness"`
	Membership  string              `json:"membership,omitempty"` // what is wrong with its part, and the mend

	HealthStatus policy.Health `json:"health_status,omitempty"` // "" = it never answered
	Health       HealthView    `json:"health"`
}

var _ policy.SplitBrainDetector = (*Node)(nil)

// observe takes everything that a decision rests on.
func (n *Node) observe() policy.Observation {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.observeLocked()
}

func (n *Node) observeLocked() policy.Observation {
	o := policy.Observation{
		Node:       n.cfg.Name,
		Term:       n.followed.term,
		Leader:     nodeName(n.followed.id),
		RaftLeader: n.reigning != 0 && n.raft.State() == raft.Leader,
		Role:       n.role,
		Ineligible: n.ineligible, Conflict: n.conflict != "",
		ManualFence: n.fence.On && !n.fence.Command,
		BlockedFile: n.fence.On && n.fence.Command,
		Stopping:    n.closing.Load(),
		Arriving:    n.arrivingLocked(),
		Handoff:     n.handing != nil && !n.handing.shut.IsZero() && (n.grant == nil || n.handing.of(n.grant)),
		Witness:     n.cfg.LiteFS == nil,
		Failed:      n.resolve.Failed(),

		ConflictHeard: n.leaderSaysLocked().Conflict,
	}
	n.started = n.started || o.Leader != "" || n.reigning != 0
	o.Started = n.started
	if n.reigning != 0 {
		o.LeaseValid = n.lease.valid(n.reigning)
	}
	if g := n.grant; g != nil {
		o.Opened = g.opened && !g.ending
	}
	return o
}

// HasQuorum implements policy.SplitBrainDetector.
func (n *Node) HasQuorum() bool { return n.observe().HasQuorum() }

// CanCommitWrites implements policy.SplitBrainDetector.
func (n *Node) CanCommitWrites() bool { return n.observe().CanCommitWrites() }

// DetectStaleLeadership implements policy.SplitBrainDetector.
func (n *Node) DetectStaleLeadership() bool { return n.observe().DetectStaleLeadership() }

// LastHeartbeatFrom implements policy.SplitBrainDetector.
func (n *Node) LastHeartbeatFrom(node string) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heartbeatAge(node)
}

func (n *Node) heartbeatAge(node string) (time.Duration, bool) {
	var newest int64
	for id, at := range n.heard {
		if nodeName(id) == node {
			newest = max(newest, at)
		}
	}
	return since(n.clock, newest), newest != 0
}

// poke asks for another look at the verdict.
func (n *Node) poke() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// publish turns changes into verdicts, logs each once and tells the mount.
func (n *Node) publish() {
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	for {
		n.evaluate()
		select {
		case <-n.ctx.Done():
			return
		case <-n.changed:
		case <-tick.C: // leases end by the clock, not by an event
		}
	}
}

func (n *Node) evaluate() {
	st := n.fsm.state()
	o := n.observe()
	n.resolve.Observe(o)
	n.mu.Lock()
	v := policy.Decide(o)
	was := n.verdict
	n.verdict = v
	if v != was {
		n.since = time.Now()
	}
	now := picture{v, o, n.health.get()}
	fs := n.fenceStateLocked(st)
	told := n.told
	n.told = fs
	n.mu.Unlock()
	if v != was {
		n.logChange(was, v, o)
	}
	n.tell(n.pictured, now)
	n.pictured = now
	n.noteSilence(o)
	if fs != told && n.cfg.OnChange != nil {
		n.cfg.OnChange(fs)
	}
	n.resolveIfDue(v)
}

// LevelCritical stands above slog's Error, for what must wake somebody up.
const LevelCritical = slog.Level(12)

func (n *Node) logChange(was, v policy.Verdict, o policy.Observation) {
	args := []any{"node", n.cfg.Name, "term", o.Term, "leader", o.Leader, "role", o.Role.String(), "reason", v.Reason, "lease_left_ms", n.leaseLeft(o)}
	switch {
	case v.Stale && !was.Stale:
		n.log.Log(context.Background(), LevelCritical, staleText, args...)
	case v.Admit:
		n.log.Info("fence lifted", args...)
	case was.Admit || v.Reason != was.Reason:
		n.log.Info("fenced", args...)
	}
}

// FenceState is what the mount shows.
func (n *Node) FenceState() policy.FenceState {
	st := n.fsm.state()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fenceStateLocked(st)
}

func (n *Node) fenceStateLocked(st state) policy.FenceState {
	fs := policy.FenceState{
		Fenced: !n.verdict.Admit, Reason: n.verdict.Reason, Since: n.since,
		Term: n.followed.term, Node: n.cfg.Name,
	}
	// A fenced node never names itself: a program that read it would write here.
	if st.Newest.Kind == KindOpen && st.Open.Term == n.followed.term && st.Open.RaftID == string(n.followed.id) &&
		(n.followed.id != n.raftID() || !fs.Fenced) {
		fs.Primary = st.Open.Hostname
	}
	return fs
}

// Status returns the whole picture.
func (n *Node) Status(ctx context.Context) Status {
	if n.cfg.LiteFS == nil {
		return n.Glance()
	}
	pos, _, _ := n.cfg.LiteFS.Positions(ctx)
	marker, _ := n.cfg.LiteFS.Marker()
	return n.statusWith(pos, marker)
}

// Glance is Status without what would have to be asked of LiteFS (Positions,
// InStep, Lag): it never waits.
func (n *Node) Glance() Status { return n.statusWith(nil, policy.OpenRef{}) }

func (n *Node) statusWith(pos policy.Positions, marker policy.OpenRef) Status {
	var expires *time.Time
	if x, ok := n.cfg.Secure.(interface{ Expires() time.Time }); ok {
		at := x.Expires()
		expires = &at
	}
	st := n.fsm.state()
	addrs := n.addresses()
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.observeLocked()
	v := policy.Decide(o)
	fs := n.fenceStateLocked(st)
	state, failed := n.resolve.State()
	s := Status{
		Node: n.cfg.Name, Time: time.Now(), Mode: n.mode(), RaftID: string(n.raftID()), Address: n.cfg.Advertise, Version: n.cfg.Version,
		Term: o.Term, Leader: o.Leader, IsLeader: o.RaftLeader, Role: o.Role.String(),
		Fenced: !v.Admit, Reason: v.Reason, Since: n.since, Writable: v.Admit,
		HasQuorum: o.HasQuorum(), CanCommitWrites: o.CanCommitWrites(),
		StaleLeadership: v.Stale, State: state, Problem: n.problemLocked(), Positions: pos,
		InStep: n.inStep(st, marker, pos), Open: st.Index, Held: st.Held, Primary: fs.Primary,
		FollowsLeader:     o.Leader != "" && !o.RaftLeader,
		LastHeartbeatFrom: map[string]*float64{},
		Peers:             []PeerStatus{},
		Cluster:           n.clusterID(), Member: n.suffrage(n.raftID()), Witness: n.cfg.LiteFS == nil,
		Membership: n.membership,
	}
	s.QuorumLost, s.LeaseMS = n.QuorumLost(), n.cfg.Lease.Milliseconds()
	s.Copies = n.copiesStatus()
	if !s.InStep {
		s.OutOfStep = n.outOfStep
	}
	s.Refused = n.mux.refused.list()
	s.Expires = expires
	if failed != nil {
		s.StateError = failed.Error()
	}
	s.Resolutions = Resolutions{n.resolve.ended.resolved.Load(), n.resolve.ended.failed.Load()}
	h := n.health.get()
	s.HealthStatus, s.Health = h.Health, viewHealth(h)
	if n.fence.On {
		s.FenceReason = n.fence.Reason
	}
	s.LeaseLeftMS = n.leaseLeftLocked().Milliseconds()
	for name, addr := range addrs {
		s.Peers = append(s.Peers, n.peerStatus(name, addr, st, pos))
		s.LastHeartbeatFrom[name] = nil
		if age, ok := n.heartbeatAge(name); ok {
			sec := age.Seconds()
			s.LastHeartbeatFrom[name] = &sec
		}
	}
	SortPeers(s.Peers)
	return s
}

func (n *Node) peerStatus(name, addr string, st state, own policy.Positions) PeerStatus {
	rec := n.peerStates[name]
	p := PeerStatus{
		Node: name, Address: addr, Answers: rec.err == nil && !rec.at.IsZero(),
		Fenced: rec.state.Fenced, Reason: rec.state.Reason, Positions: rec.state.Positions,
		InStep: n.inStep(st, rec.state.Marker, rec.state.Positions),
		Lag:    int64(own.Sum()) - int64(rec.state.Positions.Sum()),
		RaftID: rec.state.RaftID, Witness: rec.state.Witness,
	}
	p.Member, p.Membership = n.peerMembership(name, addr, rec)
	p.HealthStatus, p.Health = rec.state.Health.Health, viewHealth(rec.state.Health)
	if rec.err != nil {
		p.Error = rec.err.Error()
	}
	n.linkLocked(&p, rec)
	return p
}

// SortPeers sorts by name.
func SortPeers(p []PeerStatus) {
	sort.Slice(p, func(i, j int) bool { return p[i].Node < p[j].Node })
}
