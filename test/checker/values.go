package checker

import (
	"maps"
	"slices"

	"github.com/litefence/litefence/test/history"
)

// values looks for what is in the database, or was replaced in it, and cannot
// be: nobody wrote it, or it was refused.
func (j *judge) values() {
	for _, n := range j.nodes {
		s := j.r.Final[n]
		where := "what " + n + " holds in the end"
		for _, k := range slices.Sorted(maps.Keys(s.Registers)) {
			j.value(history.Set, k, s.Registers[k], history.Forever, where)
		}
		for _, k := range slices.Sorted(maps.Keys(s.Lists)) {
			for _, id := range s.Lists[k] {
				j.value(history.Append, k, id, history.Forever, where)
			}
			j.unique(k, s.Lists[k], 0, where)
		}
		for _, id := range slices.Sorted(maps.Keys(s.IDs)) {
			if s.IDs[id] {
				j.value("", "", id, history.Forever, where)
			}
		}
	}
	for _, o := range j.acked {
		if o.Kind == history.Set {
			j.value(history.Set, o.Key, o.Old, o.End, "what "+o.ID+" replaced")
		}
	}
}

// value judges one ID that was found by time t. Kind "" stands for those that
// have rows of their own.
func (j *judge) value(kind, key, id string, t int64, where string) {
	if kind == history.Set && id == "" {
		return
	}
	o := j.byID[id]
	switch {
	case o == nil, o.Key != key && kind != "", o.Kind != kind && kind != "",
		kind == "" && o.Kind != history.Insert && o.Kind != history.Transfer:
		j.accuse(MadeUp, id, min(t, j.r.End), "%q is in %s %s; nobody wrote it there", id, where, key)
	case o.Outcome == history.Refused:
		j.accuse(RefusedPresent, id, o.Start, "%s is in %s %s: %s", j.name(o), where, key, o.Err)
	case o.Start > t:
		j.accuse(MadeUp, id, t, "%s was in %s %s at %s", j.name(o), where, key, j.at(t))
	}
}

// unique judges that list[from:] adds nothing twice.
func (j *judge) unique(key string, list []string, from int, where string) {
	if from == len(list) {
		return
	}
	met := make(map[string]bool, len(list))
	for i, id := range list {
		if met[id] && i >= from {
			j.accuse(MadeUp, "twice "+id, j.r.End, "%s is twice in list %s of %s", id, key, where)
		}
		met[id] = true
	}
}
