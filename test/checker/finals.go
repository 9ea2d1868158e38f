package checker

import (
	"fmt"
	"maps"
	"slices"

	"github.com/litefence/litefence/test/history"
)

// reference returns the state that most nodes agree on, nil where the cluster
// never came back: then a node may hold anything.
func (j *judge) reference() *history.State {
	if j.r.Normal == 0 {
		return nil
	}
	var best *history.State
	most := 0
	for _, n := range j.nodes {
		s, ok := j.r.Final[n]
		if !ok {
			continue
		}
		agree := 0
		for _, m := range j.nodes {
			if other, ok := j.r.Final[m]; ok && differ(s, other) == "" {
				agree++
			}
		}
		if agree > most {
			best, most = &s, agree
		}
	}
	return best
}

// finals judges the final states by themselves.
func (j *judge) finals() {
	for _, n := range j.nodes {
		s, ok := j.r.Final[n]
		if !ok {
			continue
		}
		if s.Integrity != "ok" {
			j.accuse(Corrupt, n, j.r.End, "%s: %s", n, s.Integrity)
		}
		if s.Sum != j.r.Sum {
			j.accuse(Bank, fmt.Sprint("final ", s.Sum), j.r.End, "%s holds %d in the end, not %d", n, s.Sum, j.r.Sum)
		}
		if j.final == nil {
			continue
		}
		if d := differ(*j.final, s); d != "" {
			j.accuse(Diverged, n, j.r.End, "%s differs from most: %s", n, d)
		}
	}
}

// differ says where b differs from a; "" if it does not.
func differ(a, b history.State) string {
	for _, k := range keys(a.Registers, b.Registers) {
		if x, y := a.Registers[k], b.Registers[k]; x != y {
			return fmt.Sprintf("register %s is %q, not %q", k, y, x)
		}
	}
	for _, k := range keys(a.Lists, b.Lists) {
		x, y := a.Lists[k], b.Lists[k]
		if !slices.Equal(x, y) {
			return fmt.Sprintf("list %s has %d elements, not %d, the first %d in common", k, len(y), len(x), common(x, y))
		}
	}
	for _, id := range keys(a.IDs, b.IDs) {
		if a.IDs[id] != b.IDs[id] {
			return fmt.Sprintf("%s is there: %v, not %v", id, b.IDs[id], a.IDs[id])
		}
	}
	if a.Sum != b.Sum || a.Rows != b.Rows {
		return fmt.Sprintf("%d in %d rows, not %d in %d", b.Sum, b.Rows, a.Sum, a.Rows)
	}
	return ""
}

// keys returns the keys of both, sorted.
func keys[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// common returns how many elements a and b begin with in common.
func common(a, b []string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
