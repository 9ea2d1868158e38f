package fusefs

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/litefence/litefence/policy"
)

// The oracle is LiteFS itself: the same script of system calls runs on a
// LiteFS mount and on a fenced mount over another LiteFS, and every answer must
// be the same, errno included, but for what the table below allows.

// side is one of the two mounts with its applications.
type side struct {
	dir  string
	apps [2]*app
	rig  *rig
}

func newSide(t *testing.T, r *rig, dir string) *side {
	return &side{dir: dir, rig: r, apps: [2]*app{startApp(t), startApp(t)}}
}

func (s *side) do(prefix string, c call) *fileResult {
	fc := c.fileCall
	if fc.Path != "" {
		fc.Path = s.dir + "/" + withPrefix(prefix, fc.Path)
	}
	switch {
	case fc.Call == "readdir":
		fc.Path2 = prefix
	case fc.Path2 != "":
		fc.Path2 = s.dir + "/" + withPrefix(prefix, fc.Path2)
	}
	return s.apps[c.who].file(fc)
}

func withPrefix(prefix, name string) string {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
		return name
	}
	return prefix + name
}

// clean ends a script.
func (s *side) clean(prefix string) {
	for who := range s.apps {
		s.do(prefix, call{who: who, fileCall: fileCall{Call: "closeall"}})
	}
	for _, name := range []string{nameA, nameB, strings.Repeat("n", 240)} {
		for _, suffix := range []string{"-journal", "-wal", "-shm", ""} {
			s.do(prefix, call{fileCall: fileCall{Call: "unlink", Path: name + suffix}})
		}
	}
}

// deadly reports a call that breaks LiteFS alone, for good, or that would wait.
func deadly(c call) bool {
	if c.Call == "open" && c.Flags&unix.O_CREAT != 0 {
		// LiteFS answers a CREATE of these with ENOSYS; from then on its mount
		// creates nothing any more (linux fs/fuse/dir.c, no_create).
		_, k := parseName(c.Path)
		return k == KindPos || k == KindLock
	}
	if c.Call == "lockw" {
		// Only NAME-lock waits; the rest of LiteFS has no F_SETLKW, and ours does
		// (the lock table has a row for it).
		return c.kind() != KindLock
	}
	// The unlock of WRITE with -wal missing makes it exit (db.go, CommitWAL).
	return c.Call == "lock" && c.Typ == unix.F_WRLCK && c.Off <= walByte && (c.Len == 0 || c.Off+c.Len > walByte)
}

// notOnReplica reports calls that scripts do not make on replicas: by which
// LiteFS would make a database of its own there (store.go, CreateDB), of which
// it cannot get rid; by which they would ask for the HALT lock, of which the two
// have only one; and those on -shm, which LiteFS makes there by itself
// (updateSHM) and which is not ours.
func notOnReplica(c call) bool {
	_, k := parseName(c.Path)
	_, to := parseName(c.Path2)
	makes := c.Call == "open" && c.Flags&unix.O_CREAT != 0 && k == KindDatabase && c.Path != nameA
	return makes || c.Call == "lockw" || k == KindSHM || to == KindSHM
}

// opened says what is open in which slot of which application.
type opened map[[2]int]string

// follow returns the name that c is about, and keeps the book.
func (o opened) follow(c call, ok bool) string {
	at := [2]int{c.who, c.Slot}
	switch {
	case c.Path != "" && c.Call != "open":
		return c.Path
	case c.Call == "open" && ok:
		o[at] = c.Path
		return c.Path
	case c.Call == "open":
		delete(o, at)
		return c.Path
	case c.Call == "dup" && ok:
		o[[2]int{c.who, int(c.Off)}] = o[at]
	}
	return o[at]
}

// pair is the two sides.
type pair struct {
	theirs, ours *side
	replicas     bool
}

func newPair(t *testing.T) *pair {
	bare, fenced := startLiteFS(t), newRig(t)
	// Within a transaction the error of a write is told late, at the commit point
	// at the latest. What that is, not when, is compared here.
	fenced.fs.hooks.inOrder.Store(true)
	return &pair{theirs: newSide(t, bare, bare.lower), ours: newSide(t, fenced, fenced.mount)}
}

// newReplicaPair is two replicas of one primary, which has a database for every
// script; the gate is open, so that the answers are LiteFS's.
func newReplicaPair(t *testing.T) (*pair, *rig) {
	p := newRig(t)
	bare, fenced := startNode(t, p.url), newReplica(p)
	fenced.fs.hooks.inOrder.Store(true)
	fenced.setState(policy.FenceState{})
	require.NoError(t, fenced.gate.Open(1, forever))
	return &pair{theirs: newSide(t, bare, bare.lower), ours: newSide(t, fenced, fenced.mount), replicas: true}, p
}

