package checker

import (
	"math/rand/v2"
	"slices"

	"github.com/litefence/litefence/test/history"
)

// play is a random round.
type play struct {
	*world
	rnd    *rand.Rand
	now    int64
	busy   map[string]int64 // when the writer or reader of a node is free again
	cut    map[string]bool  // nodes that nobody reaches
	behind map[string]bool  // replicas that lag
	mute   bool
	faults map[string]*history.Fault // that last
}

func newPlay(seed uint64) *play {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := &play{
		world: newWorld(3 + 2*rnd.IntN(2)), rnd: rnd, busy: map[string]int64{}, cut: map[string]bool{},
		behind: map[string]bool{}, faults: map[string]*history.Fault{},
	}
	p.r.Seed, p.now = seed, p.r.Start
	if seed%10 == 9 {
		p.mute = true // nobody asks for the status
	}
	p.follow(p.r.Nodes...)
	return p
}

func (p *play) run() *history.Round {
	for range 300 {
		p.step(true)
	}
	p.heal()
	healed := p.now
	for p.at == "" {
		p.elect()
	}
	p.follow(p.r.Nodes...)
	for range 30 {
		p.step(false)
	}
	normal := p.now
	for range 30 {
		p.step(false)
	}
	r := p.finish(healed, normal, p.now+10*ms)
	for i := range r.Ops {
		if o := &r.Ops[i]; o.End > r.End && o.End != history.Forever {
			r.End = o.End
		}
	}
	if p.mute {
		r.Samples = nil
	}
	return r
}

// step is some milliseconds in which something happens, or a fault.
func (p *play) step(faults bool) {
	p.now += (1 + p.rnd.Int64N(12)) * ms
	if p.rnd.IntN(100) == 0 {
		p.now += 1500 * ms
	}
	n := p.any()
	switch p.rnd.IntN(12) {
	case 0, 1, 2, 3:
		p.write(p.primaryOr(n))
	case 4:
		p.write(n)
	case 5, 6, 7:
		p.reading(n)
	case 8, 9:
		p.replicate()
	case 10:
		p.statuses()
	case 11:
		switch {
		case !faults:
		case p.at == "":
			p.elect()
		case p.rnd.IntN(3) > 0:
		case p.rnd.IntN(3) > 0:
			p.fail()
		default:
			p.heal()
		}
	}
}

func (p *play) any() string { return p.r.Nodes[p.rnd.IntN(len(p.r.Nodes))] }

func (p *play) primaryOr(n string) string {
	if p.at != "" {
		return p.at
	}
	return n
}

// write is a write of n's application, if that is not still waiting for an
// answer. Here everything takes effect at p.now.
func (p *play) write(n string) {
	start := p.now - p.rnd.Int64N(3*ms)
	if p.busy[n] >= start {
		return
	}
	end := p.now + p.rnd.Int64N(5*ms)
	if p.rnd.IntN(30) == 0 {
		end += 2000 * ms // the application was stopped
	}
	kind := []string{history.Insert, history.Set, history.Set, history.Transfer, history.Append, history.Append}[p.rnd.IntN(6)]
	key := []string{"a", "b"}[p.rnd.IntN(2)]
	if kind == history.Append {
		key = []string{"l", "m"}[p.rnd.IntN(2)]
	}
	switch {
	case n != p.at:
		p.do(n, kind, key, start, end, history.Refused)
	case p.rnd.IntN(12) > 0:
		p.do(n, kind, key, start, end, history.Acked)
	default:
		o := p.do(n, kind, key, start, end, history.Unknown)
		if p.rnd.IntN(2) == 0 { // it never took effect
			p.held[n] = p.held[n][:len(p.held[n])-1]
		}
		if p.rnd.IntN(4) == 0 {
			o.End = history.Forever
			if p.rnd.IntN(2) == 0 {
				o.Old = ""
			}
		}
	}
	p.busy[n] = end
}

func (p *play) reading(n string) {
	start := p.now - p.rnd.Int64N(3*ms)
	if p.busy["r "+n] < start {
		o := p.read(n, start, p.now+p.rnd.Int64N(5*ms))
		p.busy["r "+n] = o.End
	}
}

// replicate lets the nodes that the primary reaches have more of what it has.
func (p *play) replicate() {
	if p.at == "" {
		return
	}
	has := p.held[p.at]
	for _, n := range p.r.Nodes {
		if n == p.at || p.cut[n] != p.cut[p.at] || p.behind[n] {
			continue
		}
		if p.open[n] != p.last { // what it had beyond the new primary is dropped
			p.open[n] = p.last
			p.held[n] = slices.Clone(has[:shared(p.held[n], has)])
		}
		if more := len(has) - len(p.held[n]); more > 0 {
			k := len(p.held[n]) + p.rnd.IntN(more+1)
			p.held[n] = slices.Clone(has[:k])
		}
	}
}

func shared(a, b []*history.Op) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (p *play) statuses() {
	for _, n := range p.r.Nodes {
		wide := ms
		if p.rnd.IntN(20) == 0 {
			wide = 700 * ms // stopped before it answered
		}
		p.sample(n, p.now-p.rnd.Int64N(wide), p.now+p.rnd.Int64N(wide))
	}
}

// fail takes the primary away, alone or with a minority of replicas that it
// still writes to, or just lets it go on for a while before; or a replica lags.
func (p *play) fail() {
	n := p.any()
	if p.rnd.IntN(2) == 0 {
		p.behind[n] = true
		return
	}
	if len(p.cut) > 0 {
		return
	}
	p.cut[p.at] = true
	if other := p.any(); len(p.r.Nodes) == 5 {
		p.cut[other] = true
	}
	f := &history.Fault{Name: "cut", Start: p.now, Cuts: true}
	for n := range p.cut {
		f.Targets = append(f.Targets, n)
		p.faults[n] = f
	}
	for range p.rnd.IntN(20) { // its lease still lasts
		p.now += (1 + p.rnd.Int64N(10)) * ms
		p.write(p.at)
		p.reading(p.any())
		p.replicate()
	}
	p.at = ""
	p.statuses()
}

// elect makes one of a majority primary that has the most of what the newest
// primary had, and follows it.
func (p *play) elect() {
	p.now += 100 * ms
	for n := range p.cut {
		p.reading(n) // it goes on showing what it has
	}
	best := ""
	for _, i := range p.rnd.Perm(len(p.r.Nodes)) {
		n := p.r.Nodes[i]
		// One that has not followed the newest primary is not in step.
		if p.cut[n] || p.open[n] != p.last {
			continue
		}
		if best == "" || len(p.held[n]) > len(p.held[best]) {
			best = n
		}
	}
	if best == "" {
		p.heal()
		return
	}
	was := p.open[best]
	p.promote(best)
	if p.rnd.IntN(2) == 0 { // a status that was begun before
		p.sample(best, p.now-ms, p.now+ms)
		p.r.Samples[len(p.r.Samples)-1].Open = was
	}
	if p.rnd.IntN(3) == 0 { // it is taken away before it writes
		p.replicate()
		p.statuses()
		p.now += 50 * ms
		p.at = ""
	}
}

func (p *play) heal() {
	for n := range p.cut {
		if f := p.faults[n]; f.End == 0 {
			f.End = p.now
			p.r.Faults = append(p.r.Faults, *f)
		}
	}
	clear(p.cut)
	clear(p.behind)
	p.replicate()
}
