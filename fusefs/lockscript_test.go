package fusefs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The lock conformance table. A line is an actor, a descriptor, a verb and a
// range: "A1 wr reserved". Actors: A and B are processes, T is another thread
// of A, F a child of A that inherited its descriptors. Descriptors 1 and 2 are
// opened by each process for itself.
//
// Verbs: rd wr un (F_SETLK), getrd getwr (F_GETLK), waitwr (F_SETLKW),
// ofdrd ofdwr ofdun ofdgetwr, flocksh flockex flockun, open, close, dup (to
// descriptor 3), fork, kill, exec.

// lockRanges are byte ranges of a file, as start and length.
var lockRanges = map[string][2]int64{
	"pending": {pendingByte, 1}, "reserved": {pendingByte + 1, 1}, "shared": {pendingByte + 2, 510},
	"shared[7]":        {pendingByte + 9, 1}, // no lock of LiteFS begins there
	"pending+reserved": {pendingByte, 2}, "all": {pendingByte, 512}, "whole": {0, 0}, "nothing": {0, 100},
	"write": {walByte, 1}, "ckpt": {walByte + 1, 1}, "recover": {walByte + 2, 1},
	"read0": {walByte + 3, 1}, "read1": {walByte + 4, 1}, "read2": {walByte + 5, 1}, "read1-4": {walByte + 4, 4}, "dms": {walByte + 8, 1},
}

var lockVerbs = map[string]fileCall{
	"rd": {Call: "lock", Typ: unix.F_RDLCK}, "wr": {Call: "lock", Typ: unix.F_WRLCK}, "un": {Call: "lock", Typ: unix.F_UNLCK},
	"getrd": {Call: "getlk", Typ: unix.F_RDLCK}, "getwr": {Call: "getlk", Typ: unix.F_WRLCK}, "waitwr": {Call: "lockw", Typ: unix.F_WRLCK},
	"ofdrd": {Call: "ofdlock", Typ: unix.F_RDLCK}, "ofdwr": {Call: "ofdlock", Typ: unix.F_WRLCK}, "ofdun": {Call: "ofdlock", Typ: unix.F_UNLCK},
	"ofdgetwr": {Call: "ofdgetlk", Typ: unix.F_WRLCK},
	"flocksh":  {Call: "flock", Flags: unix.LOCK_SH | unix.LOCK_NB}, "flockex": {Call: "flock", Flags: unix.LOCK_EX | unix.LOCK_NB},
	"flockun": {Call: "flock", Flags: unix.LOCK_UN}, "open": {Call: "open", Flags: unix.O_RDWR}, "close": {Call: "close"}, "dup": {Call: "dup", Off: 3},
}

// lockRow is one script for one file, "db" or "db-shm". want are LiteFS's own
// answers in order; ours is set where ours are others, and why says so.
type lockRow struct {
	name, file, script, want, ours, why string
}

// actors plays rows on one directory.
type actors struct {
	t    *testing.T
	path string
	apps map[string]*app
}

func (p *actors) app(name string) *app {
	a := p.apps[name]
	if a == nil {
		a = startApp(p.t)
		p.apps[name] = a
		for slot := 1; slot <= 2; slot++ {
			require.Zero(p.t, a.file(fileCall{Call: "open", Path: p.path, Slot: slot, Flags: unix.O_RDWR | unix.O_CREAT}).Errno)
		}
	}
	return a
}

// line plays one line and returns its answer.
func (p *actors) line(line string) string {
	f := strings.Fields(line)
	who, verb := f[0][:1], f[1]
	process := map[string]string{"A": "A", "T": "A", "F": "A", "B": "B"}[who]
	a := p.app(process)
	switch verb {
	case "fork":
		require.Empty(p.t, a.do(order{Op: "fork"}).Err)
		return "-"
	case "exec":
		require.Empty(p.t, a.do(order{Op: "reexec"}).Err)
		return "-"
	case "kill":
		if who == "F" {
			require.Empty(p.t, a.do(order{Op: "killchild"}).Err)
		} else {
			a.kill()
			delete(p.apps, process)
		}
		return "-"
	}
	c, ok := lockVerbs[verb]
	require.True(p.t, ok, line)
	c.Slot = int(f[0][1] - '0')
	if verb == "open" {
		c.Path = p.path
	}
	if len(f) > 2 {
		r, ok := lockRanges[f[2]]
		require.True(p.t, ok, line)
		c.Off, c.Len = r[0], r[1]
	}
	ans := a.do(order{Op: map[string]string{"A": "file", "B": "file", "T": "thread", "F": "child"}[who], File: &c})
	require.NotNil(p.t, ans.File, "%s: %+v", line, ans)
	return lockAnswer(verb, ans.File)
}

func lockAnswer(verb string, r *fileResult) string {
	switch {
	case r.Errno != 0:
		return unix.ErrnoName(r.Errno)
	case strings.Contains(verb, "get"):
		return map[int64]string{unix.F_RDLCK: "rd", unix.F_WRLCK: "wr", unix.F_UNLCK: "free"}[r.N]
	}
	return "ok"
}

// play runs a row on dir and returns the answers.
func (row *lockRow) play(t *testing.T, dir string) string {
	p := &actors{t: t, path: dir + "/" + row.file, apps: map[string]*app{}}
	defer func() {
		for _, a := range p.apps {
			a.kill()
		}
	}()
	var got []string
	for line := range strings.SplitSeq(row.script, ";") {
		got = append(got, p.line(strings.TrimSpace(line)))
	}
	return strings.Join(got, " ")
}

// transcript shows script and answers side by side.
func (row *lockRow) transcript(answers string) string {
	var b strings.Builder
	list := strings.Fields(answers)
	for i, line := range strings.Split(row.script, ";") {
		fmt.Fprintf(&b, "%-24s %s\n", strings.TrimSpace(line), list[i])
	}
	return b.String()
}
