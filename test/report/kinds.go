package report

import (
	"time"

	"github.com/litefence/litefence/test/history"
)

// kind is what faults of one name did.
type kind struct {
	Name   string
	Times  int
	Outage spread
	Fence  spread
	Lost   int // acknowledged writes put down to it
}

// noFault stands for what is lost and cannot be put down to a fault.
const noFault = "(no fault)"

// kindsOf sorts by name, and has every lost write: the sum of Lost is that of
// the rounds.
func kindsOf(results []history.Result) (kinds []kind) {
	k := map[string]*kind{}
	get := func(name string) *kind {
		if k[name] == nil {
			k[name] = &kind{Name: name}
		}
		return k[name]
	}
	outage, fence := map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, r := range results {
		for i, f := range r.Faults {
			get(f.Name).Times++
			if i < len(r.Outages) {
				outage[f.Name] = append(outage[f.Name], r.Outages[i])
			}
		}
		for i, of := range r.FenceOf {
			if i < len(r.Fence) && of >= 0 && of < len(r.Faults) {
				name := r.Faults[of].Name
				fence[name] = append(fence[name], r.Fence[i])
			}
		}
		for name, n := range lostByFault(r) {
			get(name).Lost += n
		}
	}
	for _, name := range sorted(k) {
		k[name].Outage, k[name].Fence = spreadOf(outage[name]), spreadOf(fence[name])
		kinds = append(kinds, *k[name])
	}
	return kinds
}

func lostByFault(r history.Result) tally {
	lost, rest := tally{}, r.Counts.Lost
	for i, e := range r.Epochs {
		if at := lostTo(r, i); at >= 0 && e.LostHere > 0 {
			lost[r.Faults[at].Name] += e.LostHere
			rest -= e.LostHere
		}
	}
	if rest != 0 {
		lost[noFault] += rest
	}
	return lost
}
