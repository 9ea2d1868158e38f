package checker

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/litefence/litefence/test/history"
)

// access is an operation on a register, as the model takes it.
type access struct {
	write bool
	old   string // of a write
	any   bool   // old is not known
	value string // read or written
}

// unread is a register's value before anything is known of it.
type unread struct{}

// register is one register. A write is a compare-and-set.
var register = porcupine.Model{
	Init: func() any { return unread{} },
	Step: func(state, in, _ any) (bool, any) {
		a := in.(access)
		known := state != unread{}
		if !a.write {
			return !known || state == a.value, a.value
		}
		return !known || a.any || state == a.old, a.value
	},
}

// registers searches, for each register and each grant, for an order of what
// the primary's node wrote and read. What is told already is not told again.
func (j *judge) registers(budget time.Duration) {
	accused := map[string]bool{}
	for key := range j.regs {
		for _, n := range j.nodes {
			accused[key] = accused[key] || j.reported[Register+" "+key] || j.reported[Register+" "+key+" "+n]
		}
	}
	until := time.Now().Add(budget)
	for _, reign := range j.reigns() {
		for _, key := range j.keysOf(reign) {
			if accused[key] {
				continue
			}
			ops := j.accesses(reign, key)
			node, first := reign[0].Node, reign[0].Start
			switch porcupine.CheckOperationsTimeout(register, ops, max(1, time.Until(until))) {
			case porcupine.Illegal:
				accused[key] = true
				j.accuse(Register, key, first, "no order of the reads and writes of register %s on %s from %s to %s explains them",
					key, node, j.at(first), j.at(reign[len(reign)-1].End))
			case porcupine.Unknown:
				j.accuse(RegisterUnchecked, "", first, "register %s on %s from %s on: no answer in %v", key, node, j.at(first), budget)
			}
		}
	}
}

// reigns returns the acknowledged writes of each grant.
func (j *judge) reigns() (all [][]*history.Op) {
	for _, n := range j.nodes {
		var reign []*history.Op
		for _, o := range j.acked {
			if o.Node != n {
				continue
			}
			if len(reign) > 0 && j.grants[o] != j.grants[reign[0]] {
				all, reign = append(all, reign), nil
			}
			if j.grants[o] != 0 {
				reign = append(reign, o)
			}
		}
		if len(reign) > 0 {
			all = append(all, reign)
		}
	}
	return all
}

func (j *judge) keysOf(reign []*history.Op) []string {
	sets := map[string]bool{}
	for _, o := range reign {
		if o.Kind == history.Set {
			sets[o.Key] = true
		}
	}
	return keys(sets, nil)
}

// accesses returns what happened to register key on the node that reigned, as
// far as it is certain that this node was primary. A write of unknown outcome, or
// of an unknown grant, counts if its value was met; if not, it may as well have
// come last.
func (j *judge) accesses(reign []*history.Op, key string) (ops []porcupine.Operation) {
	node, from, until := reign[0].Node, int64(math.MaxInt64), int64(0)
	for _, o := range reign {
		from, until = min(from, o.End), max(until, o.Start)
	}
	var met []string
	add := func(a access, o *history.Op, end int64) {
		ops = append(ops, porcupine.Operation{Input: a, Call: o.Start, Return: end})
		if a.write {
			met = append(met, a.old)
		} else {
			met = append(met, a.value)
		}
	}
	for _, o := range reign {
		if o.Kind == history.Set && o.Key == key {
			add(access{true, o.Old, false, o.ID}, o, o.End)
		}
	}
	for _, o := range j.reads[node] {
		if o.Outcome == history.Acked && o.Saw != nil && o.Start > from && o.End < until {
			add(access{value: o.Saw.Registers[key]}, o, o.End)
		}
	}
	added := map[string]bool{}
	for len(met) > 0 {
		id := met[len(met)-1]
		met = met[:len(met)-1]
		o := j.byID[id]
		if o == nil || added[id] || o.Kind != history.Set || o.Node != node || o.Key != key {
			continue
		}
		switch {
		case o.Outcome == history.Unknown:
			added[id] = true
			add(access{true, o.Old, o.Old == "", id}, o, history.Forever)
		case o.Outcome == history.Acked && j.grants[o] == 0 && o.End > from:
			added[id] = true // acknowledged while it is not certain under which grant
			add(access{true, o.Old, false, id}, o, o.End)
		}
	}
	return ops
}
