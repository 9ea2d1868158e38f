package report

import (
	"slices"

	"github.com/litefence/litefence/test/history"
)

// lostRound says where the acknowledged writes of a round were lost.
type lostRound struct {
	Round history.RoundInfo
	Lost  int
	Acked int
	Nodes tally // lost, by the primary that had acknowledged them
}

func lostIn(r history.Result) lostRound {
	l := lostRound{Round: r.Round, Lost: r.Counts.Lost, Acked: r.Counts.Acked, Nodes: tally{}}
	for _, e := range r.Epochs {
		if e.LostHere > 0 {
			l.Nodes[e.Node] += e.LostHere
		}
	}
	return l
}

// lostTo is the index of the fault that the end of a stretch of writes is put
// down to: the last that hit its node before another node took over, else the
// last at all until then; -1 where there was none.
func lostTo(r history.Result, epoch int) int {
	until := r.Round.End
	if epoch+1 < len(r.Epochs) {
		until = r.Epochs[epoch+1].First
	}
	hit, any := -1, -1
	for i, f := range r.Faults {
		if f.Start > until {
			continue
		}
		if any < 0 || f.Start >= r.Faults[any].Start {
			any = i
		}
		if slices.Contains(f.Targets, r.Epochs[epoch].Node) && (hit < 0 || f.Start >= r.Faults[hit].Start) {
			hit = i
		}
	}
	if hit >= 0 {
		return hit
	}
	return any
}
