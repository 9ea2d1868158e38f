package quorum

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	snapshotsKept = 2
	lockTimeout   = time.Second // for the file lock on raft.db
)

var keyIdentity = []byte("litefence-identity")

// identity names a node in raft. The incarnation is made with the raft store
// and lives in it: a node that lost its store forgot its votes and must not
// come back under the ID that gave them.
type identity struct {
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
}

func (i identity) raftID() raft.ServerID {
	return raft.ServerID(i.Name + "-" + i.Incarnation)
}

// nodeName returns the configured name in a raft ID.
func nodeName(id raft.ServerID) string {
	if i := strings.LastIndexByte(string(id), '-'); i >= 0 {
		return string(id)[:i]
	}
	return string(id)
}

// store is this node's state on disk.
type store struct {
	bolt      *boltdb.BoltStore
	snapshots raft.SnapshotStore
	id        identity
	cluster   string // id of the cluster that this node belongs to; "" = none yet
	fence     manualFence
	lock      *os.File // the directory: one daemon at a time
}

// ConfigError is an error that only another config mends.
type ConfigError struct{ error }

func (e ConfigError) Unwrap() error { return e.error }

func inUse(path string) error {
	return fmt.Errorf("%s is in use: another litefence runs on this data directory; stop it, or give this one a quorum.data-dir of its own", path)
}

// openStore opens or creates the state of node name under dir. Errors name the
// file and the mend; until all that is there has been found sound, nothing is
// written.
func openStore(dir, name string, log *slog.Logger) (_ *store, err error) {
	s := &store{}
	if s.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := s.open(dir, name, log); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *store) open(dir, name string, log *slog.Logger) (err error) {
	path, snaps := storeFiles(dir)
	fresh, err := s.look(dir, name)
	if err != nil {
		return err
	}
	if fresh {
		if s.id, err = createStore(dir, path, name); err != nil {
			return diskError(fmt.Errorf("%s: %w", path, err))
		}
	}
	s.bolt, err = openBolt(path)
	if errors.Is(err, bbolt.ErrTimeout) {
		return inUse(path)
	}
	if err != nil {
		return diskError(fmt.Errorf("%s: %w", path, err))
	}
	if s.snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, bridge(log, "raft-snapshot")); err != nil {
		return diskError(fmt.Errorf("%s: %w", snaps, err))
	}
	if err := s.loadCluster(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func storeFiles(dir string) (db, snapshots string) {
	return filepath.Join(dir, "raft.db"), filepath.Join(dir, "snapshots")
}

// look reads what is there, changes nothing, and says what is wrong with it.
func (s *store) look(dir, name string) (fresh bool, err error) {
	if s.fence, err = loadFence(dir); err != nil {
		return false, err
	}
	path, snaps := storeFiles(dir)
	mend := fmt.Sprintf("; restore it, or move %s away to start this node empty", dir)
	_, err = os.Lstat(path)
	fresh = errors.Is(err, os.ErrNotExist)
	if left, _ := os.ReadDir(snaps); fresh && len(left) > 0 {
		return fresh, fmt.Errorf("quorum.data-dir %s: raft.db is missing beside its snapshots%s", dir, mend)
	}
	if !fresh {
		var unfit ConfigError
		s.id, err = checkState(dir, name)
		if errors.As(err, &unfit) || errors.Is(err, os.ErrPermission) {
			return fresh, diskError(err)
		}
		if err != nil {
			return fresh, fmt.Errorf("%w%s", err, mend)
		}
	}
	return fresh, checkWritable(dir, path, snaps)
}

// CheckDataDir says what would keep the node of this name from starting on the
// data directory; nil where the directory is not there yet. It changes nothing,
// and must not be asked of a directory that a daemon has in use.
func CheckDataDir(dir, name string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_, err := new(store).look(dir, name)
	return err
}

// close closes what is open. The lock goes last.
func (s *store) close() error {
	var err error
	if s.bolt != nil {
		err = s.bolt.Close()
	}
	return errors.Join(err, s.lock.Close())
}

func openBolt(path string) (*boltdb.BoltStore, error) {
	return boltdb.New(boltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockTimeout}})
}

// createStore makes the store of a new node under another name first: a raft.db
// that is there is a whole one, whenever the power goes.
func createStore(dir, path, name string) (id identity, err error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return id, err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	b, err := openBolt(tmp)
	if err != nil {
		return id, err
	}
	id = identity{Name: name, Incarnation: randomHex(4)}
	raw, _ := json.Marshal(id)
	if err := cmp.Or(b.Set(keyIdentity, raw), b.Close()); err != nil {
		return id, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return id, err
	}
	return id, syncDir(dir)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails on Linux (crypto/rand)
	return hex.EncodeToString(b)
}
