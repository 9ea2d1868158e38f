package fusefs

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// good is a history in which all is well, with the database at its end.
func good() (*history, map[string]row, int) {
	ok := &reply{}
	h := &history{
		mode: "WAL",
		attempts: []*attempt{
			{span: span{10, 20}, id: "a", parts: 2, last: 3, reply: ok},
			{span: span{30, 40}, id: "b", parts: 1, last: 3, reply: &reply{At: 3, Code: 778, Errno: int(syscall.EROFS), Err: "disk I/O error"}},
			{span: span{50, 60}, id: "c", parts: 3, last: 3}, // killed
			{span: span{70, 80}, id: "d", parts: 1, last: 3, reply: ok},
			{span: span{102, 108}, id: "e", parts: 1, last: 3, reply: &reply{At: 3, Code: 778, Err: "disk I/O error"}},
			{span: span{120, 130}, id: "f", parts: 1, last: 3, abort: true, reply: ok},
		},
		looks: []*look{
			{span: span{21, 25}, on: onPrimary, seq: 1, reply: ok},
			{span: span{51, 55}, on: onPrimary, seq: 1, reply: ok},
			{span: span{81, 85}, on: onPrimary, seq: 3, reply: ok},
			{span: span{82, 90}, on: onReplica, seq: 1, reply: ok},
			{span: span{82, 90}, on: onPrimary, reply: &reply{Code: 5, Err: "database is locked"}},
			{span: span{145, 155}, on: onPrimary, reply: &reply{Code: 266, Err: "disk I/O error"}},
		},
		fenced: []span{{100, 110}},
		cuts:   []span{{150, 160}},
	}
	return h, map[string]row{"a": {2, 1}, "c": {3, 2}, "d": {1, 3}}, 3
}

func TestTortureCheckerAccepts(t *testing.T) {
	h, have, seq := good()
	ok := &reply{}
	require.Empty(t, h.check(have, seq))
	delete(have, "c") // in doubt, so it may be missing too
	have["d"] = row{1, 2}
	h.looks[2].seq = 2
	require.Empty(t, h.check(have, 2))
	h.mode, h.shut = "DELETE", []span{{85, 95}}
	h.attempts[1].reply = nil
	h.ckpts = []*look{{reply: ok}, {reply: &reply{Code: 5, Err: "x"}}, {span: span{140, 151}, reply: &reply{Code: 266, Err: "x"}}}
	h.looks[4].reply = &reply{Code: 2570, Err: "x"} // rolled a journal back when the fence engaged
	require.Empty(t, h.check(have, 2))
}

