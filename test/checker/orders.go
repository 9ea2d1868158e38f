package checker

import "github.com/litefence/litefence/test/history"

// orders compares the final order of lists and registers with time: what was
// acknowledged before another began must come before it.
func (j *judge) orders() {
	for _, key := range keys(j.lists, nil) {
		j.order(List, j.lists[key])
	}
	for _, key := range keys(j.regs, nil) {
		j.order(Register, j.regs[key])
	}
	for _, o := range j.acked {
		if o.Kind != history.Set || !j.gone(o) {
			continue
		}
		t := j.regs[o.Key]
		if i, ok := j.base(t, o.ID); ok && i < t.all.before(o.Start) {
			j.accuse(StaleAck, o.ID, o.Start, "%s replaced %q, though %s had been acknowledged and is there in the end",
				j.name(o), o.Old, j.name(j.byID[t.ids[t.all.before(o.Start)]]))
		}
	}
}

func (j *judge) order(rule string, t *thread) {
	for i, id := range t.ids {
		o := j.byID[id]
		if i == 0 || o == nil || o.Outcome != history.Acked || o.End >= t.maxStart[i-1] {
			continue
		}
		for _, before := range t.ids[:i] {
			if b := j.byID[before]; b != nil && b.Start > o.End {
				j.accuse(rule, t.key, o.Start, "in %s, %s comes after %s", t.key, j.name(o), j.name(b))
				break
			}
		}
	}
}
