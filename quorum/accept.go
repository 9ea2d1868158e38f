package quorum

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/litefence/litefence/policy"
)

// acceptTimeout covers the gathering of reports and one commit.
const acceptTimeout = 5 * time.Second

// LossPlan is what accepting a loss on Node would mean.
type LossPlan struct {
	Node      string           `json:"node"`
	Positions policy.Positions `json:"positions"` // with which Node would become primary
	Primary   string           `json:"primary"`   // the last one; "" = there never was one
	Open      uint64           `json:"open"`      // raft index of its Open
	Known     policy.Positions `json:"known"`     // newest that is known of it
	// Others are the positions of the other nodes that answered.
	Others map[string]policy.Positions `json:"others,omitempty"`
	// Lost has, for every database, what would be missing from Known or Others.
	Lost      []LostDB `json:"lost"`
	NotNeeded string   `json:"not_needed,omitempty"` // why the loss need not be accepted
	Wait      string   `json:"wait,omitempty"`       // what to wait for before asking again
}

type acceptRequest struct {
	From string `json:"from"` // raft ID of the node on which it is accepted
	// Shown is the plan that the operator has agreed to; nil asks for one.
	Shown *LossPlan `json:"shown"`
}

// errFollows: there is no choice of ours that an acceptance could change.
var errFollows = errors.New("accept-loss: litefs.mode is follow: LiteFS's own lease says who is primary, with whatever data it has; make the node primary there (a static lease's primary, or Consul's key)")

// AcceptLoss returns what would be lost if this node became primary although
// nobody in step with the last one can. Where shown is that plan, unchanged, the
// acceptance is committed. It needs a leader, hence a majority of voters.
func (n *Node) AcceptLoss(ctx context.Context, shown *LossPlan) (LossPlan, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if n.byClaim() {
		return LossPlan{}, errFollows
	}
	if shown != nil {
		if err := n.checkClusterID(ctx); err != nil {
			return LossPlan{}, err
		}
	}
	p, err := n.askAccept(ctx, acceptRequest{From: string(n.raftID()), Shown: shown})
	if err == nil && shown == nil && p.NotNeeded == "" && p.Wait == "" {
		err = n.checkClusterID(ctx)
	}
	return p, err
}

// checkClusterID refuses an acceptance that would leave the cluster without a
// primary all the same: LiteFS does not ask for the key of a cluster that has
// another id than it has (store.go, monitorLease). One that has followed a
// primary, or been it, has the cluster's. It reads its own at its start only.
func (n *Node) checkClusterID(ctx context.Context) error {
	want := n.ClusterID()
	if want == "" || n.cfg.LiteFS == nil {
		return nil
	}
	has, err := n.cfg.LiteFS.ClusterID(ctx)
	if err != nil {
		return fmt.Errorf("accept-loss: LiteFS's cluster id: %w", err)
	}
	if has == want {
		return nil
	}
	which := "no cluster id"
	if has != "" {
		which = "the cluster id " + has
	}
	return fmt.Errorf("accept-loss: nothing was accepted: LiteFS on %s has %s and would refuse to be primary of this cluster, whose id is %s; write %s into %s, start LiteFS again, and ask again",
		n.cfg.Name, which, want, want, filepath.Join(n.cfg.LiteFSDir, "clusterid"))
}

func (n *Node) askAccept(ctx context.Context, q acceptRequest) (LossPlan, error) {
	n.mu.Lock()
	l := n.followed
	n.mu.Unlock()
	switch l.id {
	case "":
		return LossPlan{}, errors.New("no leader is known: accept-loss needs a majority of the voters; start more of them")
	case n.raftID():
		return n.serveAccept(ctx, q)
	}
	return n.peers.acceptLoss(ctx, l.addr, q)
}

