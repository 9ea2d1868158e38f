package report

import (
	"time"

	"github.com/litefence/litefence/test/history"
)

// summary is the figures of many rounds.
type summary struct {
	Rounds         int
	Broken         int // anomalies that break a promise
	BrokenRounds   int
	Unjudged       int // anomalies that only say that something is not known
	UnjudgedRounds int
	NeverNormal    int
	FirstSeed      uint64 // of the first round with a broken promise
	Rules          tally  // anomalies, by rule
	Sizes          tally  // rounds, by number of nodes
	Journals       tally
	Faults         int
	Counts         history.Counts // LostIDs is left out
	Fence          spread
	Outage         spread
	Back           spread // of rounds that became normal
	Commit         spread // of acknowledged writes
	Lost           []lostRound
}

func summarize(results []history.Result) summary {
	s := summary{Rounds: len(results), Rules: tally{}, Sizes: tally{}, Journals: tally{}}
	var fence, outage, back, commit []time.Duration
	for _, r := range results {
		s.judge(r)
		s.Sizes[count(len(r.Round.Nodes), "node", "nodes")+":"]++
		s.Journals[r.Round.Journal]++
		s.Faults += len(r.Faults)
		s.add(r.Counts)
		fence = append(fence, r.Fence...)
		outage = append(outage, r.Outages...)
		commit = append(commit, r.Commits...)
		if r.Round.Normal != 0 {
			back = append(back, r.Back)
		} else {
			s.NeverNormal++
		}
		if r.Counts.Lost > 0 {
			s.Lost = append(s.Lost, lostIn(r))
		}
	}
	s.Fence, s.Outage, s.Back, s.Commit = spreadOf(fence), spreadOf(outage), spreadOf(back), spreadOf(commit)
	return s
}

func (s *summary) judge(r history.Result) {
	broken, unjudged := 0, 0
	for _, a := range r.Anomalies {
		s.Rules[a.Rule]++
		if breaks(a) {
			broken++
		} else {
			unjudged++
		}
	}
	if broken > 0 {
		if s.BrokenRounds == 0 {
			s.FirstSeed = r.Round.Seed
		}
		s.BrokenRounds++
	}
	if unjudged > 0 {
		s.UnjudgedRounds++
	}
	s.Broken += broken
	s.Unjudged += unjudged
}

func (s *summary) add(c history.Counts) {
	s.Counts.Acked += c.Acked
	s.Counts.Refused += c.Refused
	s.Counts.Unknown += c.Unknown
	s.Counts.Reads += c.Reads
	s.Counts.ReadErrors += c.ReadErrors
	s.Counts.Lost += c.Lost
}
