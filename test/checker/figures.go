package checker

import (
	"cmp"
	"slices"
	"time"

	"github.com/litefence/litefence/test/history"
)

// figures counts and measures.
func (j *judge) figures() history.Result {
	r := j.r
	res := history.Result{
		Round: history.RoundInfo{
			Seed: r.Seed, Nodes: r.Nodes, Journal: r.Journal, Confirm: cmp.Or(r.Confirm, history.Lease), Subject: r.Subject,
			Start: r.Start, Healed: r.Healed, Normal: r.Normal, End: r.End,
		},
		Counts: j.counts(),
		Faults: r.Faults,
	}
	for _, e := range j.epochs {
		x := history.Epoch{Node: e.node, First: e.first(), Last: e.last(), Acked: len(e.ops)}
		for _, o := range e.ops {
			if j.gone(o) {
				x.LostHere++
			}
		}
		res.Epochs = append(res.Epochs, x)
	}
	var answers []int64
	for _, o := range j.acked {
		answers = append(answers, o.End)
		if o.Commit != 0 {
			res.Commits = append(res.Commits, time.Duration(o.End-o.Commit))
		}
	}
	slices.Sort(answers)
	for i, f := range r.Faults {
		res.Outages = append(res.Outages, longest(answers, f.Start, j.reach(f)))
		if d, ok := j.fenced(f); ok {
			res.Fence, res.FenceOf = append(res.Fence, d), append(res.FenceOf, i)
		}
	}
	if r.Normal != 0 {
		res.Back = time.Duration(r.Normal - r.Healed)
	}
	return res
}

func (j *judge) counts() (c history.Counts) {
	for i := range j.r.Ops {
		o := &j.r.Ops[i]
		switch {
		case !o.IsWrite() && o.Outcome == history.Acked:
			c.Reads++
		case !o.IsWrite():
			c.ReadErrors++
		case o.Outcome == history.Acked:
			c.Acked++
			if j.gone(o) {
				c.Lost++
				c.LostIDs = append(c.LostIDs, o.ID)
			}
		case o.Outcome == history.Refused:
			c.Refused++
		default:
			c.Unknown++
		}
	}
	return c
}

// reach returns until when what happens is put down to f: the next fault that
// begins after it has ended, or the time when all is normal.
func (j *judge) reach(f history.Fault) int64 {
	until := j.r.Normal
	if until == 0 {
		until = j.r.End
	}
	for _, g := range j.r.Faults {
		if g.Start >= f.End {
			until = min(until, g.Start)
		}
	}
	return until
}

// longest returns the longest time between from and to without an answer.
func longest(answers []int64, from, to int64) time.Duration {
	var most int64
	for _, t := range answers {
		if t > from && t < to {
			most, from = max(most, t-from), t
		}
	}
	return time.Duration(max(most, to-from))
}

// fenced returns how long after f, which cut off or stopped the node that wrote,
// this node began a write that was acknowledged; false where no other node took
// over. It is the Start that counts: the answer may have come late because the
// application was stopped as well.
func (j *judge) fenced(f history.Fault) (time.Duration, bool) {
	running := -1
	for i, e := range j.epochs {
		if e.ops[0].Start <= f.Start {
			running = i
		}
	}
	if running < 0 || running+1 == len(j.epochs) || j.epochs[running+1].first() > j.reach(f) {
		return 0, false
	}
	e := j.epochs[running]
	if hit := f.Cuts && slices.Contains(f.Targets, e.node) || slices.Contains(f.Stops, e.node); !hit {
		return 0, false
	}
	var last int64
	for _, o := range e.ops {
		last = max(last, o.Start-f.Start)
	}
	return time.Duration(last), true
}
