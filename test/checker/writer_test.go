package checker

import (
	"slices"
	"testing"

	"github.com/litefence/litefence/test/history"
)

func TestOneWriter(t *testing.T) {
	run(t, []plant{
		{name: "a write under an older Open", rule: OneWriter, write: func(s *story) {
			s.over = func() { s.stray("n1", history.Insert, "", 1480, 1485); s.sayWritable("n1", 10, 1490) }
		}},
		{name: "a write before the newer one", write: func(s *story) {
			s.cut = func() { s.stray("n1", history.Insert, "", 1380, 1500) }
			s.over = func() { s.sayWritable("n1", 10, 1400) }
		}},
		{name: "a write under a still newer one", write: func(s *story) {
			s.over = func() {
				s.follow("n1", "n3")
				s.promote("n1")
				s.ack("n1", history.Insert, "", 1500, 1505)
				s.say("n1", 1510)
				s.follow("n2", "n3")
				s.promote("n2")
			}
		}},
		{name: "two that say so", rule: OneWriter, write: func(s *story) {
			s.over = func() { s.sayWritable("n1", 10, 1480); s.sayWritable("n1", 10, 1490) }
		}},
		{name: "one that says so once, begun before its Open", write: func(s *story) {
			s.over = func() { s.sayWritable("n1", 10, 1480) }
		}},
		{name: "a write under the Open that another showed as it began its own", rule: OneWriter, write: func(s *story) {
			s.cut = func() { s.sayWritable("n2", 10, 1405) }
			s.over = func() { s.stray("n1", history.Insert, "", 1480, 1485); s.sayWritable("n1", 10, 1490) }
		}, alter: func(_ *story, r *history.Round) {
			r.Samples = slices.DeleteFunc(r.Samples, func(x history.Sample) bool { return x.Node == "n2" && x.Open > 10 })
		}},
		{name: "a status that began while its node was starting", write: func(s *story) {
			s.over = func() {
				s.follow("n1", "n3")
				s.promote("n1")
				s.ack("n1", history.Insert, "", 1480, 1485)
				s.promote("n1")
				s.sayWritable("n1", 10, 1490)
				s.r.Samples[len(s.r.Samples)-1].To = 1600 * ms
				s.ask(1610)
				s.follow("n2", "n3")
				s.promote("n2")
			}
		}},
		{name: "writes by turns", rule: OneWriter, write: func(s *story) {
			s.cut = func() { s.stray("n1", history.Insert, "", 1427, 1430) }
			s.over = func() { s.ack("n2", history.Transfer, "", 1432, 1435) }
		}},
		{name: "by turns in one time", write: func(s *story) {
			s.cut = func() { s.stray("n1", history.Insert, "", 1427, 1433) }
			s.over = func() { s.ack("n2", history.Transfer, "", 1432, 1435) }
		}},
		{name: "by turns or not", write: func(s *story) {
			s.cut = func() { s.stray("n1", history.Insert, "", 1427, 1430) }
			s.over = func() { s.listed2.End = 1428 * ms; s.ack("n2", history.Transfer, "", 1432, 1435) }
		}},
		{name: "by turns, slowly", write: func(s *story) {
			s.cut = func() { s.stray("n1", history.Insert, "", 1427, 1430) }
			s.over = func() { s.ack("n2", history.Transfer, "", 1447, 1449) }
		}},
	})
}

func TestStaleAck(t *testing.T) {
	run(t, []plant{
		{name: "a read after it lacks a list's element", rule: StaleAck, write: func(s *story) {
			s.over = func() { s.ack("n1", history.Insert, "", 1430, 1435); s.look("n1", 1440) }
		}},
		{name: "the other was not acknowledged yet", write: func(s *story) {
			s.over = func() { s.ack("n1", history.Insert, "", 1424, 1435); s.look("n1", 1440) }
		}},
		{name: "a read before it lacks it", write: func(s *story) {
			s.over = func() { s.look("n1", 1434); s.stray("n1", history.Insert, "", 1430, 1435) }
		}},
		{name: "the other is gone as well", write: func(s *story) {
			s.cut = func() {
				s.held["n3"], s.open["n3"], s.at = s.held["n2"], 20, "n3"
				s.last = 20
				s.ack("n3", history.Append, "m", 1200, 1205)
				s.promote("n2")
			}
			s.over = func() {}
		}},
		{name: "it replaced what another had replaced", rule: StaleAck, write: func(s *story) {
			s.over = func() { s.stray("n1", history.Set, "a", 1450, 1455) }
		}},
		{name: "it replaced it before that was acknowledged", write: func(s *story) {
			s.over = func() { s.stray("n1", history.Set, "a", 1444, 1455) }
		}},
		{name: "a read after it lacks a row", rule: StaleAck, write: func(s *story) {
			s.over = func() {
				s.follow("n1")
				s.stray("n1", history.Insert, "", 1470, 1475)
				s.look("n1", 1480).Saw.Rows--
			}
		}},
		{name: "its node was wiped in between", write: func(s *story) {
			s.over = func() {
				s.r.Faults = []history.Fault{{Name: "wipe", Start: 1440 * ms, End: 1450 * ms, Wiped: []string{"n1"}}}
				s.stray("n1", history.Insert, "", 1430, 1435)
				s.held["n1"] = s.held["n1"][:1]
				s.look("n1", 1460)
			}
		}},
	})
}
