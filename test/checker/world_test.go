package checker

import (
	"fmt"
	"slices"
	"time"

	"github.com/litefence/litefence/test/history"
)

const (
	ms  = int64(time.Millisecond)
	sum = 1000
)

// world is a cluster as it should be, in a few lines: each node holds the
// sequence of transactions that it has, and its reads see those. Tests play in
// it, and then break what came out.
type world struct {
	r    *history.Round
	held map[string][]*history.Op
	open map[string]uint64 // the newest Open that each node knows
	last uint64            // the newest Open
	at   string            // the primary
	ids  int
	all  []*history.Op
}

func newWorld(nodes int) *world {
	w := &world{
		r:    &history.Round{Sum: sum, Subject: "litefence", Start: 1000 * ms, Final: map[string]history.State{}},
		held: map[string][]*history.Op{}, open: map[string]uint64{},
	}
	for i := range nodes {
		w.r.Nodes = append(w.r.Nodes, fmt.Sprintf("n%d", i+1))
	}
	w.promote("n1")
	return w
}

// promote makes node primary with what it has, under a new Open.
func (w *world) promote(node string) {
	w.last += 10
	w.at, w.open[node] = node, w.last
}

// follow lets node have what the primary has.
func (w *world) follow(nodes ...string) {
	for _, n := range nodes {
		w.held[n], w.open[n] = slices.Clone(w.held[w.at]), w.last
	}
}

// do is one operation of node's writer. It takes effect unless it is refused.
func (w *world) do(node, kind, key string, start, end int64, outcome history.Outcome) *history.Op {
	w.ids++
	o := &history.Op{Node: node, Client: "w-" + node, Kind: kind, ID: fmt.Sprintf("%s.%d", node, w.ids), Start: start, End: end, Outcome: outcome}
	if kind == history.Set || kind == history.Append {
		o.Key = key
	}
	if kind == history.Set {
		o.Old = view(w.held[node]).Registers[key]
	}
	if outcome == history.Refused {
		o.Err, o.Old = "disk I/O error (778)", ""
	} else {
		w.held[node] = append(w.held[node], o)
	}
	w.put(o)
	return o
}

// put keeps o, which may change until the round is asked for.
func (w *world) put(o *history.Op) { w.all = append(w.all, o) }

// read is one read on node of what it has now.
func (w *world) read(node string, start, end int64) *history.Op {
	v := view(w.held[node])
	o := &history.Op{Node: node, Client: "r-" + node, Kind: history.Read, Start: start, End: end, Outcome: history.Acked, Saw: &v}
	w.put(o)
	return o
}

// sample is a status of node.
func (w *world) sample(node string, from, to int64) {
	s := history.Sample{Node: node, From: from, To: to, Writable: node == w.at, Fenced: node != w.at, Role: "replica", Open: w.open[node]}
	if s.Writable {
		s.Role = "primary"
	}
	w.r.Samples = append(w.r.Samples, s)
}

// finish lets all nodes follow and returns the round.
func (w *world) finish(healed, normal, end int64) *history.Round {
	w.follow(w.r.Nodes...)
	w.r.Healed, w.r.Normal, w.r.End = healed, normal, end
	for _, n := range w.r.Nodes {
		s := history.State{View: view(w.held[n]), IDs: map[string]bool{}, Integrity: "ok"}
		for _, o := range w.held[n] {
			if o.Kind == history.Insert || o.Kind == history.Transfer {
				s.IDs[o.ID] = true
			}
		}
		w.r.Final[n] = s
	}
	for _, o := range w.all {
		w.r.Ops = append(w.r.Ops, *o)
	}
	return w.r
}

func view(ops []*history.Op) history.View {
	v := history.View{Registers: map[string]string{"a": "", "b": ""}, Lists: map[string][]string{"l": nil, "m": nil}, Sum: sum}
	for _, o := range ops {
		switch o.Kind {
		case history.Insert:
			v.Rows++
		case history.Set:
			v.Registers[o.Key] = o.ID
		case history.Append:
			v.Lists[o.Key] = append(v.Lists[o.Key], o.ID)
		}
	}
	return v
}