// serveAccept answers on the leader.
func (n *Node) serveAccept(ctx context.Context, q acceptRequest) (LossPlan, error) {
	if err := claims(requestNames(ctx), raft.ServerID(q.From)); err != nil {
		return LossPlan{}, err
	}
	if n.byClaim() {
		return LossPlan{}, errFollows
	}
	n.mu.Lock()
	term, g := n.reigning, n.grant
	n.mu.Unlock()
	if term == 0 {
		return LossPlan{}, errors.New("this node does not lead; ask again")
	}
	if g != nil {
		return LossPlan{Node: nodeName(raft.ServerID(q.From)), NotNeeded: n.cfg.Name + " is primary, or is becoming it"}, nil
	}
	p, err := n.lossPlan(q.From, n.reports(ctx, term))
	if err != nil || p.NotNeeded != "" || p.Wait != "" || q.Shown == nil {
		return p, err
	}
	if !p.Positions.Equal(q.Shown.Positions) || !p.Known.Equal(q.Shown.Known) || p.Open != q.Shown.Open {
		return p, errors.New("positions have changed since they were shown; nothing was accepted, ask again")
	}
	r := Record{Kind: KindAccept, Term: term, RaftID: q.From, Node: p.Node, ID: n.fsm.state().Open.ID, Positions: p.Positions}
	if _, err := n.apply(r, n.cfg.HeartbeatTimeout); err != nil {
		return p, fmt.Errorf("acceptance not committed: %w", err)
	}
	n.log.Warn("an operator has accepted the loss of transactions", "node", p.Node, "open", p.Open, "lost", p.Lost)
	n.wake()
	return p, nil
}

// lossPlan is for the node of this raft ID.
func (n *Node) lossPlan(id string, reports []policy.Report) (LossPlan, error) {
	st := n.fsm.state()
	p := LossPlan{Node: nodeName(raft.ServerID(id)), Primary: st.Open.Node, Open: st.Index, Known: n.newestKnown(st, reports), Others: map[string]policy.Positions{}}
	if policy.AllCold(st.Open.Node, reports) && time.Since(n.born) < coldWait*n.cfg.HeartbeatTimeout {
		p.Wait = "the last primary is being waited for, after a restart of all nodes"
		return p, nil
	}
	voters, lineage := n.dataVoters(reports), n.lineage(st, reports)
	res := policy.Elect(n.cfg.Name, voters, lineage, reports)
	switch heir := unfenced(voters, lineage, reports); {
	case res.Accepted:
		p.NotNeeded = "the loss has been accepted on " + res.Winner
	case res.Winner != "":
		p.NotNeeded = res.Winner + " can become primary without loss"
	case heir != "":
		p.NotNeeded = heir + " is in step but fenced by hand; `litefence unfence` there lets it become primary"
	}
	if p.NotNeeded != "" {
		return p, nil
	}
	found := false
	for _, r := range reports {
		switch {
		case r.ID == id:
			found = r.HasLiteFS && r.Eligible
			p.Positions = r.Positions
		case r.HasLiteFS:
			p.Others[r.Node] = r.Positions
		}
	}
	if !found {
		return p, fmt.Errorf("%s has no LiteFS that can be primary: LiteFS must answer there and no manual fence be set", p.Node)
	}
	p.Lost = lostOf(p.Positions, p.Known, p.Primary, p.Others)
	return p, nil
}

// unfenced names a node that would be chosen, without loss, if it were not
// fenced by hand.
func unfenced(voters int, l policy.Lineage, reports []policy.Report) string {
	for i, r := range reports {
		if r.Eligible {
			continue
		}
		lifted := slices.Clone(reports)
		lifted[i].Eligible = true
		if res := policy.Elect(r.Node, voters, l, lifted); res.Winner == r.Node && !res.Accepted {
			return r.Node
		}
	}
	return ""
}

// lostOf lists, for every database, the most advanced of what is known and not
// in have.
func lostOf(have, known policy.Positions, primary string, others map[string]policy.Positions) []LostDB {
	lost := map[string]LostDB{}
	note := func(from string, p policy.Positions) {
		for db, pos := range p {
			own := have[db]
			if pos.TXID == 0 || own == pos || pos.TXID < own.TXID || pos.TXID < lost[db].Had.TXID {
				continue
			}
			if _, ok := lost[db]; !ok || pos.TXID > lost[db].Had.TXID {
				lost[db] = LostDB{Name: db, From: from, Had: pos, Have: own}
			}
		}
	}
	note(primary, known)
	for _, name := range sortedKeys(others) {
		note(name, others[name])
	}
	var list []LostDB
	for _, db := range sortedKeys(lost) {
		list = append(list, lost[db])
	}
	return list
}
