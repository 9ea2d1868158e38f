package report

import "strconv"

// judged is a control and what came of it.
type judged struct {
	Control
	Sum summary
}

// Blind reports that a rule was off and no round showed it.
func (j judged) Blind() bool { return j.MustFail && j.Sum.BrokenRounds == 0 }

// Seed is that of the first round in which a promise was broken.
func (j judged) Seed() string {
	if j.Sum.BrokenRounds == 0 {
		return "–"
	}
	return strconv.FormatUint(j.Sum.FirstSeed, 10)
}

// Verdict says whether the control did what it is there for.
func (j judged) Verdict() string {
	switch {
	case j.Blind() && j.Sum.Rounds == 0:
		return "FAILED: was not run"
	case j.Blind():
		return "FAILED: nothing was noticed"
	case j.MustFail:
		return "noticed"
	}
	return "compared"
}

// split judges the controls and tells those that must fail from comparisons.
func split(controls []Control) (mustFail, comparisons []judged) {
	for _, c := range controls {
		j := judged{Control: c, Sum: summarize(c.Results)}
		if c.MustFail {
			mustFail = append(mustFail, j)
		} else {
			comparisons = append(comparisons, j)
		}
	}
	return mustFail, comparisons
}

// verdict is the run in one line; tone is one of the page's.
type verdict struct{ Tone, Title, Text string }

func verdictOf(s summary, mustFail []judged) verdict {
	blind := 0
	for _, j := range mustFail {
		if j.Blind() {
			blind++
		}
	}
	switch {
	case s.Broken > 0:
		return verdict{"bad", count(s.Broken, "broken promise", "broken promises"), "In " + number(s.BrokenRounds) + " of " + count(s.Rounds, "round", "rounds") + "."}
	case s.Rounds == 0:
		return verdict{"off", "Nothing was run", "There are no rounds to report."}
	case blind > 0:
		return verdict{"bad", "The checks are blind", "No promise was seen to be broken, but neither in " + count(blind, "control", "controls") + " that must break one. So it says little."}
	case s.Unjudged > 0:
		return verdict{"warn", "No promise was seen broken", count(s.UnjudgedRounds, "round", "rounds") + " of " + number(s.Rounds) + " could not be judged in full."}
	}
	return verdict{"ok", "No promise was broken", "In " + count(s.Rounds, "round", "rounds") + " with " + count(s.Faults, "fault", "faults") + "."}
}