func TestTortureCheckerDetects(t *testing.T) {
	for want, plant := range map[string]func(h *history, have map[string]row, seq *int){
		"acknowledged and lost": func(h *history, have map[string]row, seq *int) {
			delete(have, "d")
			*seq = 2
			h.looks[2].seq = 2
		},
		"refused and there":         func(h *history, have map[string]row, seq *int) { have["b"] = row{1, 0} },
		"e by  [102..108]":          func(h *history, have map[string]row, seq *int) { have["e"] = row{1, 0} },
		"f by  [120..130]":          func(h *history, have map[string]row, seq *int) { have["f"] = row{1, 0} },
		"torn: 1 of its 2":          func(h *history, have map[string]row, seq *int) { have["a"] = row{1, 1} },
		"torn: 2 of its 3":          func(h *history, have map[string]row, seq *int) { have["c"] = row{2, 2} },
		"nobody wrote it":           func(h *history, have map[string]row, seq *int) { have["x"] = row{1, 0} },
		"both took number 3":        func(h *history, have map[string]row, seq *int) { have["c"] = row{3, 3} },
		"the last is 3":             func(h *history, have map[string]row, seq *int) { have["d"] = row{1, 4} },
		"the last number is 4":      func(h *history, have map[string]row, seq *int) { *seq = 4 },
		"acknowledged while fenced": func(h *history, have map[string]row, seq *int) { h.fenced = []span{{69, 81}} },
		"no writer may get":         func(h *history, have map[string]row, seq *int) { h.attempts[1].reply.Code = 11 },
		"no reader may get":         func(h *history, have map[string]row, seq *int) { h.cuts = nil },
		"(code 778, errno 0, at statement 0: x): an error that no reader": func(h *history, have map[string]row, seq *int) {
			h.mode = "DELETE"
			h.attempts[1].reply, h.attempts[4].reply = nil, nil
			h.looks[4].reply = &reply{Code: 778, Err: "x"} // while the gate was open all the time
		},
		"(code 11, errno 0, at statement 0: x): an error that no reader": func(h *history, have map[string]row, seq *int) {
			h.looks[5].reply = &reply{Code: 11, Err: "x"} // cut off, and told that the database is malformed
		},
		"a by  [10..20] (code 266": func(h *history, have map[string]row, seq *int) {
			h.attempts[0].reply = &reply{Code: 266, Err: "x"} // with the gate open all the time
		},
		"b by  [30..40] (code 15": func(h *history, have map[string]row, seq *int) {
			h.attempts[1].reply = &reply{Code: 15, Err: "x"} // and no change of role
		},
		"no checkpoint may get": func(h *history, have map[string]row, seq *int) {
			h.ckpts = []*look{{span: span{20, 30}, reply: &reply{Code: 11, Err: "x"}}}
		},
		"sum is off": func(h *history, have map[string]row, seq *int) { h.looks[0].bad = "sum is off" },
		"3 had been acknowledged before": func(h *history, have map[string]row, seq *int) {
			h.looks[2].seq = 2
		},
		"had seen 3 before": func(h *history, have map[string]row, seq *int) {
			h.looks[1].on, h.looks[1].seq = onReplica, 3
		},
		"saw number 9; the last is 3": func(h *history, have map[string]row, seq *int) { h.looks[2].seq = 9 },
		"planted":                     func(h *history, have map[string]row, seq *int) { h.accuse("planted") },
	} {
		h, have, seq := good()
		plant(h, have, &seq)
		require.Contains(t, strings.Join(h.check(have, seq), "\n"), want)
	}
}

// The rules by which an error is called a refusal, one by one.
func TestTortureOutcomes(t *testing.T) {
	const commit = 2
	fail := func(code, errno, at int) *reply { return &reply{Code: code, Errno: errno, At: at, Err: "x"} }
	erofs, eio := int(syscall.EROFS), int(syscall.EIO)
	for _, c := range []struct {
		mode string
		r    *reply
		want outcome
	}{
		{"WAL", nil, unknown},
		{"WAL", &reply{At: commit}, acknowledged},
		{"WAL", fail(778, eio, commit-1), refused},
		{"WAL", fail(778, 0, commit), unknown},
		{"WAL", fail(778, eio, commit), unknown},
		{"WAL", fail(778, erofs, commit), refused},
		{"PERSIST", fail(778, 0, commit), unknown},
		{"DELETE", fail(778, 0, commit), refused},
		{"DELETE", fail(2570, 0, commit), unknown},
		{"DELETE", fail(2570, eio, commit), unknown},
		{"DELETE", fail(2570, erofs, commit), refused},
		{"DELETE", fail(2314, eio, commit), unknown},
		{"TRUNCATE", fail(1546, 0, commit), unknown},
		{"TRUNCATE", fail(1546, erofs, commit), refused},
		{"DELETE", fail(10, 0, commit), unknown},
		{"DELETE", fail(14, 0, commit), refused},
		{"DELETE", fail(5, 0, commit), refused},
		{"DELETE", fail(261, 0, commit), refused},
	} {
		h := &history{mode: c.mode, fenced: []span{{0, 10}}}
		require.Equal(t, c.want, h.outcomeOf(&attempt{span: span{20, 30}, last: commit, reply: c.r}), "%s %v", c.mode, c.r)
	}
	h := &history{mode: "WAL", fenced: []span{{0, 10}}}
	require.Equal(t, refused, h.outcomeOf(&attempt{span: span{1, 10}, last: commit, reply: fail(778, eio, commit)}))
	require.Equal(t, unknown, h.outcomeOf(&attempt{span: span{1, 11}, last: commit, reply: fail(778, eio, commit)}))
}
