package quorum

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

const (
	// silentAfter is how long a voter may be silent in raft before the choice of
	// a primary goes on without its report.
	silentAfter = 300 * time.Millisecond
	// handOnGrace is added to reader-grace for a voter that answers raft: its
	// LiteFS may be waiting for readers.
	handOnGrace = 200 * time.Millisecond
	// coldWait is how many heartbeat timeouts after its start a node waits for
	// the newest opener, where nobody has seen a primary since a power loss.
	coldWait = 5
	// skipMax bounds how long a node that took no role is passed over.
	skipMax = 30 * time.Second
)

// skipped is a node that was offered the role and did not take it.
type skipped struct {
	until   time.Time
	backoff time.Duration
	handed  bool // leadership was handed to it
}

func (n *Node) skipFor(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.skip[name]
	s.backoff = min(max(2*s.backoff, 5*n.cfg.HeartbeatTimeout), skipMax)
	s.until, s.handed = time.Now().Add(s.backoff), false
	n.skip[name] = s
}

func (n *Node) unskip(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.skip, name)
}

func (n *Node) isSkipped(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.skippedLocked(name)
}

func (n *Node) skippedLocked(name string) bool { return time.Now().Before(n.skip[name].until) }

// elect gathers the voters' reports and chooses the next primary. Where every
// candidate is being passed over, the best of them keeps trying.
func (n *Node) elect(ctx context.Context, term uint64) policy.ElectionResult {
	if res, ok := n.electBlind(ctx, term); ok {
		return res
	}
	if n.heir(ctx) {
		return policy.ElectionResult{Winner: n.cfg.Name}
	}
	reports := n.reports(ctx, term)
	if !n.healthyMajority(term) {
		for i := range reports {
			reports[i].Health = "" // a healthy primary would find no lease
		}
	}
	voters := n.dataVoters(reports)
	st := n.fsm.state()
	lineage := n.lineage(st, reports)
	if policy.AllCold(st.Open.Node, reports) && time.Since(n.born) < coldWait*n.cfg.HeartbeatTimeout {
		return policy.ElectionResult{Missing: true}
	}
	patient := append([]policy.Report(nil), reports...)
	for i, r := range patient {
		patient[i].Eligible = r.Eligible && !n.isSkipped(r.Node)
	}
	res := policy.Elect(n.cfg.Name, voters, lineage, patient)
	if res.Winner == "" && res.Conflict == "" {
		res = policy.Elect(n.cfg.Name, voters, lineage, reports)
	}
	n.noteResult(res, term, reports)
	return res
}

func (n *Node) noteResult(res policy.ElectionResult, term uint64, reports []policy.Report) {
	n.mu.Lock()
	was := n.lastResult
	n.lastResult, n.lastReports = res, reports
	n.mu.Unlock()
	if res == was {
		return
	}
	switch problem := problemOf(res); {
	case res.Conflict != "":
		n.log.Error(problem, "term", term, "reports", reports)
	case problem != "":
		n.log.Warn(problem, "term", term, "reports", reports)
	case res.Missing:
		n.log.Info("no primary yet: waiting for nodes that have not reported", "term", term, "reported", len(reports))
	default:
		n.log.Info("primary chosen", "primary", res.Winner, "term", term)
	}
}

type answer struct {
	id     raft.ServerID
	report policy.Report
	err    error
}

// reports asks every voter, this node included, and returns what came in time.
func (n *Node) reports(ctx context.Context, term uint64) []policy.Report {
	limit := n.cfg.ReaderGrace + handOnGrace
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := make(chan answer, len(n.servers()))
	missing := map[raft.ServerID]bool{}
	for _, s := range n.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		missing[s.ID] = true
		n.goes(func() { answers <- n.askReport(ctx, s, term) })
	}
	var got []policy.Report
	silent := time.NewTimer(silentAfter)
	defer silent.Stop()
	for len(missing) > 0 {
		select {
		case a := <-answers:
			delete(missing, a.id)
			if a.err == nil {
				got = append(got, a.report)
			} else {
				n.log.Debug("no report", "from", nodeName(a.id), "err", a.err)
			}
		case <-silent.C:
			n.dropSilent(missing, term)
			silent.Reset(reignTick)
		case <-ctx.Done():
			return got
		}
	}
	return got
}

// dropSilent stops waiting for voters that have not answered raft lately.
func (n *Node) dropSilent(missing map[raft.ServerID]bool, term uint64) {
	for id := range missing {
		if id == n.raftID() {
			continue
		}
		if at, ok := n.lease.lastAck(term, id); !ok || since(n.clock, at) > silentAfter {
			delete(missing, id)
		}
	}
}

func (n *Node) askReport(ctx context.Context, s raft.Server, term uint64) answer {
	if s.ID == n.raftID() {
		r, err := n.ownReport(ctx)
		return answer{s.ID, r, err}
	}
	r, err := n.peers.report(ctx, string(s.Address), reportRequest{Term: term, From: string(n.raftID())})
	if err == nil && (r.Node != nodeName(s.ID) || r.ID != string(s.ID)) {
		err = errNotAdmitted
	}
	return answer{s.ID, r, err}
}

// ownReport says what this node's LiteFS holds, once no stream feeds it.
func (n *Node) ownReport(ctx context.Context) (policy.Report, error) {
	st := n.fsm.state()
	r := policy.Report{Node: n.cfg.Name, ID: string(n.raftID()), HasLiteFS: n.cfg.LiteFS != nil, Known: n.knownOf(st), KnownOf: st.ref()}
	if !r.HasLiteFS {
		return r, nil
	}
	if err := n.waitStreamEnd(ctx); err != nil {
		return r, err
	}
	var err error
	if r.Positions, _, err = n.cfg.LiteFS.Positions(ctx); err != nil {
		return r, err
	}
	if r.Marker, err = n.cfg.LiteFS.Marker(); err != nil {
		return r, err
	}
	n.mu.Lock()
	r.Eligible = !n.fence.On && !n.asiding && !n.closing.Load() && !n.leaving.Load() && !n.resolve.holds()
	r.Cold = !n.warm
	n.mu.Unlock()
	r.Health = n.health.get().Health
	return r, nil
}

// handOn gives leadership to the node that shall be primary.
func (n *Node) handOn(ctx context.Context, name string) {
	s, ok := n.server(name)
	if !ok {
		return
	}
	n.mu.Lock()
	again := n.skip[name].handed
	n.mu.Unlock()
	if again {
		n.skipFor(name) // handed to before, and leadership came back
		return
	}
	n.mu.Lock()
	sk := n.skip[name]
	sk.handed = true
	n.skip[name] = sk
	n.mu.Unlock()
	n.log.Info("handing leadership on", "to", name)
	begin := func() raft.Future { return n.raft.LeadershipTransferToServer(s.ID, s.Address) }
	if err := n.transfer(ctx, begin); err != nil {
		n.log.Warn("leadership not handed on", "to", name, "err", err)
		n.skipFor(name)
		return
	}
	n.pause(ctx, n.cfg.HeartbeatTimeout)
}
