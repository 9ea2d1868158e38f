package checker

import (
	"maps"
	"math"
	"slices"

	"github.com/litefence/litefence/test/history"
)

// epoch is a stretch of acknowledged writes on one node.
type epoch struct {
	node  string
	ops   []*history.Op
	until int64 // the latest moment at which the next one must have begun
}

// first is when the first acknowledgement came.
func (e epoch) first() int64 {
	t := e.ops[0].End
	for _, o := range e.ops {
		t = min(t, o.End)
	}
	return t
}

// last is when the last acknowledgement came. One that was delivered after the
// next epoch had begun says nothing of this one's end.
func (e epoch) last() (t int64) {
	for _, o := range e.ops {
		t = max(t, o.End)
	}
	return min(t, e.until)
}

// epochsOf explains acked, which is sorted by Start, by as few changes of the
// writing node as possible. Answers that come late make the order of Ends
// useless for that.
func epochsOf(acked []*history.Op) (best []epoch) {
	byNode := map[string][]*history.Op{}
	for _, o := range acked {
		byNode[o.Node] = append(byNode[o.Node], o)
	}
	for _, n := range slices.Sorted(maps.Keys(byNode)) {
		if es := explain(byNode, n); best == nil || len(es) < len(best) {
			best = es
		}
	}
	return best
}

// explain lets node begin. Each stretch goes on until an operation of another
// node must have taken effect.
func explain(byNode map[string][]*history.Op, node string) (es []epoch) {
	left := maps.Clone(byNode)
	deadlines := map[string][]int64{} // the earliest End of ops[i:]
	for n, ops := range left {
		d := make([]int64, len(ops)+1)
		d[len(ops)] = math.MaxInt64
		for i := len(ops) - 1; i >= 0; i-- {
			d[i] = min(d[i+1], ops[i].End)
		}
		deadlines[n] = d
	}
	names := slices.Sorted(maps.Keys(left))
	for {
		until, next := int64(math.MaxInt64), ""
		for _, n := range names {
			if d := deadlines[n][len(byNode[n])-len(left[n])]; n != node && d < until {
				until, next = d, n
			}
		}
		ops := left[node]
		i := 0
		for i < len(ops) && ops[i].Start <= until {
			i++
		}
		if i > 0 {
			es = append(es, epoch{node, ops[:i], until})
		}
		left[node] = ops[i:]
		if next == "" {
			return es
		}
		node = next
	}
}