// play runs a script on both sides. It returns an error at the first answer
// that differs without a reason, and the differences that have one.
func (p *pair) play(prefix string, script []call) (seen []*difference, err error) {
	defer p.theirs.clean(prefix)
	defer p.ours.clean(prefix)
	var trace []string
	open, gone := opened{}, map[string]bool{}
	for i, c := range script {
		c.on = open[[2]int{c.who, c.Slot}]
		if deadly(c) || p.replicas && notOnReplica(c) {
			continue
		}
		theirs, ours := p.theirs.do(prefix, c), p.ours.do(prefix, c)
		c.on = open.follow(c, theirs.Errno == 0)
		base, _ := parseName(c.on)
		c.dropped, c.gone = gone[base], gone[base] || gone[c.on]
		if c.Call == "unlink" && theirs.Errno == 0 {
			gone[c.on] = true
			if c.kind() == KindDatabase {
				// LiteFS tells its kernel of the other files by a goroutine, for
				// which nothing can wait (fuse/root_node.go, Remove).
				time.Sleep(10 * time.Millisecond)
			}
		}
		trace = append(trace, fmt.Sprintf("%2d %v\n     -> %v", i, c, theirs))
		if p.replicas {
			likePrimary(c, theirs)
		}
		d, same := judge(c, theirs, ours)
		if !same {
			return seen, fmt.Errorf("the fenced mount answers otherwise:\n%s\nours -> %v", strings.Join(trace, "\n"), ours)
		}
		if d != nil {
			seen = append(seen, d)
		}
		if d != nil && d.ends || tookPart(c, theirs) {
			break
		}
	}
	return seen, nil
}

// judge says whether the answers are the same, or why they may not be.
func judge(c call, theirs, ours *fileResult) (*difference, bool) {
	if reflect.DeepEqual(theirs, ours) {
		return nil, true
	}
	for i := range differences {
		if d := &differences[i]; d.is(c, theirs, ours) {
			return d, true
		}
	}
	return nil, false
}

// tookPart reports a range lock of which LiteFS may have kept a part, where we
// took nothing (the lock table has a row for it): from here the sides differ.
func tookPart(c call, theirs *fileResult) bool {
	return c.Call == "lock" && theirs.Errno == unix.EAGAIN && c.Len > 1
}

// likePrimary takes from a replica's answer what is the primary's in ours: modes,
// or a connection would be read-only for its life, and no -shm of LiteFS's.
func likePrimary(c call, r *fileResult) {
	r.Names = slices.DeleteFunc(r.Names, func(name string) bool { return strings.HasPrefix(name, nameA+"-shm ") })
	if c.kind() == KindDatabase {
		r.Text = strings.NewReplacer("mode=100444", "mode=100666", "mode=40555", "mode=40777").Replace(r.Text)
	}
}

func TestDifferential(t *testing.T) {
	p := newPair(t)
	p.check(t, genScript(), func(string, []call) {})
	r := p.ours.rig
	r.eventually(func() bool { return r.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
}

// The same on replicas.
func TestDifferentialOnAReplica(t *testing.T) {
	p, primary := newReplicaPair(t)
	a := startApp(t)
	made := 0
	p.check(t, genScript(), func(prefix string, script []call) {
		conn := itoa(made)
		a.open(conn, primary.path(prefix+nameA))
		a.must(conn, "PRAGMA journal_mode="+journalModes[len(script)%len(journalModes)]) // told by the script: it may have to be repeated
		a.must(conn, "CREATE TABLE t (x)")
		a.must(conn, "INSERT INTO t VALUES ('x')")
		require.Empty(t, a.do(order{Op: "close", Conn: conn}).Err)
		inStep(primary, p.ours.rig, prefix+nameA)
		inStep(primary, p.theirs.rig, prefix+nameA)
		made++
	})
}

// check tries random scripts until the time is over; prepare runs before each.
func (p *pair) check(t *testing.T, scripts *rapid.Generator[[]call], prepare func(prefix string, script []call)) {
	limit, random := differentialTime()
	end := time.Now().Add(limit)
	count, calls, failed := 0, 0, false
	property := func(rt *rapid.T) {
		script := scripts.Draw(rt, "script")
		if random && time.Now().After(end) && !failed {
			return
		}
		count++
		calls += len(script)
		prefix := fmt.Sprintf("s%d-", count)
		prepare(prefix, script)
		if _, err := p.play(prefix, script); err != nil {
			failed = true // from now on it shrinks, however late
			rt.Fatal(err)
		}
	}
	for n := 0; !failed && (random && time.Now().Before(end) || !random && n < fixedSeeds); n++ {
		if !random {
			require.NoError(t, flag.Set("rapid.seed", fmt.Sprint(n+1)))
			defer flag.Set("rapid.seed", "0")
		}
		t.Run(fmt.Sprint(n), rapid.MakeCheck(property))
	}
	t.Logf("%d scripts, %d calls", count, calls)
	require.Positive(t, calls)
	p.theirs.rig.alive()
	p.ours.rig.alive()
	p.ours.apps[0].kill()
	p.ours.apps[1].kill()
}

// differentialTime is for how long random scripts are tried. Without it, in
// `make test`, the same ones are each time: a difference nobody knew of is for
// the long run to find, not for somebody else's change.
func differentialTime() (d time.Duration, random bool) {
	d, err := time.ParseDuration(os.Getenv("FUSEFS_DIFFERENTIAL"))
	return d, err == nil
}

// fixedSeeds is how many times rapid's number of scripts that is, from the seeds
// 1, 2 and so on.
const fixedSeeds = 2
