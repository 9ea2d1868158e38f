package quorum

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// realState makes the state of a node that has lived: records, two snapshots, a
// fence that was set and lifted.
func realState(t *testing.T) string {
	c := newCluster(t, 1, nil)
	w := c.writer()
	for i := range 40 {
		w.lite.commit("db", uint64(i))
		_, err := w.apply(Record{Kind: KindClusterID, Term: w.raft.CurrentTerm(), ClusterID: fmt.Sprint("LFSC", i, strings.Repeat("x", 300))}, time.Second)
		require.NoError(t, err)
		if i%20 == 19 {
			require.NoError(t, w.raft.Snapshot().Error())
		}
	}
	require.NoError(t, w.SetFence(true, "maintenance"))
	require.NoError(t, w.SetFence(false, ""))
	c.stop(w.name)
	return w.dir
}

// tree is all that is on disk below dir.
func tree(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		var sum [32]byte
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(b)
		}
		all[path] = fmt.Sprintf("%v %x", fi.Mode(), sum)
		return nil
	}))
	return all
}

func edit(t *testing.T, path string, f func([]byte) []byte) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, f(b), 0o600))
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x5a; return b }
}

func noise(b []byte) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// newestSnapshot is the directory of the newest snapshot.
func newestSnapshot(t *testing.T, dir string) string {
	all, err := filepath.Glob(filepath.Join(dir, "snapshots", "*-*-*"))
	require.NoError(t, err)
	require.Len(t, all, 2)
	return all[1]
}

const page = 4096

