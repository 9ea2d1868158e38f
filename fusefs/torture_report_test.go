package fusefs

import (
	"fmt"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// report prints what was done, and fails where a torture was none.
func (x *torture) report(rows, seq int) {
	t, outcomes := x.t, map[outcome]int{}
	kinds, doubts := map[string]int{}, 0
	for _, a := range x.hist.attempts {
		o := x.hist.outcomeOf(a)
		outcomes[o]++
		kinds[a.kind()+" "+o.String()]++
		if o == unknown && a.reply != nil {
			doubts++
		}
	}
	reads, busy, all := x.reads()
	t.Logf("%v, %d of the unknown not killed; %v; %d transactions there, %d numbered; reads %v; kills %d; %v; %+v",
		outcomes, doubts, kinds, rows, seq, reads, x.kills.Load(), x.count, x.p.fs.Stats())
	require.Positive(t, outcomes[acknowledged])
	require.Positive(t, x.kills.Load())
	require.Positive(t, x.count["fences"])
	require.GreaterOrEqual(t, 2*outcomes[refused], doubts, "most errors are strict refusals")
	for _, what := range []string{onPrimary, onReplica, onPrimary + " while fenced"} {
		require.Positive(t, reads[what], "reads, %s", what)
	}
	require.LessOrEqual(t, busy, all/10, "reads that waited for 5 s in vain")
}

// kind is the build of SQLite that made the attempt.
func (a *attempt) kind() string {
	_, kind, _ := strings.Cut(a.who, "(")
	kind, _, _ = strings.Cut(kind, ",")
	return kind
}

func (x *torture) reads() (by map[string]int, busy, all int) {
	by = map[string]int{}
	for _, l := range x.hist.looks {
		all++
		if !l.reply.ok() {
			by[fmt.Sprintf("%s, code %d", l.on, l.reply.Code)]++
			if l.reply.primary() == int(sqlite3.ErrBusy) {
				busy++
			}
			continue
		}
		by[l.on]++
		if x.hist.whileFenced(l.span) {
			by[l.on+" while fenced"]++
		}
	}
	return by, busy, all
}
