package fusefs

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// difference is an answer that is ours on purpose.
type difference struct {
	why   string
	ends  bool // the two sides are in different states from here: the script ends
	is    func(c call, theirs, ours *fileResult) bool
	shown []fileCall // a script that ends in it
}

var differences = []difference{
	{
		why:  "-shm is a file of our own, so that LiteFS cannot truncate it beneath a mapping; who has it open keeps it after a drop",
		ends: true,
		is: func(c call, theirs, ours *fileResult) bool {
			return c.kind() == KindSHM && theirs.Errno != 0 && ours.Errno == 0
		},
		shown: script("create", "delete", "shm", "drop").then(fileCall{Call: "fstat", Slot: 2}),
	},
	{
		why:  "a change of journal mode away from WAL is refused: LiteFS's replicas die of it",
		ends: true,
		is: func(c call, theirs, ours *fileResult) bool {
			begins := c.kind() == KindJournal && (c.Call == "open" || bytes.HasPrefix(c.Data, journalMagic))
			ends := c.kind() == KindDatabase && len(c.Data) >= 100 && c.Data[18] == 1
			return (begins || ends) && (theirs.Errno == 0 || theirs.Errno == unix.EACCES) && ours.Errno == unix.EPERM
		},
		shown: script("create").then(
			fileCall{Call: "pwrite", Slot: 0, Data: page1(true, 2)}, fileCall{Call: "unlink", Path: nameA + "-journal"},
			fileCall{Call: "open", Path: nameA + "-journal", Slot: 1, Flags: unix.O_RDWR | unix.O_CREAT}),
	},
	{
		why:  "what PERSIST leaves of a journal is cut: LiteFS would restore old pages from behind its end",
		ends: true,
		is: func(c call, theirs, ours *fileResult) bool {
			shorter := strings.Contains(ours.Text, "size=0 ") || ours.N == 0 && theirs.N > 0
			return c.kind() == KindJournal && shorter && theirs.Errno == 0 && ours.Errno == 0
		},
		shown: script("create", "persist"),
	},
	{
		why: "an open file that was unlinked still has a size; on LiteFS's mount the kernel asks for it by name, and fails",
		is: func(c call, theirs, ours *fileResult) bool {
			return c.Path == "" && c.gone && theirs.Errno == unix.ENOENT && ours.Errno == 0
		},
		shown: script("create", "delete").then(fileCall{Call: "pread", Slot: 1, Off: 1 << 20}),
	},
	{
		why:  "a handle of a dropped database takes no locks: in LiteFS they belong to the name, and would be the next database's",
		ends: true,
		is: func(c call, theirs, ours *fileResult) bool {
			return c.kind() == KindDatabase && c.dropped && (c.Call == "lock" || c.Call == "getlk") && ours.Errno == unix.EBADF
		},
		shown: script("create", "delete", "drop").then(phrases["lock"][0]),
	},
}

type fileCallList []fileCall

func script(names ...string) (list fileCallList) {
	for _, name := range names {
		list = append(list, phrases[name]...)
	}
	return list
}

func (l fileCallList) then(c ...fileCall) []fileCall { return append(l, c...) }

// Every difference is still one: what is the same by now has no place in the
// table.
func TestDifferencesAreStillThere(t *testing.T) {
	p := newPair(t)
	for i := range differences {
		d := &differences[i]
		var list []call
		for _, c := range d.shown {
			list = append(list, call{fileCall: c})
		}
		seen, err := p.play("d"+itoa(i)+"-", list)
		require.NoError(t, err)
		require.True(t, slices.Equal([]*difference{d}, seen), d.why)
	}
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
