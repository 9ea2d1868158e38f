package checker

import (
	"fmt"
	"time"

	"github.com/litefence/litefence/test/history"
)

// thereAndBack is less than two changes of role take: each is an election, a
// LiteFS that acquires its key, and an Open that a majority has on disk. The
// quickest single one that was measured, a handoff, took 33 ms.
const thereAndBack = int64(25 * time.Millisecond)

// oneWriter looks for a node that took writes under an older Open after another
// had been writable under a newer one, and for nodes that wrote by turns faster
// than roles change.
func (j *judge) oneWriter() {
	for _, o := range j.acked {
		j.underOlder(o.Node, o.Start, o.End, "acknowledged "+o.Kind+" "+o.ID)
	}
	for _, n := range j.nodes {
		// What a status says of being writable may be newer than the Open that it
		// shows, so the next one says which Open it was.
		for _, s := range j.seen[n].yes {
			j.underOlder(n, s.From, s.To, "said to be writable")
		}
	}
	j.byTurns()
}

func (j *judge) underOlder(node string, from, to int64, what string) {
	most := j.seen[node].atMost(to)
	if most == 0 {
		return
	}
	for _, n := range j.nodes {
		// An Open is one node's, so two that wrote under the same number did not.
		if newer := j.seen[n].wrote(from); n != node && newer >= most {
			j.accuse(OneWriter, fmt.Sprint(node, most), from, "%s %s at %s under Open %d or older; %s had been writable under Open %d or newer",
				node, what, j.at(from), most, n, newer)
		}
	}
}

// byTurns finds x, y, z, certainly in this order, x and z on one node and y on
// another, without time for two changes of role.
func (j *judge) byTurns() {
	for i, y := range j.acked {
		var before []*history.Op
		for k := i - 1; k >= 0 && j.acked[k].Start > y.End-thereAndBack; k-- {
			if x := j.acked[k]; x.Node != y.Node && x.End < y.Start {
				before = append(before, x)
			}
		}
		for k := i + 1; k < len(j.acked) && j.acked[k].Start < y.Start+thereAndBack; k++ {
			z := j.acked[k]
			for _, x := range before {
				if z.Node == x.Node && z.Start > y.End && z.End-x.Start < thereAndBack {
					j.accuse(OneWriter, "turns "+x.Node+y.Node, y.Start, "%s, then %s, then %s", j.name(x), j.name(y), j.name(z))
				}
			}
		}
	}
}
