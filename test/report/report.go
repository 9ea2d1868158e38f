// Package report writes what a run of the torture showed: a page with a picture
// of every round, and the same figures as Markdown. It knows what happened and
// how it was judged (package history), nothing of clusters, and judges nothing
// itself. For a given Run it always writes the same bytes.
package report

import (
	"time"

	"github.com/litefence/litefence/test/history"
)

// Run is one run of the torture: its rounds, and what they are held against.
type Run struct {
	Results []history.Result // of litefence as it is, in the order of the rounds
	Command string           // that began it
	// Versions of what took part, by name: litefence (its commit), LiteFS,
	// SQLite, Go, kernel, cores. Other names follow these in alphabetical order.
	Versions map[string]string
	Began    time.Time // shown in UTC; zero is not shown
	Took     time.Duration
	Controls []Control
}

// Control is a run of something else under the same faults.
type Control struct {
	Name    string // what is off, or what runs instead, in a few words
	What    string // one sentence more
	Results []history.Result
	// MustFail: a rule is off, so a checker that sees nothing wrong is blind.
	// Without it the control is a comparison.
	MustFail bool
}
