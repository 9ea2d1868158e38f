package checker

import (
	"testing"

	"github.com/litefence/litefence/test/history"
)

func refuse(s *story, node, kind, key string, t int64) *history.Op {
	return s.do(node, kind, key, t*ms, (t+2)*ms, history.Refused)
}

func TestRefusedPresent(t *testing.T) {
	var o *history.Op
	run(t, []plant{
		{name: "refused and not there", write: func(s *story) {
			s.over = func() { refuse(s, "n3", history.Insert, "", 1480) }
		}},
		{name: "a row", rule: RefusedPresent, write: func(s *story) {
			s.over = func() { o = refuse(s, "n3", history.Insert, "", 1480) }
		}, alter: func(s *story, r *history.Round) {
			everywhere(r, func(st *history.State) { st.IDs[o.ID] = true })
		}},
		{name: "a list's element in a read", rule: RefusedPresent, write: func(s *story) {
			s.over = func() {
				o = refuse(s, "n3", history.Append, "m", 1480)
				s.look("n3", 1490).Saw.Lists["m"] = []string{o.ID}
			}
		}},
		{name: "a register's value in a read", rule: RefusedPresent, write: func(s *story) {
			s.over = func() {
				o = refuse(s, "n3", history.Set, "a", 1480)
				s.look("n3", 1490).Saw.Registers["a"] = o.ID
			}
		}},
		{name: "a register's value that was replaced", rule: RefusedPresent, write: func(s *story) {
			s.cut = func() {
				s.promote("n2")
				o = refuse(s, "n3", history.Set, "b", 1400)
				s.ack("n2", history.Set, "b", 1405, 1408).Old = o.ID
			}
		}},
	})
}

func TestMadeUp(t *testing.T) {
	run(t, []plant{
		{name: "a row", rule: MadeUp, alter: func(s *story, r *history.Round) {
			everywhere(r, func(st *history.State) { st.IDs["x"] = true })
		}},
		{name: "an element in the end", rule: MadeUp, alter: func(s *story, r *history.Round) {
			everywhere(r, func(st *history.State) { st.Lists["l"] = append(st.Lists["l"], "x") })
		}},
		{name: "an element of another list", rule: MadeUp, write: func(s *story) {
			s.over = func() { s.look("n3", 1480).Saw.Lists["m"] = []string{s.lost.ID} }
		}},
		{name: "a register's value in a read", rule: MadeUp, write: func(s *story) {
			s.over = func() { s.look("n3", 1480).Saw.Registers["b"] = "x" }
		}},
		{name: "a value before it was written", rule: MadeUp, write: func(s *story) {
			s.over = func() { s.read("n3", 1430*ms, 1439*ms).Saw.Registers["a"] = s.set2.ID }
		}},
		{name: "a value while it was written", write: func(s *story) {
			s.over = func() { s.read("n3", 1430*ms, 1440*ms).Saw.Registers["a"] = s.set2.ID }
		}},
		{name: "an element before it was written", rule: MadeUp, write: func(s *story) {
			s.over = func() { s.read("n3", 1410*ms, 1419*ms).Saw.Lists["m"] = []string{s.listed2.ID} }
		}},
		{name: "an element that is there twice", rule: MadeUp, write: func(s *story) {
			s.cut = func() { s.look("n1", 1120).Saw.Lists["l"] = []string{s.listed.ID, s.lost.ID, s.lost.ID} }
		}},
		{name: "more rows than were written", rule: MadeUp, write: func(s *story) {
			s.over = func() { s.look("n3", 1440).Saw.Rows = 2 }
		}},
		{name: "a row that is being written", write: func(s *story) {
			s.over = func() { s.look("n3", 1458).Saw.Rows = 2 }
		}},
	})
}

func TestFinals(t *testing.T) {
	alone := func(r *history.Round, change func(*history.State)) {
		st := r.Final["n1"]
		change(&st)
		r.Final["n1"] = st
	}
	run(t, []plant{
		{name: "another register", rule: Diverged, alter: func(s *story, r *history.Round) {
			alone(r, func(st *history.State) { st.Registers["a"] = s.set.ID })
		}},
		{name: "another list", rule: Diverged, alter: func(s *story, r *history.Round) {
			alone(r, func(st *history.State) { st.Lists["l"] = st.Lists["l"][:1] })
		}},
		{name: "a row less", rule: Diverged, alter: func(s *story, r *history.Round) {
			alone(r, func(st *history.State) { delete(st.IDs, s.row2.ID) })
		}},
		{name: "another count", rule: Diverged, alter: func(s *story, r *history.Round) {
			alone(r, func(st *history.State) { st.Rows++ })
		}},
		{name: "a register nobody set is no difference", alter: func(s *story, r *history.Round) {
			alone(r, func(st *history.State) { delete(st.Registers, "b") })
		}},
		{name: "a corrupt one", rule: Corrupt, alter: func(s *story, r *history.Round) {
			alone(r, func(st *history.State) { st.Integrity = "row 3 missing from index" })
		}},
		{name: "money in the end", rule: Bank, alter: func(s *story, r *history.Round) {
			everywhere(r, func(st *history.State) { st.Sum-- })
		}},
		{name: "money in a read", rule: Bank, write: func(s *story) {
			s.over = func() { s.look("n3", 1480).Saw.Sum++ }
		}},
	})
}
