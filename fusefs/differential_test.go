package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
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

// difference is an answer that is ours on purpose.
type difference struct {
	why  string
	ends bool // the two sides are in different states from here: the script ends
	is   func(c call, theirs, ours *fileResult) bool
}

var differences = []difference{
	{
		"-shm is a file of our own, so that LiteFS cannot truncate it beneath a mapping: it outlives a drop for those who have it open", true,
		func(c call, theirs, ours *fileResult) bool {
			return c.kind() == KindSHM && theirs.Errno != 0 && ours.Errno == 0
		},
	},
	{
		"a change of journal mode away from WAL is refused: LiteFS's replicas die of it", true,
		func(c call, theirs, ours *fileResult) bool {
			begins := c.Call == "open" && c.kind() == KindJournal || c.kind() == KindJournal && bytes.HasPrefix(c.Data, journalMagic)
			ends := c.kind() == KindDatabase && len(c.Data) >= 100 && c.Data[18] == 1
			return (begins || ends) && theirs.Errno == 0 && ours.Errno == unix.EPERM
		},
	},
	{
		"an unlinked file is readable to its end by who has it open; on LiteFS's mount the kernel asks for its attributes by name and fails", false,
		func(c call, theirs, ours *fileResult) bool {
			return c.Call == "pread" && c.gone && theirs.Errno == unix.ENOENT && ours.Errno == 0
		},
	},
	{
		"a handle of a dropped database takes no locks: in LiteFS they belong to the name, and would be the next database's", true,
		func(c call, theirs, ours *fileResult) bool {
			return c.kind() == KindDatabase && c.dropped && (c.Call == "lock" || c.Call == "getlk") && ours.Errno == unix.EBADF
		},
	},
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

// deadly reports a call that breaks LiteFS alone, for good.
func deadly(c call) bool {
	if c.Call == "open" && c.Flags&unix.O_CREAT != 0 {
		// LiteFS answers a CREATE of these with ENOSYS; from then on its mount
		// creates nothing any more (linux fs/fuse/dir.c, no_create).
		_, k := parseName(c.Path)
		return k == KindPos || k == KindLock
	}
	// The unlock of WRITE with -wal missing makes it exit (db.go, CommitWAL).
	return c.Call == "lock" && c.Typ == unix.F_WRLCK && c.Off <= walByte && (c.Len == 0 || c.Off+c.Len > walByte)
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

func sameAnswer(c call, theirs, ours *fileResult) (same, ends bool) {
	if reflect.DeepEqual(theirs, ours) {
		return true, false
	}
	for _, d := range differences {
		if d.is(c, theirs, ours) {
			return true, d.ends
		}
	}
	return false, true
}

// One who creates NAME-pos on LiteFS's mount gets EIO, and so does from then on
// everybody who creates anything there. Through ours only the one does.
func TestCreateOfSpecialNameHarmsNobody(t *testing.T) {
	r := newRig(t)
	create := func(dir, name string) error {
		fd, err := unix.Open(dir+"/"+name, unix.O_RDWR|unix.O_CREAT, 0o666)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
	for _, name := range []string{"x-pos", "x-lock", "-pos"} {
		require.ErrorIs(t, create(r.mount, name), unix.EIO)
		require.NoError(t, create(r.mount, "after"+name[len(name)-3:]))
	}
	require.NoError(t, create(r.lower, "below"))
	require.ErrorIs(t, create(r.lower, "x-pos"), unix.EIO, "LiteFS's own answer")
	require.ErrorIs(t, create(r.lower, "below2"), unix.EIO, "the reason not to ask it")
	r.fence()
	require.ErrorIs(t, create(r.mount, "x-pos"), unix.EROFS)
}

func TestDifferential(t *testing.T) {
	bare, fenced := startLiteFS(t), newRig(t)
	l, o := newSide(t, bare, bare.lower), newSide(t, fenced, fenced.mount)
	end := time.Now().Add(differentialTime())
	scripts, calls := 0, 0
	property := func(rt *rapid.T) {
		script := genScript().Draw(rt, "script")
		if time.Now().After(end) && !rt.Failed() && scripts > 0 {
			return
		}
		scripts++
		prefix := fmt.Sprintf("s%d-", scripts)
		defer l.clean(prefix)
		defer o.clean(prefix)
		var trace []string
		open, gone := opened{}, map[string]bool{}
		for i, c := range script {
			c.on = open[[2]int{c.who, c.Slot}]
			if deadly(c) || c.Call == "lockw" && c.kind() != KindLock {
				continue // LiteFS waits on NAME-lock only
			}
			calls++
			theirs, ours := l.do(prefix, c), o.do(prefix, c)
			c.on = open.follow(c, theirs.Errno == 0)
			base, _ := parseName(c.on)
			c.dropped, c.gone = gone[base], gone[base] || gone[c.on]
			if c.Call == "unlink" && c.kind() == KindDatabase && theirs.Errno == 0 {
				// LiteFS tells its kernel of the other files by a goroutine, for
				// which nothing can wait (fuse/root_node.go, Remove).
				time.Sleep(10 * time.Millisecond)
			}
			if c.Call == "unlink" && theirs.Errno == 0 {
				gone[c.on] = true
			}
			trace = append(trace, fmt.Sprintf("%2d %v\n     -> %v", i, c, theirs))
			same, ends := sameAnswer(c, theirs, ours)
			if !same {
				rt.Fatalf("the fenced mount answers otherwise:\n%s\nours -> %v", strings.Join(trace, "\n"), ours)
			}
			if ends {
				return
			}
		}
	}
	for n := 0; time.Now().Before(end) && !t.Failed(); n++ {
		t.Run(fmt.Sprint(n), rapid.MakeCheck(property))
	}
	t.Logf("%d scripts, %d calls", scripts, calls)
	require.Positive(t, calls)
	for _, s := range []*side{l, o} {
		select {
		case <-s.rig.exit:
			t.Error("LiteFS is gone")
		default:
		}
	}
	for _, s := range []*side{l, o} {
		s.apps[0].kill()
		s.apps[1].kill()
	}
	fenced.eventually(func() bool { return fenced.fs.Stats().LocksHeld == 0 }, "nothing stays locked")
}

// differentialTime is how long scripts are tried; FUSEFS_DIFFERENTIAL=10m
// makes it long.
func differentialTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FUSEFS_DIFFERENTIAL")); err == nil {
		return d
	}
	return 15 * time.Second
}
