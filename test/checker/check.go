package checker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/litefence/litefence/test/history"
)

// each is how many anomalies of a rule are told one by one.
const each = 10

// registerTime is how long the search for the orders of all registers may take.
const registerTime = 10 * time.Second

// Check judges r. It does not change it.
func Check(r *history.Round) history.Result { return check(r, registerTime) }

func check(r *history.Round, registers time.Duration) history.Result {
	j := newJudge(r)
	j.round()
	j.finals()
	j.values()
	views := j.views()
	j.oneWriter()
	j.orders()
	j.staleReads()
	j.lostReplicated()
	j.lostKnown(views)
	j.registers(registers)
	j.readsFailed()
	j.readsStopped()
	res := j.figures()
	res.Anomalies = j.anomalies()
	return res
}

// judge is a round with what the rules need to look up in it.
type judge struct {
	r      *history.Round
	byID   map[string]*history.Op // writes
	acked  []*history.Op          // writes, by Start
	reads  map[string][]*history.Op
	nodes  []string
	epochs []epoch

	final  *history.State // what most nodes hold; nil where absence proves nothing
	lists  map[string]*thread
	regs   map[string]*thread
	rows   settled // how many inserts are there in the end
	rowsOn map[string]settled

	inserts settled // Starts of the inserts that may have taken effect

	seen     map[string]statements // by node
	grants   map[*history.Op]uint64
	byGrants bool // grants are Opens, not guesses

	found    map[string][]history.Anomaly
	more     map[string]int
	reported map[string]bool
}

func newJudge(r *history.Round) *judge {
	j := &judge{
		r: r, byID: map[string]*history.Op{}, reads: map[string][]*history.Op{},
		found: map[string][]history.Anomaly{}, more: map[string]int{}, reported: map[string]bool{},
	}
	var inserts []settling
	for i := range r.Ops {
		o := &r.Ops[i]
		if !o.IsWrite() {
			j.reads[o.Node] = append(j.reads[o.Node], o)
			continue
		}
		j.byID[o.ID] = o
		if o.Kind == history.Insert && o.Outcome != history.Refused {
			inserts = append(inserts, settling{o.Start, 0})
		}
		if o.Outcome == history.Acked {
			j.acked = append(j.acked, o)
		}
	}
	j.inserts = settle(inserts)
	start := func(o *history.Op) int64 { return o.Start }
	j.acked = sortedBy(j.acked, start)
	for n, reads := range j.reads {
		j.reads[n] = sortedBy(reads, start)
	}
	j.nodes = slices.Sorted(slices.Values(r.Nodes))
	j.epochs = epochsOf(j.acked)
	j.final = j.reference()
	j.thread()
	j.listen()
	return j
}

func sortedBy(ops []*history.Op, t func(*history.Op) int64) []*history.Op {
	ops = slices.Clone(ops)
	slices.SortStableFunc(ops, func(a, b *history.Op) int { return cmp.Compare(t(a), t(b)) })
	return ops
}

// accuse notes an anomaly, once for each rule and what: an ID, or whatever else
// it is about.
func (j *judge) accuse(rule, what string, at int64, format string, args ...any) {
	if j.reported[rule+" "+what] {
		return
	}
	j.reported[rule+" "+what] = true
	if len(j.found[rule]) == each {
		j.more[rule]++
		return
	}
	j.found[rule] = append(j.found[rule], history.Anomaly{Rule: rule, At: at, Text: fmt.Sprintf(format, args...)})
}

func (j *judge) anomalies() (all []history.Anomaly) {
	for _, rule := range slices.Sorted(maps.Keys(j.found)) {
		all = append(all, j.found[rule]...)
		if n := j.more[rule]; n > 0 {
			all = append(all, history.Anomaly{Rule: rule, Text: fmt.Sprintf("and %d more", n)})
		}
	}
	return all
}

// at is t as it stands in texts: seconds since the round began.
func (j *judge) at(t int64) string {
	if t == history.Forever {
		return "never"
	}
	return fmt.Sprintf("%.4f s", time.Duration(t-j.r.Start).Seconds())
}

// name is a write as it stands in texts.
func (j *judge) name(o *history.Op) string {
	return fmt.Sprintf("%s %s (%s on %s, %s to %s)", o.Kind, o.ID, o.Outcome, o.Node, j.at(o.Start), j.at(o.End))
}

// round judges what is said of the round as a whole.
func (j *judge) round() {
	for i, e := range j.r.Errors {
		j.accuse(Round, fmt.Sprint(i), 0, "%s", e)
	}
	switch {
	case j.r.Normal == 0:
		j.accuse(NotBack, "", j.r.Healed, "never normal again after the last fault ended at %s", j.at(j.r.Healed))
	case time.Duration(j.r.Normal-j.r.Healed) > time.Minute:
		j.accuse(NotBack, "", j.r.Normal, "normal again only %v after the last fault", time.Duration(j.r.Normal-j.r.Healed))
	}
	for _, n := range j.nodes {
		if _, ok := j.r.Final[n]; !ok && len(j.r.Errors) == 0 {
			j.accuse(Round, "final "+n, 0, "what %s holds in the end is not known", n)
		}
	}
}
