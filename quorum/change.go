package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// changeWithin bounds a change of the members, waits for a leader included.
	changeWithin = 30 * time.Second
	// catchUpWithin is how long a node without a vote may take to get the log.
	catchUpWithin = 15 * time.Second
)

// Change is a change of the members that an operator asks for.
type Change struct {
	Op      string `json:"op"` // "add" or "remove"
	Node    string `json:"node"`
	Address string `json:"address,omitempty"` // add: host:port of its one port
}

// Refused is the error of what was not done because it would be unsafe, or of
// what cannot be done safely now. It names the reason.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return "refused: " + r.Reason }

func refuse(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

type changeReply struct {
	Steps   []string `json:"steps"`
	Refused string   `json:"refused,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// ChangeMembers adds or removes a member, on whichever node it is called: the
// leader does it. It returns what was committed, a line for each step, also
// beside an error. A *Refused is the error of a change that would be unsafe.
func (n *Node) ChangeMembers(ctx context.Context, c Change) ([]string, error) {
	if c.Op != "add" && c.Op != "remove" {
		return nil, fmt.Errorf("change %q of the members: want add or remove", c.Op)
	}
	ctx, cancel := context.WithTimeout(ctx, changeWithin)
	defer cancel()
	for {
		n.mu.Lock()
		l, term := n.followed, n.reigning
		n.mu.Unlock()
		switch {
		case term != 0:
			steps, err := n.change(ctx, term, c)
			if !errors.Is(err, errHandedOn) {
				return steps, err
			}
		case l.id != "" && l.id != n.raftID():
			return n.forwardChange(ctx, l.addr, c)
		}
		select {
		case <-ctx.Done():
			return nil, refuse("no leader is known here: the members can change only while a majority of them is up and connected")
		case <-time.After(reignTick):
		}
	}
}

func (n *Node) forwardChange(ctx context.Context, addr string, c Change) ([]string, error) {
	var r changeReply
	if err := n.peers.do(ctx, "POST", addr, "/peer/members", c, &r); err != nil {
		return nil, fmt.Errorf("the leader did not answer; see `litefence peers` for what is done: %w", err)
	}
	switch {
	case r.Refused != "":
		return r.Steps, &Refused{r.Refused}
	case r.Error != "":
		return r.Steps, errors.New(r.Error)
	}
	return r.Steps, nil
}

// serveMembers is the leader's side of forwardChange. A caller that hangs up
// does not stop a change half-way.
func (n *Node) serveMembers(_ context.Context, c Change) (r changeReply, _ error) {
	steps, err := n.ChangeMembers(n.ctx, c)
	r.Steps = steps
	var no *Refused
	if errors.As(err, &no) {
		r.Refused = no.Reason
	} else if err != nil {
		r.Error = err.Error()
	}
	return r, nil
}

// errHandedOn ends a change that the next leader has to make.
var errHandedOn = errors.New("leadership is being handed on")

// change is the leader's part. The barrier of its term has committed every
// change of an older leader.
func (n *Node) change(ctx context.Context, term uint64, c Change) ([]string, error) {
	if !n.changing.TryLock() {
		return nil, refuse("another change of the members is under way; see `litefence peers`, then try again")
	}
	defer n.changing.Unlock()
	m := &memberChange{Node: n, term: term, name: c.Node, addr: c.Address}
	var err error
	if c.Op == "remove" {
		err = m.remove(ctx)
	} else {
		err = m.add(ctx)
	}
	return m.steps, err
}

// memberChange is one change under way on the leader.
type memberChange struct {
	*Node
	term       uint64
	name, addr string
	steps      []string
}

// ask asks the node what it is.
func (m *memberChange) ask(ctx context.Context) (PeerState, error) {
	ctx, cancel := context.WithTimeout(meaning(ctx, m.name), 2*peerTimeout)
	defer cancel()
	return m.peers.state(ctx, m.addr)
}

func (m *memberChange) done(what string, id raft.ServerID) {
	m.steps = append(m.steps, fmt.Sprintf("%s (%s) %s", m.name, id, what))
	m.log.Info("membership changed", "node", m.name, "raft_id", id, "step", what, "term", m.term)
}

// commit waits until a configuration is committed, or leadership is lost.
func (m *memberChange) commit(f raft.IndexFuture, what string, id raft.ServerID) error {
	if err := f.Error(); err != nil {
		return fmt.Errorf("%s: not committed: %w; see `litefence peers`, then try again", what, err)
	}
	m.done(what, id)
	return nil
}

// remove takes a member out. The leader hands leadership on first: it would
// commit its own removal without having a vote in it.
func (m *memberChange) remove(ctx context.Context) error {
	s, ok := m.server(m.name)
	if !ok {
		return fmt.Errorf("%s is no member; see `litefence peers`", m.name)
	}
	if err := m.mayGo(ctx, s); err != nil {
		return err
	}
	if s.ID == m.raftID() {
		return m.handLeadershipOn(ctx)
	}
	return m.commit(m.raft.RemoveServer(s.ID, 0, m.cfg.HeartbeatTimeout), "removed", s.ID)
}

// mayGo says why s must stay.
func (m *memberChange) mayGo(ctx context.Context, s raft.Server) error {
	if s.Suffrage != raft.Voter {
		return nil
	}
	live := m.alive(ctx, m.term)
	rest := slices.DeleteFunc(m.servers(), func(o raft.Server) bool { return o.ID == s.ID || o.Suffrage != raft.Voter })
	if len(rest) == 0 {
		return refuse("%s is the last voter", m.name)
	}
	delete(live, s.ID)
	if err := majority(live, fmt.Sprintf("without %s", m.name)); err != nil {
		return err
	}
	if !slices.ContainsFunc(rest, m.hasData) {
		return refuse("%s is the last voter with a LiteFS; the others are witnesses", m.name)
	}
	return nil
}

func (m *memberChange) hasData(s raft.Server) bool {
	if s.ID == m.raftID() {
		return m.cfg.LiteFS != nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peerStates[nodeName(s.ID)].state
	return !(p.Witness && p.RaftID == string(s.ID))
}

// majority refuses a set of voters of which too few answer.
func majority(live map[raft.ServerID]bool, when string) error {
	up, down := 0, []string{}
	for id, ok := range live {
		if ok {
			up++
		} else {
			down = append(down, nodeName(id))
		}
	}
	if up >= len(live)/2+1 {
		return nil
	}
	slices.Sort(down)
	return refuse("%s, %d of %d voters would answer, which is no majority (%v silent); bring one back first", when, up, len(live), down)
}

// handLeadershipOn has another node take over, and errHandedOn as its error
// then.
func (m *memberChange) handLeadershipOn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, changeWithin/3)
	defer cancel()
	m.leaving.Store(true)
	defer m.leaving.Store(false)
	for {
		m.wake()
		m.mu.Lock()
		leads := m.reigning == m.term
		m.mu.Unlock()
		if _, id := m.raft.LeaderWithID(); !leads && id != "" && id != m.raftID() {
			return errHandedOn
		}
		select {
		case <-ctx.Done():
			return refuse("%s leads, and no other node can take over: none has answered that is in step; see `litefence status`", m.name)
		case <-time.After(reignTick):
		}
	}
}

// add takes a node in, in committed steps: out with the ID that a wiped node has
// forgotten, in with its new one but without a vote, and the vote once it has
// the log. Old and new ID never change in one step: majorities before and after
// it need not meet. A voter that has yet to be reached would count in every
// majority at once: with one voter before it, writes would stop until it answers.
func (m *memberChange) add(ctx context.Context) error {
	st, err := m.ask(ctx)
	if err != nil {
		return refuse("%s does not answer at %s: start litefence there first (%v)", m.name, m.addr, err)
	}
	if err := m.mayCome(st); err != nil {
		return err
	}
	id := raft.ServerID(st.RaftID)
	old, had := m.server(m.name)
	switch {
	case had && old.ID != id:
		if err := m.replace(ctx, old); err != nil {
			return err
		}
	case had && old.Suffrage == raft.Voter && old.Address == raft.ServerAddress(m.addr):
		m.steps = append(m.steps, fmt.Sprintf("%s (%s) is a voter already", m.name, id))
		return nil
	case had && old.Suffrage == raft.Voter:
		return m.commit(m.raft.AddVoter(id, raft.ServerAddress(m.addr), 0, m.cfg.HeartbeatTimeout), "is at "+m.addr, id)
	}
	live := m.alive(ctx, m.term)
	live[id] = true
	if err := majority(live, "with "+m.name); err != nil {
		return err
	}
	if !had || old.ID != id {
		if err := m.commit(m.raft.AddNonvoter(id, raft.ServerAddress(m.addr), 0, m.cfg.HeartbeatTimeout), "admitted, without a vote yet", id); err != nil {
			return err
		}
	}
	if err := m.caughtUp(ctx, id); err != nil {
		back := m.commit(m.raft.RemoveServer(id, 0, m.cfg.HeartbeatTimeout), "removed again", id)
		return errors.Join(err, back)
	}
	return m.commit(m.raft.AddVoter(id, raft.ServerAddress(m.addr), 0, m.cfg.HeartbeatTimeout), "votes", id)
}

// mayCome says why the node that st speaks of cannot be a member.
func (m *memberChange) mayCome(st PeerState) error {
	if err := m.mismatch(m.name, m.addr, st); err != nil {
		return refuse("%v", err)
	}
	knows := st.Cluster != ""
	for _, s := range m.servers() {
		if string(s.Address) == m.addr && nodeName(s.ID) != m.name {
			return refuse("%s has the address %s", nodeName(s.ID), m.addr)
		}
		knows = knows || nodeName(s.ID) != m.name && st.Addresses[nodeName(s.ID)] != ""
	}
	if !knows {
		return refuse("quorum.peers on %s names no member of this cluster, so it would never hear that it is one; add them there", m.name)
	}
	return nil
}

// replace takes out the ID that a node had before it was wiped.
func (m *memberChange) replace(ctx context.Context, old raft.Server) error {
	if m.alive(ctx, m.term)[old.ID] || old.ID == m.raftID() {
		return refuse("%s is a member and answers, as %s at %s; another machine under its name cannot be one: give it a name of its own", m.name, old.ID, old.Address)
	}
	if err := m.mayGo(ctx, old); err != nil {
		return err
	}
	return m.commit(m.raft.RemoveServer(old.ID, 0, m.cfg.HeartbeatTimeout), "removed: it has lost this ID", old.ID)
}

// caughtUp returns when id has what was committed at the call, and answers raft.
func (m *memberChange) caughtUp(ctx context.Context, id raft.ServerID) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	target, why := m.raft.CommitIndex(), error(nil)
	for {
		st, err := m.ask(ctx)
		at, answers := m.lease.lastAck(m.term, id)
		switch {
		case err != nil:
			why = err
		case st.RaftID != string(id):
			return refuse("%s was wiped meanwhile: it answers as %s", m.name, st.RaftID)
		case !answers || since(m.clock, at) > m.cfg.HeartbeatTimeout:
			why = errors.New("it has not answered raft")
		case st.Applied < target:
			why = fmt.Errorf("it has %d of %d entries of the log", st.Applied, target)
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return refuse("%s did not catch up within %s: %v", m.name, catchUpWithin, why)
		case <-m.ctx.Done():
			return errClosing
		case <-time.After(50 * time.Millisecond):
		}
	}
}
