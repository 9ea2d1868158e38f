package checker

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/litefence/litefence/test/history"
)

const (
	beforeStop = int64(500 * time.Millisecond) // a fault may bite before it is noted
	afterStop  = int64(2 * time.Second)
	// giveUp is how long a read that began while its mount died may go on: SQLite
	// tries 10 s before it gives up on a WAL connection.
	giveUp     = int64(12 * time.Second)
	roleChange = int64(1500 * time.Millisecond)
	noReads    = int64(3 * time.Second)
	// betweenReads is the longest pause of a reader that tries.
	betweenReads = int64(300 * time.Millisecond)

	sqliteBusy  = 5
	sqliteIOErr = 10
)

// span is a stretch of time.
type span struct{ from, to int64 }

func (s span) meets(t span) bool { return s.from <= t.to && t.from <= s.to }

// stops returns when reads may hang or fail on node.
func (j *judge) stops(node string) (all []span) {
	for _, f := range j.r.Faults {
		if slices.Contains(f.Stops, node) || slices.Contains(f.Wiped, node) {
			s := span{f.Start - beforeStop, f.End + afterStop}
			if slices.Contains(f.Wiped, node) {
				s.to = max(s.to, j.hasAgain(node, f.End))
			}
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i, s := range all {
		for _, r := range j.reads[node] {
			if s.from <= r.Start && r.Start <= s.to {
				all[i].to = max(all[i].to, min(r.End, s.to+giveUp))
			}
		}
	}
	return all
}

// hasAgain is when a node whose database was taken away at t has it again: it is
// sent all of it, and all have it when all is normal.
func (j *judge) hasAgain(node string, t int64) int64 {
	for _, r := range j.reads[node] {
		if r.Start > t && r.Outcome == history.Acked {
			return min(r.Start, j.r.Normal)
		}
	}
	return j.r.Normal
}

// changes returns when node's role changed, as far as anything was seen of it.
func (j *judge) changes(node string) (all []span) {
	ss := j.seen[node].byTo
	for i, e := range j.epochs[min(1, len(j.epochs)):] {
		from, to := min(j.epochs[i].last(), e.first()), e.first()
		if len(ss) > 0 && to-from > 2*roleChange { // what is in between the samples tell
			all = append(all, span{from - roleChange, from + roleChange})
			from = to
		}
		all = append(all, span{from - roleChange, to + roleChange})
	}
	for i := range ss[min(1, len(ss)):] {
		a, b := ss[i], ss[i+1]
		if a.Role != b.Role || a.Open != b.Open || a.Writable != b.Writable {
			all = append(all, span{a.From - roleChange, b.To + roleChange})
		}
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.to, b.to) })
	return all
}

// readsFailed looks for errors that a reader was not to get. While another
// holds its lock it may be told "busy"; and a change of role costs a read that
// lasted too long an I/O error, one for each change.
func (j *judge) readsFailed() {
	for _, n := range j.nodes {
		stops, changes := j.stops(n), j.changes(n)
		for _, r := range j.reads[n] {
			at := span{r.Start, min(r.End, j.r.End)}
			code := codeOf(r.Err)
			if r.Outcome == history.Acked || r.Err == "" || code == sqliteBusy || slices.ContainsFunc(stops, at.meets) {
				continue
			}
			if code == sqliteIOErr {
				if i := slices.IndexFunc(changes, at.meets); i >= 0 {
					changes = slices.Delete(changes, i, i+1)
					continue
				}
			}
			j.accuse(ReadFailed, r.Client+j.at(r.Start), r.Start, "a read on %s, from %s to %s: %s", n, j.at(r.Start), j.at(r.End), r.Err)
		}
	}
}

var parenthesized = regexp.MustCompile(`\((\d+)\)`)

// codeOf returns SQLite's primary result code in an error's text, 0 for none.
func codeOf(text string) int {
	all := parenthesized.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0
	}
	code, _ := strconv.Atoi(all[len(all)-1][1])
	return code & 0xff
}

// readsStopped looks for stretches without a read that ended well, though the
// reader tried all the while. It may be busy closing a dead connection: then it
// does not try.
func (j *judge) readsStopped() {
	for _, n := range j.nodes {
		stops := j.stops(n)
		well := []int64{j.r.Start}
		for _, r := range sortedBy(j.reads[n], func(o *history.Op) int64 { return o.End }) {
			if r.Outcome == history.Acked {
				well = append(well, r.End)
			}
		}
		for i, from := range well {
			to := j.r.End
			if i+1 < len(well) {
				to = well[i+1]
			}
			for _, s := range without(span{from, to}, stops) {
				if t, ok := j.tried(n, s); ok {
					j.accuse(ReadsStopped, n+j.at(from), t.from, "no read on %s ended well from %s to %s", n, j.at(t.from), j.at(t.to))
				}
			}
		}
	}
}

// without returns what is left of s without the sorted stops.
func without(s span, stops []span) (left []span) {
	for _, stop := range stops {
		if stop.to < s.from || stop.from > s.to {
			continue
		}
		if stop.from > s.from {
			left = append(left, span{s.from, stop.from})
		}
		s.from = stop.to
	}
	if s.from < s.to {
		left = append(left, s)
	}
	return left
}

// tried finds attempts in s, one soon after the other, that took too long
// together.
func (j *judge) tried(node string, s span) (t span, ok bool) {
	if s.to-s.from <= noReads {
		return t, false
	}
	for _, r := range j.reads[node] {
		if r.Start >= s.to || r.End <= s.from {
			continue
		}
		from, to := max(r.Start, s.from), min(r.End, s.to)
		if t.to == 0 || from-t.to > betweenReads {
			t = span{from, to}
		}
		if t.to = max(t.to, to); t.to-t.from > noReads {
			return t, true
		}
	}
	return t, false
}