var damages = []struct {
	name string
	do   func(t *testing.T, dir string)
	file string // named in the error
	want string
}{
	{"emptied", func(t *testing.T, d string) { edit(t, d+"/raft.db", func([]byte) []byte { return nil }) }, "raft.db", "it is empty"},
	{"cut to half", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func(b []byte) []byte { return b[:len(b)/2/page*page] })
	}, "raft.db", "cut short"},
	{"cut in the header", func(t *testing.T, d string) { edit(t, d+"/raft.db", func(b []byte) []byte { return b[:100] }) }, "raft.db", "cut short"},
	{"cut by a page", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func(b []byte) []byte { m, _ := newestMeta(b); return b[:(m.high-1)*page] })
	}, "raft.db", "cut short"},
	{"garbage", func(t *testing.T, d string) { edit(t, d+"/raft.db", noise) }, "raft.db", "damaged"},
	{"another kind of file", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func([]byte) []byte { return []byte(strings.Repeat("SQLite format 3\x00", 999)) })
	}, "raft.db", "damaged"},
	{"first header", func(t *testing.T, d string) { edit(t, d+"/raft.db", flip(16+48)) }, "raft.db", "first header"},
	{"second header", func(t *testing.T, d string) { edit(t, d+"/raft.db", flip(page+16+16)) }, "raft.db", "second header"},
	{"an older header", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func(b []byte) []byte { // a lost write of the newest
			m, _ := newestMeta(b)
			at := int(m.txid%2) * page
			copy(b[at+16:at+80], b[(page-at)+16:(page-at)+80])
			return b
		})
	}, "raft.db", "do not follow each other"},
	{"list of free pages", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func(b []byte) []byte { m, _ := newestMeta(b); b[m.freelist*page+16] ^= 1; return b })
	}, "raft.db", "free"},
	{"a page of records", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func(b []byte) []byte {
			m, _ := newestMeta(b)
			copy(b[m.root*page:], noise(make([]byte, page)))
			return b
		})
	}, "raft.db", "page"},
	{"a record", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func(b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), `{"kind":"clusterid"`, `<"kind":"clusterid"`))
		})
	}, "raft.db", "does not parse"},
	{"the identity", func(t *testing.T, d string) {
		edit(t, d+"/raft.db", func(b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), `{"name":"n1"`, `{"name":"n1\`))
		})
	}, "raft.db", "identity does not parse"},
	{"raft.db is missing", func(t *testing.T, d string) { require.NoError(t, os.Remove(d+"/raft.db")) }, "raft.db", "missing beside its snapshots"},
	{"raft.db is a directory", func(t *testing.T, d string) {
		require.NoError(t, os.Remove(d+"/raft.db"))
		require.NoError(t, os.Mkdir(d+"/raft.db", 0o700))
	}, "raft.db", "is a directory"},
	{"a new store beside old snapshots", func(t *testing.T, d string) {
		require.NoError(t, os.Remove(d+"/raft.db"))
		_, err := createStore(d, d+"/raft.db", "n1")
		require.NoError(t, err)
	}, "raft.db", "it has seen term"},
	{"a log that begins beyond the snapshots", func(t *testing.T, d string) {
		b, err := boltdb.NewBoltStore(d + "/raft.db")
		require.NoError(t, err)
		require.NoError(t, b.DeleteRange(1, 5))
		require.NoError(t, b.Close())
		require.NoError(t, os.RemoveAll(d+"/snapshots"))
	}, "raft.db", "no snapshot beside it reaches that far"},
	{"a gap in the log", func(t *testing.T, d string) {
		b, err := boltdb.NewBoltStore(d + "/raft.db")
		require.NoError(t, err)
		last, err := b.LastIndex()
		require.NoError(t, err)
		require.NoError(t, b.DeleteRange(last-1, last-1))
		require.NoError(t, b.Close())
		require.NoError(t, os.RemoveAll(newestSnapshot(t, d)))
	}, "raft.db", "log not found"},
	{"a term that went back", func(t *testing.T, d string) {
		b, err := boltdb.NewBoltStore(d + "/raft.db")
		require.NoError(t, err)
		require.NoError(t, b.SetUint64([]byte("CurrentTerm"), 1))
		require.NoError(t, b.Close())
	}, "raft.db", "its term is 1"},
	{"snapshot's state", func(t *testing.T, d string) { edit(t, newestSnapshot(t, d)+"/state.bin", flip(20)) }, "state.bin", "checksum"},
	{"snapshot cut short", func(t *testing.T, d string) {
		edit(t, newestSnapshot(t, d)+"/state.bin", func(b []byte) []byte { return b[:9] })
	}, "state.bin", "has 9 bytes of"},
	{"snapshot without state", func(t *testing.T, d string) { require.NoError(t, os.Remove(newestSnapshot(t, d)+"/state.bin")) }, "state.bin", "no such file"},
	{"snapshot without meta", func(t *testing.T, d string) { require.NoError(t, os.Remove(newestSnapshot(t, d)+"/meta.json")) }, "meta.json", "no such file"},
	{"snapshot's meta", func(t *testing.T, d string) { edit(t, newestSnapshot(t, d)+"/meta.json", noise) }, "meta.json", "does not parse"},
	{"fence.json emptied", func(t *testing.T, d string) { edit(t, d+"/fence.json", func([]byte) []byte { return nil }) }, "fence.json", "damaged"},
	{"fence.json garbled", func(t *testing.T, d string) { edit(t, d+"/fence.json", noise) }, "fence.json", "damaged"},
	{"fence.json says nothing", func(t *testing.T, d string) {
		edit(t, d+"/fence.json", func([]byte) []byte { return []byte("{}") })
	}, "fence.json", "does not say whether"},
	{"fence.json is null", func(t *testing.T, d string) {
		edit(t, d+"/fence.json", func([]byte) []byte { return []byte("null") })
	}, "fence.json", "does not say whether"},
	{"fence.json is a directory", func(t *testing.T, d string) {
		require.NoError(t, os.Remove(d+"/fence.json"))
		require.NoError(t, os.Mkdir(d+"/fence.json", 0o700))
	}, "fence.json", "is a directory"},
}

// Whatever is wrong with the state on disk: one clear line, no panic, and
// nothing on disk is changed.
func TestDamagedStateIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	sound := realState(t)
	for _, tc := range damages {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(sound)))
			tc.do(t, dir)
			refusedAndKept(t, dir, "n1", tc.file, tc.want)
		})
	}
	t.Run("sound", func(t *testing.T) {
		before := tree(t, sound)
		_, err := checkState(sound, "n1")
		require.NoError(t, err)
		require.Equal(t, before, tree(t, sound), "looking changes nothing")
		s, err := openStore(sound, "n1", testLog("n1"))
		require.NoError(t, err)
		require.NoError(t, s.close())
	})
}

func refusedAndKept(t *testing.T, dir, name string, want ...string) {
	t.Helper()
	before := tree(t, dir)
	_, err := openStore(dir, name, testLog(name))
	require.Error(t, err)
	for _, w := range want {
		require.ErrorContains(t, err, w)
	}
	require.Contains(t, err.Error(), dir)
	require.NotContains(t, err.Error(), "\n")
	require.Equal(t, before, tree(t, dir), "nothing on disk is changed")
}

// Single changed bytes, anywhere: refused, or of no consequence for raft. bbolt
// alone panics on many of these.
func TestChangedBytesNeverPanic(t *testing.T) {
	t.Parallel()
	sound := realState(t)
	db, err := os.ReadFile(filepath.Join(sound, "raft.db"))
	require.NoError(t, err)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	refused, dir := 0, t.TempDir()
	for i := range 150 {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.CopyFS(dir, os.DirFS(sound)))
		b := append([]byte(nil), db...)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(b))
			if i%2 == 0 { // where the pages say what they are
				at = at/page*page + r.IntN(100)
			}
			b[at] ^= byte(1 + r.IntN(255))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "raft.db"), b, 0o600))
		s, err := openStore(dir, "n1", testLog("n1"))
		if err != nil {
			refused++
			after, err := os.ReadFile(filepath.Join(dir, "raft.db"))
			require.NoError(t, err)
			require.Equal(t, b, after)
			continue
		}
		require.NoError(t, s.bolt.StoreLog(&raft.Log{Index: 1 << 20, Term: 9, Data: []byte("{}")}))
		require.NoError(t, s.close())
	}
	require.Greater(t, refused, 40)
}

// The check never refuses what bbolt itself has written.
func TestBoltCheckTakesWhatBoltWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	first, next := uint64(1), uint64(1)
	for range 25 {
		b, err := boltdb.New(boltdb.Options{Path: path, NoSync: true, BoltOptions: &bbolt.Options{NoFreelistSync: false}})
		require.NoError(t, err)
		for range r.IntN(40) {
			switch r.IntN(4) {
			case 0:
				require.NoError(t, b.SetUint64([]byte("CurrentTerm"), next))
			case 1:
				upTo := first + uint64(r.IntN(int(next-first)+1))
				require.NoError(t, b.DeleteRange(first, upTo))
				first = min(upTo+1, next)
			default:
				var logs []*raft.Log
				for range 1 + r.IntN(30) {
					logs = append(logs, &raft.Log{Index: next, Data: make([]byte, r.IntN(1<<r.IntN(16)))})
					next++
				}
				require.NoError(t, b.StoreLogs(logs))
			}
			require.NoError(t, checkBolt(path), "while it is in use")
		}
		require.NoError(t, b.Close())
		require.NoError(t, checkBolt(path))
	}
}

func FuzzBoltCheck(f *testing.F) {
	path := filepath.Join(f.TempDir(), "raft.db")
	_, err := createStore(filepath.Dir(path), path, "n1")
	require.NoError(f, err)
	b, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(b, 0, byte(0))
	f.Add(b, 2*page+10, byte(1))
	f.Add(b[:page], 100, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at int, v byte) {
		if at >= 0 && at < len(b) {
			b[at] ^= v
		}
		_ = checkBoltBytes(b) // no panic, no endless loop
	})
}

func TestStateOfAnotherNode(t *testing.T) {
	dir := t.TempDir()
	_, err := createStore(dir, filepath.Join(dir, "raft.db"), "n1")
	require.NoError(t, err)
	refusedAndKept(t, dir, "n2", "raft.db", `this is the state of node "n1", the config says node: n2; correct node or quorum.data-dir`)
	_, err = openStore(dir, "n2", testLog("n2"))
	require.ErrorAs(t, err, new(ConfigError))
}

func TestStoreInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	refusedAndKept(t, dir, "n1", "another litefence runs on this data directory; stop it, or give this one a quorum.data-dir of its own")
	require.NoError(t, s.close())
}

// A daemon that died while it made its first store left nothing that counts.
func TestHalfMadeStoreIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raft.db.new"), []byte("half"), 0o600))
	s, err := openStore(dir, "n1", testLog("n1"))
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "raft.db.new"))
	require.NoError(t, s.close())
}

func TestDataDirIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	for _, dir := range []string{file, file + "/below"} {
		_, err := openStore(dir, "n1", testLog("n1"))
		require.ErrorContains(t, err, "quorum.data-dir "+dir)
		require.ErrorContains(t, err, "not a directory; name a directory")
		require.ErrorAs(t, err, new(ConfigError))
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
}

// mountAt mounts for one test.
func mountAt(t *testing.T, source, dir, kind string, flags uintptr, data string) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	require.NoError(t, unix.Mount(source, dir, kind, flags, data))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
}

func TestReadOnlyDataDir(t *testing.T) {
	dir := t.TempDir()
	for _, fresh := range []bool{true, false} {
		if !fresh {
			_, err := createStore(dir, filepath.Join(dir, "raft.db"), "n1")
			require.NoError(t, err)
		}
		t.Run(fmt.Sprint("fresh ", fresh), func(t *testing.T) {
			mountAt(t, dir, dir, "", unix.MS_BIND, "")
			require.NoError(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			refusedAndKept(t, dir, "n1", "cannot be written: read-only file system; mount it writable")
		})
	}
}

func TestDataDirOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for name, modes := range map[string][3]os.FileMode{ // directory, raft.db, fence.json
		"nothing readable": {0o700, 0o600, 0o600},
		"db not readable":  {0o755, 0o600, 0o644},
		"not writable":     {0o755, 0o644, 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.Mkdir(dir, 0o755))
			for p := dir; p != "/tmp" && p != "/"; p = filepath.Dir(p) {
				require.NoError(t, os.Chmod(p, 0o755))
			}
			_, err := createStore(dir, filepath.Join(dir, "raft.db"), "n1")
			require.NoError(t, err)
			require.NoError(t, manualFence{}.save(dir))
			for i, p := range []string{dir, filepath.Join(dir, "raft.db"), filepath.Join(dir, "fence.json")} {
				require.NoError(t, os.Chmod(p, modes[i]))
			}
			before := tree(t, dir)
			done := make(chan error)
			go func() {
				runtime.LockOSThread() // for good: the thread ends with the goroutine
				// As another user, without root's rights on files.
				_, _, e := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
				_ = e
				_, err := openStore(dir, "n1", testLog("n1"))
				done <- err
			}()
			err = <-done
			require.ErrorContains(t, err, "permission denied; it must belong to the user that litefence runs as")
			require.Contains(t, err.Error(), dir)
			require.NotContains(t, err.Error(), "\n")
			require.Equal(t, before, tree(t, dir))
		})
	}
}

func TestFullDiskAtTheStart(t *testing.T) {
	dir := t.TempDir()
	mountAt(t, "tmpfs", dir, "tmpfs", 0, "size=2m")
	refusedAndKept(t, dir, "n1", "2048 KiB are free on its filesystem, 4096 are needed; make room there")
	_, err := createStore(dir, filepath.Join(dir, "raft.db"), "n1")
	require.NoError(t, err)
	refusedAndKept(t, dir, "n1", "KiB are free on its filesystem")
	require.NoError(t, os.Remove(filepath.Join(dir, "raft.db")))
	fillUp(t, dir)
	_, err = createStore(dir, filepath.Join(dir, "raft.db"), "n1")
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoFileExists(t, filepath.Join(dir, "raft.db"))
	require.NoFileExists(t, filepath.Join(dir, "raft.db.new"))
}

// fillUp leaves no byte free on the filesystem of dir.
func fillUp(t *testing.T, dir string) {
	f, err := os.Create(filepath.Join(dir, "fill"))
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, page))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
}
