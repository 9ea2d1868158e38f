package report

import (
	"cmp"

	"github.com/litefence/litefence/test/history"
)

// mode is the rounds in which a commit waited for the same.
type mode struct {
	Name string
	Sum  summary
}

// modesOf sorts by name.
func modesOf(results []history.Result) (modes []mode) {
	of := map[string][]history.Result{}
	for _, r := range results {
		name := cmp.Or(r.Round.Confirm, history.Lease)
		of[name] = append(of[name], r)
	}
	for _, name := range sorted(of) {
		modes = append(modes, mode{name, summarize(of[name])})
	}
	return modes
}
