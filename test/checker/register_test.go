package checker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/history"
)

// lostSets lets n1 set register a twice, and read it, before it is cut off with
// both. between says what the read sees.
func lostSets(read int64, between func(s *story, one, two *history.Op, r *history.Op)) func(s *story) {
	return func(s *story) {
		s.cut = func() {
			one := s.ack("n1", history.Set, "a", 1120, 1125)
			two := s.ack("n1", history.Set, "a", 1130, 1135)
			between(s, one, two, s.look("n1", read))
			s.ack("n1", history.Insert, "", 1150, 1155)
			s.say("n1", 1160)
		}
	}
}

func TestRegister(t *testing.T) {
	run(t, []plant{
		{name: "two lost ones in order", write: lostSets(1140, func(*story, *history.Op, *history.Op, *history.Op) {})},
		{name: "a read of the first after the second", rule: Register, write: lostSets(1140, func(_ *story, one, _, r *history.Op) {
			r.Saw.Registers["a"] = one.ID
		})},
		{name: "a read of the first during the second", write: lostSets(1133, func(_ *story, one, _, r *history.Op) {
			r.Saw.Registers["a"] = one.ID
		})},
		{name: "a lost update", rule: Register, write: lostSets(1140, func(_ *story, one, two, _ *history.Op) {
			two.Old = one.Old
		})},
		{name: "one of unknown outcome that took effect", write: lostSets(1140, func(_ *story, one, two, _ *history.Op) {
			one.Outcome, one.End = history.Unknown, history.Forever
		})},
		{name: "and replaced something else", rule: Register, write: lostSets(1140, func(s *story, one, two, _ *history.Op) {
			one.Outcome, one.End, one.Old = history.Unknown, history.Forever, s.lost.ID
		})},
		{name: "and does not say what it replaced", write: lostSets(1140, func(s *story, one, two, _ *history.Op) {
			one.Outcome, one.End, one.Old = history.Unknown, history.Forever, ""
		})},
		{name: "one of unknown outcome that did not", write: lostSets(1140, func(s *story, one, two, r *history.Op) {
			two.Outcome = history.Unknown
			r.Saw.Registers["a"] = one.ID
		})},
		{name: "a read of an older value than its node had set", rule: Register, write: func(s *story) {
			s.over = func() { s.look("n2", 1480).Saw.Registers["a"] = s.set.ID }
		}},
		{name: "a read of an older value than an earlier one", rule: Register, write: func(s *story) {
			s.over = func() { s.follow("n3"); s.look("n3", 1480); s.look("n3", 1485).Saw.Registers["a"] = s.set.ID }
		}},
		{name: "a read of an older value on a replica", write: func(s *story) {
			s.over = func() { s.look("n3", 1480) }
		}},
		{name: "a final order against time", rule: Register, text: "comes after", write: func(s *story) {
			s.over = func() {
				s.ack("n2", history.Set, "b", 1500, 1505)
				s.do("n2", history.Set, "b", 1480*ms, history.Forever, history.Unknown)
				s.ack("n2", history.Set, "b", 1485, 1490)
			}
		}},
	})
}

// TestGrantsWithoutOpens: where nobody tells of Opens, only writes that follow
// each other at once are of one grant. Register a goes back to one here: the role
// went away after two, and came back.
func TestGrantsWithoutOpens(t *testing.T) {
	lapse := func(twoEnds, threeStarts int64) func(s *story) {
		return func(s *story) {
			s.cut = func() {
				s.ack("n1", history.Set, "a", 1120, 1125)
				s.stray("n1", history.Set, "a", 1130, twoEnds)
				s.ack("n1", history.Set, "a", threeStarts, threeStarts+3)
			}
		}
	}
	silent := func(_ *story, r *history.Round) { r.Samples = nil }
	run(t, []plant{
		{name: "at once", rule: Register, write: lapse(1135, 1140), alter: silent},
		{name: "after a pause", write: lapse(1135, 1300), alter: silent},
		{name: "after a late answer", write: lapse(1390, 1392), alter: silent},
	})
}

func TestRegisterUnchecked(t *testing.T) {
	s := newStory()
	s.over = func() {
		for i := range int64(300) {
			s.do("n2", history.Set, "b", 1480*ms+i, 1600*ms-i, history.Acked)
		}
	}
	r := s.tell()
	found := check(r, time.Nanosecond).Anomalies
	require.Len(t, found, 1)
	require.Equal(t, RegisterUnchecked, found[0].Rule)
}

func TestList(t *testing.T) {
	three := func(s *story) (ids []string) {
		for t := int64(1480); t < 1500; t += 6 {
			ids = append(ids, s.ack("n2", history.Append, "l", t, t+5).ID)
		}
		return ids
	}
	run(t, []plant{
		{name: "one is missing in the middle", rule: List, write: func(s *story) {
			s.over = func() {
				ids := three(s)
				s.look("n3", 1510).Saw.Lists["l"] = []string{s.listed.ID, ids[0], ids[2]}
			}
		}},
		{name: "the first ones, on a replica", write: func(s *story) {
			s.over = func() {
				ids := three(s)
				s.look("n3", 1510).Saw.Lists["l"] = []string{s.listed.ID, ids[0]}
			}
		}},
		{name: "a lost tail", write: func(s *story) { s.over = func() { s.look("n1", 1480) } }},
		{name: "less than an earlier read", rule: List, write: func(s *story) {
			s.over = func() { s.follow("n3"); s.look("n3", 1480); s.look("n3", 1490).Saw.Lists["m"] = nil }
		}},
		{name: "less than another read meanwhile", write: func(s *story) {
			s.over = func() { s.follow("n3"); s.look("n3", 1480); s.look("n3", 1481).Saw.Lists["m"] = nil }
		}},
		{name: "less than an earlier read, wiped in between", write: func(s *story) {
			s.over = func() {
				s.follow("n3")
				s.look("n3", 1480)
				s.r.Faults = []history.Fault{{Name: "wipe", Start: 1483 * ms, End: 1485 * ms, Wiped: []string{"n3"}}}
				s.look("n3", 1490).Saw.Lists["m"] = nil
			}
		}},
		{name: "without what its own node had appended", rule: List, write: func(s *story) {
			s.over = func() { s.look("n2", 1480).Saw.Lists["m"] = nil }
		}},
		{name: "without a row of its own node", rule: List, write: func(s *story) {
			s.over = func() { s.look("n2", 1480).Saw.Rows-- }
		}},
		{name: "a lost tail that comes back", rule: List, write: func(s *story) {
			s.over = func() {
				s.look("n1", 1480)
				was := s.held["n1"]
				s.follow("n1")
				s.look("n1", 1490)
				now := s.held["n1"]
				s.held["n1"] = was
				o := s.look("n1", 1500)
				s.held["n1"] = now
				o.Saw.Lists["m"] = []string{s.listed2.ID}
				o.Saw.Registers["a"] = s.set2.ID
				o.Saw.Rows = 2
				s.lost.End = 1430 * ms // or it could not be together with listed2
				s.set2.Start = 1422 * ms
				s.set2.End = 1424 * ms
			}
		}},
		{name: "a final order against time", rule: List, write: func(s *story) {
			s.over = func() {
				ids := three(s)
				for _, o := range s.all {
					if o.ID == ids[2] {
						o.Start, o.End = 1470*ms, 1473*ms
					}
				}
			}
		}},
	})
}
