package fusefs

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"syscall"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// What happened in a torture, and what must be true of it. Times are the
// test's own, taken before a job is sent and after its answer has come: an
// operation lies within them.

type outcome int

const (
	unknown outcome = iota // killed, or an error that may have come after the commit point
	acknowledged
	refused // it certainly never passed its commit point
)

func (o outcome) String() string { return [...]string{"unknown", "acknowledged", "refused"}[o] }

type span struct{ start, end int64 }

func (s span) within(o span) bool   { return o.start <= s.start && s.end <= o.end }
func (s span) overlaps(o span) bool { return s.start <= o.end && o.start <= s.end }

// attempt is one write transaction.
type attempt struct {
	span
	id     string
	who    string
	parts  int  // rows it inserts
	single bool // one statement, which commits by itself
	abort  bool // it ends with ROLLBACK: it never asks for a commit
	last   int  // index of the statement that commits
	reply  *reply
}

// look is one read transaction.
type look struct {
	span
	who   string
	on    string // the mount that it read through
	seq   int    // of the transaction that it saw as the newest
	bad   string // an invariant that was broken
	reply *reply
}

type history struct {
	mu       sync.Mutex
	mode     string
	attempts []*attempt
	looks    []*look
	ckpts    []*look
	fenced   []span // the fence had engaged and settled, and the gate was not opened yet
	shut     []span // the gate was shut, or about to be, for a part of it
	cuts     []span // open read transactions may have been cut off (Quiesce)
	problems []string
}

func (h *history) attempt(a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts = append(h.attempts, a)
}

func (h *history) look(l *look) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks = append(h.looks, l)
}

func (h *history) checkpoint(l *look) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ckpts = append(h.ckpts, l)
}

func (h *history) accuse(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, fmt.Sprintf(format, args...))
}

// outcomeOf decides what is known of a transaction. Nothing can have committed
// before the last statement was sent. What fails at the last one was refused
// if the lock, the journal or a write before the commit point failed, or if
// the system's own errno is the fence's; everything else is in doubt. The
// exceptions are those of SQLite's commit: in DELETE mode it ends with the
// unlink of the journal, in TRUNCATE with its truncation, so that a failed
// *write* lies before it; in PERSIST and WAL a write is the commit point.
func (h *history) outcomeOf(a *attempt) outcome {
	r := a.reply
	switch {
	case a.abort:
		return refused
	case r == nil:
		return unknown
	case r.ok():
		return acknowledged
	case r.At < a.last || h.whileFenced(a.span):
		return refused
	}
	switch r.primary() {
	case int(sqlite3.ErrBusy), int(sqlite3.ErrCantOpen):
		return refused
	}
	if r.Code == int(sqlite3.ErrIoErrWrite) && (h.mode == "DELETE" || h.mode == "TRUNCATE") {
		return refused
	}
	if r.primary() == int(sqlite3.ErrIoErr) && syscall.Errno(r.Errno) == syscall.EROFS {
		return refused
	}
	return unknown
}

// whileFenced reports whether s lies in a time in which nothing was admitted.
func (h *history) whileFenced(s span) bool {
	return slices.ContainsFunc(h.fenced, s.within)
}

// row is what the database holds of one transaction at the end.
type row struct{ parts, seq int }

// check compares the history with the database at its end. seq is the number
// of transactions that have passed, by the database's own count.
func (h *history) check(have map[string]row, seq int) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.problems)
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	h.checkRows(have, say)
	checkSequence(have, seq, say)
	h.checkErrors(say)
	h.checkLooks(have, seq, say)
	return out
}

type sayer func(format string, args ...any)

// checkRows: a transaction is there whole, or not at all, by its outcome.
func (h *history) checkRows(have map[string]row, say sayer) {
	known := map[string]bool{}
	for _, a := range h.attempts {
		known[a.id] = true
		got, o := have[a.id].parts, h.outcomeOf(a)
		switch {
		case got != 0 && got != a.parts:
			say("%s: torn: %d of its %d rows are there", a, got, a.parts)
		case o == acknowledged && got == 0:
			say("%s: acknowledged and lost", a)
		case o == refused && got != 0:
			say("%s: refused and there", a)
		}
		if o == acknowledged && h.whileFenced(a.span) {
			say("%s: acknowledged while fenced", a)
		}
	}
	for id := range have {
		if !known[id] {
			say("%s: there, and nobody wrote it", id)
		}
	}
}

// checkSequence: every transaction that counts took the number after the one
// before. A lost update or one that came back shows as a gap or a number taken
// twice.
func checkSequence(have map[string]row, seq int, say sayer) {
	by := map[int]string{}
	for id, r := range have {
		if r.seq == 0 {
			continue
		}
		if other, ok := by[r.seq]; ok {
			say("%s and %s both took number %d", id, other, r.seq)
		}
		by[r.seq] = id
		if r.seq > seq {
			say("%s took number %d, the last is %d", id, r.seq, seq)
		}
	}
	if len(by) != seq {
		say("%d transactions are numbered, the last number is %d", len(by), seq)
	}
}

