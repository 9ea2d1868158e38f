package checker

import (
	"testing"

	"github.com/litefence/litefence/test/history"
)

func (s *story) failed(node, err string, from, to int64) *history.Op {
	o := &history.Op{Node: node, Client: "r-" + node, Kind: history.Read, Start: from * ms, End: to * ms, Outcome: history.Unknown, Err: err}
	s.put(o)
	return o
}

// quiet is a story in which nothing happens for ten seconds after its
// beginning, so that no change of role is near.
func quiet(node string, reads func(s *story)) func(s *story) {
	return func(s *story) {
		s.end = 12000
		s.cut = func() {
			for t := int64(1200); t < 11000; t += 1000 {
				if s.look("n2", t); node != "n3" {
					s.look("n3", t)
				}
			}
			s.say("n1", 1120)
			reads(s)
			s.ask(11000)
		}
	}
}

func stop(s *story, from, to int64, nodes ...string) {
	s.r.Faults = append(s.r.Faults, history.Fault{Name: "stop", Targets: nodes, Stops: nodes, Start: from * ms, End: to * ms})
}

// wiped lets n3's database be taken away, and a read fail there long afterwards.
func wiped(more func(s *story)) func(s *story) {
	return func(s *story) {
		s.r.Faults = []history.Fault{{Name: "wipe", Start: 2000 * ms, End: 2200 * ms, Wiped: []string{"n3"}}}
		if more != nil {
			more(s)
		}
		s.failed("n3", "unable to open database file (14)", 5300, 5310)
	}
}

func TestReadFailed(t *testing.T) {
	fails := func(err string, more func(s *story)) func(s *story) {
		return quiet("", func(s *story) {
			s.failed("n3", err, 5300, 5310)
			if more != nil {
				more(s)
			}
		})
	}
	run(t, []plant{
		{name: "malformed", rule: ReadFailed, write: fails("database disk image is malformed (11)", nil)},
		{name: "without a code", rule: ReadFailed, write: fails("no such table: lists", nil)},
		{name: "of what was taken away and is not back", write: quiet("n3", wiped(nil))},
		{name: "of what was taken away and was back", rule: ReadFailed, write: quiet("n3", wiped(func(s *story) { s.look("n3", 4900) }))},
		{name: "busy", write: fails("database is locked (5)", nil)},
		{name: "busy, extended", write: fails("database is locked (261)", nil)},
		{name: "no answer before the end", write: quiet("", func(s *story) { s.failed("n3", "", 11990, 13000).End = history.Forever })},
		{name: "an I/O error", rule: ReadFailed, write: fails("disk I/O error (266)", nil)},
		{name: "an I/O error as the role changes", write: func(s *story) {
			s.over = func() { s.failed("n3", "disk I/O error (266)", 1500, 1510) }
		}},
		{name: "another error as the role changes", rule: ReadFailed, write: func(s *story) {
			s.over = func() { s.failed("n3", "unable to open database file (14)", 1500, 1510) }
		}},
		{name: "more I/O errors than changes", rule: ReadFailed, write: func(s *story) {
			s.over = func() {
				s.failed("n3", "disk I/O error (266)", 1500, 1510)
				s.failed("n3", "disk I/O error (266)", 1520, 1530)
				s.failed("n3", "disk I/O error (266)", 1540, 1550)
			}
		}},
		{name: "an I/O error long before a change", rule: ReadFailed, write: quiet("", func(s *story) {
			s.failed("n3", "disk I/O error (266)", 8000, 8010)
		})},
		{name: "while stopped", write: fails("disk I/O error (266)", func(s *story) { stop(s, 5000, 5500, "n3") })},
		{name: "soon after a stop", write: fails("disk I/O error (266)", func(s *story) { stop(s, 3000, 3400, "n3") })},
		{name: "long after a stop", rule: ReadFailed, write: fails("disk I/O error (266)", func(s *story) { stop(s, 3000, 3200, "n3") })},
		{name: "just before a stop", write: fails("disk I/O error (266)", func(s *story) { stop(s, 5700, 6000, "n3") })},
		{name: "while another is stopped", rule: ReadFailed, write: fails("disk I/O error (266)", func(s *story) { stop(s, 5000, 5500, "n2") })},
	})
}

func TestReadsStopped(t *testing.T) {
	run(t, []plant{
		{name: "one hangs", rule: ReadsStopped, write: quiet("n3", func(s *story) { s.read("n3", 2000*ms, 5100*ms) })},
		{name: "one hangs for a shorter time", write: quiet("n3", func(s *story) { s.read("n3", 2000*ms, 4900*ms) })},
		{name: "one hangs for ever", rule: ReadsStopped, write: quiet("n3", func(s *story) {
			s.failed("n3", "", 6000, 0).End = history.Forever
		})},
		{name: "all fail", rule: ReadsStopped, write: quiet("n3", func(s *story) {
			for t := int64(3000); t < 6500; t += 500 {
				s.failed("n3", "database is locked (5)", t, t+300)
			}
		})},
		{name: "some fail", write: quiet("n3", func(s *story) {
			for t := int64(3000); t < 6500; t += 500 {
				s.failed("n3", "database is locked (5)", t, t+100)
			}
		})},
		{name: "nobody tried", write: quiet("n3", func(*story) {})},
		{name: "stopped", write: quiet("n3", func(s *story) { stop(s, 2000, 4000, "n3"); s.read("n3", 2000*ms, 6100*ms) })},
		{name: "stopped, and then nobody tried", write: quiet("n3", func(s *story) {
			stop(s, 2000, 4000, "n3")
			s.failed("n3", "database is locked (5)", 2000, 8500)
			s.look("n3", 9600)
		})},
		{name: "begun while stopped", write: quiet("n3", func(s *story) { stop(s, 1500, 2000, "n3"); s.read("n3", 2000*ms, 7100*ms) })},
		{name: "long after a stop", rule: ReadsStopped, write: quiet("n3", func(s *story) { stop(s, 1000, 1500, "n3"); s.read("n3", 3600*ms, 6900*ms) })},
		{name: "long before a stop", rule: ReadsStopped, write: quiet("n3", func(s *story) { stop(s, 6000, 8000, "n3"); s.read("n3", 2000*ms, 9000*ms) })},
		{name: "between two stops", write: quiet("n3", func(s *story) {
			stop(s, 1500, 2000, "n3")
			stop(s, 7000, 8000, "n3")
			s.read("n3", 2000*ms, 9000*ms)
		})},
	})
}
