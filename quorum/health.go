package quorum

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/litefence/litefence/policy"
)

// A Probe looks at one thing that a node's health rests on.
type Probe struct {
	Name string
	// Check returns nil, or what is wrong. ctx ends when the next look is due. A
	// Check that outlives it, stuck in the kernel say, counts as failed at each
	// look and is not called again before it has returned.
	Check func(ctx context.Context) error
}

// probed is a probe and what it has said so far.
type probed struct {
	Probe
	worst  policy.Health // the most that it can make of the node
	past   policy.Hysteresis
	health policy.Health
	reason string    // of the newest failure
	began  time.Time // of the look under way; zero = none
	late   bool      // it has counted as failed already
}

// health is what this node says of itself.
type health struct {
	log     *slog.Logger
	changed func() // called after each change, without the lock

	mu     sync.Mutex
	probes []*probed
	word   string // by which somebody called this node unhealthy; "" = nobody does
	status policy.HealthStatus
	asked  sync.WaitGroup // looks under way
}

func newHealth(log *slog.Logger, changed func()) *health {
	return &health{log: log, changed: changed, status: policy.HealthStatus{Health: policy.Healthy}}
}

func (h *health) add(p Probe, worst policy.Health) {
	past := policy.Hysteresis{Fail: policy.FailuresToUnhealthy, Heal: policy.SuccessesToHealthy}
	h.probes = append(h.probes, &probed{Probe: p, worst: worst, past: past, health: policy.Healthy})
}

// watch looks at once and then again every so often, until ctx ends. It does not
// wait for a probe that hangs, neither then nor at the end.
func (h *health) watch(ctx context.Context, every time.Duration) {
	if len(h.probes) == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		h.look(ctx, every)
		select {
		case <-ctx.Done():
			h.finish()
			return
		case <-tick.C:
		}
	}
}

// finishWithin is how long the end waits for looks under way: a command is
// killed by then, whereas what hangs in the kernel may never return.
const finishWithin = 200 * time.Millisecond

func (h *health) finish() {
	done := make(chan struct{})
	go func() { h.asked.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(finishWithin):
	}
}

// look asks every probe once. One that still hangs in an earlier look has failed.
func (h *health) look(ctx context.Context, within time.Duration) {
	now := time.Now()
	var start []*probed
	h.mu.Lock()
	for _, p := range h.probes {
		if p.began.IsZero() {
			p.began, p.late = now, false
			start = append(start, p)
		} else {
			p.late = true
			h.noteLocked(p, fmt.Errorf("no answer for %s", now.Sub(p.began).Round(time.Second/10)))
		}
	}
	h.mu.Unlock()
	for _, p := range start {
		h.asked.Add(1)
		go func() { defer h.asked.Done(); h.ask(ctx, p, within) }()
	}
	h.settle()
}

func (h *health) ask(ctx context.Context, p *probed, within time.Duration) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := p.Check(limited)
	h.mu.Lock()
	late := p.late
	p.began = time.Time{}
	if !late && ctx.Err() == nil {
		h.noteLocked(p, err)
	}
	h.mu.Unlock()
	h.settle()
}

func (h *health) noteLocked(p *probed, err error) {
	p.health = p.past.Note(err == nil).Better(p.worst)
	if err != nil {
		p.reason = err.Error()
	}
	h.status.LastCheck = time.Now()
}

// settle makes one health of all that has been said, and tells of a change.
func (h *health) settle() {
	h.mu.Lock()
	was := h.status.Health
	var ill []*probed
	now := policy.Healthy
	for _, p := range h.probes {
		if p.health != policy.Healthy {
			ill = append(ill, p)
			now = now.Worse(p.health)
		}
	}
	sort.SliceStable(ill, func(i, j int) bool { return ill[i].health == policy.Unhealthy && ill[j].health != policy.Unhealthy })
	var why []string
	if h.word != "" {
		now, why = policy.Unhealthy, append(why, h.word)
	}
	for _, p := range ill {
		why = append(why, p.Name+": "+p.reason)
	}
	h.status.Health, h.status.Reason = now, strings.Join(why, "; ")
	reason := h.status.Reason
	h.mu.Unlock()
	if now == was {
		return
	}
	level := slog.LevelWarn
	if now == policy.Healthy {
		level = slog.LevelInfo
	}
	h.log.Log(context.Background(), level, "health has changed", "health", now, "was", was, "reason", reason)
	h.changed()
}

func (h *health) say(word string) {
	h.mu.Lock()
	h.word = word
	h.status.LastCheck = time.Now()
	h.mu.Unlock()
	h.settle()
}

func (h *health) get() policy.HealthStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

// counts reports whether this node's answers may count towards a lease.
func (h *health) counts() bool { return h.get().Health != policy.Unhealthy }

var _ policy.HealthReporter = (*Node)(nil)

// HealthStatus implements policy.HealthReporter.
func (n *Node) HealthStatus() policy.HealthStatus { return n.health.get() }

// UpdateHealth implements policy.HealthReporter. It holds until it is taken
// back, or this process ends.
func (n *Node) UpdateHealth(healthy bool, reason string) {
	switch {
	case healthy:
		reason = ""
	case reason == "":
		reason = "called unhealthy from outside"
	}
	n.health.say(reason)
}

// HealthView is a health in the split-brain analysis's words. A degraded node is
// healthy there: it counts like one.
type HealthView struct {
	IsHealthy bool       `json:"is_healthy"`
	LastCheck *time.Time `json:"last_check"` // null = not yet
	Reason    string     `json:"reason"`
}

func viewHealth(s policy.HealthStatus) HealthView {
	v := HealthView{IsHealthy: s.Health != policy.Unhealthy, Reason: s.Reason}
	if !s.LastCheck.IsZero() {
		v.LastCheck = &s.LastCheck
	}
	return v
}

// startHealth begins to look at what the node's health rests on.
func (n *Node) startHealth() {
	for _, p := range n.cfg.Probes {
		n.health.add(p, policy.Unhealthy)
	}
	if n.cfg.MaxLag > 0 && n.cfg.LiteFS != nil {
		var lag policy.Lag
		// Lag never removes a vote: the newest transactions may be here.
		n.health.add(Probe{"lag", func(ctx context.Context) error { return n.checkLag(ctx, &lag) }}, policy.Degraded)
	}
	n.goes(func() { n.health.watch(n.ctx, n.cfg.ProbeEvery) })
}

// checkLag compares this node's positions with the newest ones that the primary
// is known to have had. Whoever is primary lags behind nobody.
func (n *Node) checkLag(ctx context.Context, lag *policy.Lag) error {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout/2)
	defer cancel()
	own, primary, err := n.cfg.LiteFS.Positions(ctx)
	if err != nil {
		return nil // unknown; that LiteFS does not answer is another probe's to say
	}
	st := n.fsm.state()
	n.mu.Lock()
	theirs := n.peerStates[st.Open.Node].state.Positions
	n.mu.Unlock()
	if primary || st.Open.RaftID == string(n.raftID()) {
		theirs = nil
	}
	if behind := lag.Look(time.Now(), st.ref(), own, theirs); behind > n.cfg.MaxLag {
		return fmt.Errorf("behind %s for %s; policy.health.max-lag is %s", st.Open.Node, behind.Round(time.Second/10), n.cfg.MaxLag)
	}
	return nil
}