// checkErrors: what an application may be told. BUSY always. A writer that the
// fence refuses gets CANTOPEN (the journal) or IOERR; with the gate open all
// the time only a commit in doubt is left, which is IOERR at the write, the
// truncation or the unlink that commits, or at the lock request after that unlink. Nothing else: not CORRUPT, and not
// READONLY, which would stick to the connection. PROTOCOL only from a WAL
// transaction that a change of role cut off (TestCutWriterDoesNotStopOthers). A reader gets
// BUSY, with two exceptions, both IOERR: a change of role cut its transaction
// off, or, in rollback modes, it was rolling a dead writer's journal back when
// the fence engaged: its writes are refused, and LiteFS takes the journal away
// from under its fstat, fsync or unlink.
func (h *history) checkErrors(say sayer) {
	for _, a := range h.attempts {
		if a.reply != nil && !a.reply.ok() && !h.writerMayGet(a.span, a.reply) {
			say("%s: an error that no writer may get", a)
		}
	}
	for _, l := range h.ckpts {
		if !l.reply.ok() && !h.writerMayGet(l.span, l.reply) && l.reply.primary() != int(sqlite3.ErrLocked) {
			say("%s: an error that no checkpoint may get", l)
		}
	}
	for _, l := range h.looks {
		if l.bad != "" {
			say("%s: %s", l, l.bad)
		}
		if l.reply != nil && !l.reply.ok() && !h.readerMayGet(l) {
			say("%s: an error that no reader may get", l)
		}
	}
}

func (h *history) writerMayGet(s span, r *reply) bool {
	switch sqlite3.ErrNoExtended(r.Code) {
	case sqlite3.ErrIoErrWrite, sqlite3.ErrIoErrTruncate, sqlite3.ErrIoErrDelete, sqlite3.ErrIoErrRDlock,
		sqlite3.ErrNoExtended(sqlite3.ErrIoErr): // the shell tells the primary code only
		return true
	}
	p := r.primary()
	if p == int(sqlite3.ErrProtocol) {
		return h.mode == "WAL" && slices.ContainsFunc(h.cuts, s.overlaps)
	}
	return p == int(sqlite3.ErrBusy) || p == int(sqlite3.ErrCantOpen) || cutOff(s, r, h.shut) || cutOff(s, r, h.cuts)
}

func (h *history) readerMayGet(l *look) bool {
	return l.reply.primary() == int(sqlite3.ErrBusy) || cutOff(l.span, l.reply, h.cuts) ||
		h.mode != "WAL" && l.on == onPrimary && cutOff(l.span, l.reply, h.shut)
}

// cutOff reports an IOERR during one of the times given.
func cutOff(s span, r *reply, times []span) bool {
	return r.primary() == int(sqlite3.ErrIoErr) && slices.ContainsFunc(times, s.overlaps)
}

// checkLooks: what was acknowledged before a read began is seen by it, through
// the mount of the primary; and through each mount time never runs backwards.
// The numbers stand in the order of the commits, so one comparison does.
func (h *history) checkLooks(have map[string]row, seq int, say sayer) {
	type event struct {
		at  int64
		seq int
		by  fmt.Stringer
	}
	acks := []event{}
	for _, a := range h.attempts {
		if n := have[a.id].seq; n > 0 && h.outcomeOf(a) == acknowledged {
			acks = append(acks, event{a.end, n, a})
		}
	}
	seen := map[string][]event{}
	for _, l := range h.looks {
		if l.reply != nil && l.reply.ok() {
			seen[l.on] = append(seen[l.on], event{l.end, l.seq, l})
		}
	}
	// newest returns the highest number among the events before each time.
	newest := func(events []event) func(before int64) event {
		slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
		best := make([]event, len(events))
		for i, e := range events {
			if best[i] = e; i > 0 && best[i-1].seq > e.seq {
				best[i] = best[i-1]
			}
		}
		return func(before int64) event {
			i, _ := slices.BinarySearchFunc(events, before, func(e event, t int64) int { return cmp.Compare(e.at, t) })
			if i == 0 {
				return event{}
			}
			return best[i-1]
		}
	}
	acked, shown := newest(acks), map[string]func(int64) event{}
	for on, events := range seen {
		shown[on] = newest(events)
	}
	for _, l := range h.looks {
		if l.reply == nil || !l.reply.ok() {
			continue
		}
		if e := acked(l.start); l.on == onPrimary && l.seq < e.seq {
			say("%s saw number %d; %d had been acknowledged before (%s)", l, l.seq, e.seq, e.by)
		}
		if e := shown[l.on](l.start); l.seq < e.seq {
			say("%s saw number %d; %s had seen %d before", l, l.seq, e.by, e.seq)
		}
		if l.seq > seq {
			say("%s saw number %d; the last is %d", l, l.seq, seq)
		}
	}
}

func (a *attempt) String() string {
	return fmt.Sprintf("%s by %s [%d..%d] %s", a.id, a.who, a.start, a.end, a.reply)
}

func (l *look) String() string {
	return fmt.Sprintf("read of %s by %s [%d..%d] %s", l.on, l.who, l.start, l.end, l.reply)
}

func (r *reply) String() string {
	switch {
	case r == nil:
		return "(killed)"
	case r.ok():
		return "(ok)"
	}
	return fmt.Sprintf("(code %d, errno %d, at statement %d: %s)", r.Code, r.Errno, r.At, r.Err)
}
