package quorum

import (
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

// store is raft's state on disk.
type store struct {
	bolt      *boltdb.BoltStore
	snapshots raft.SnapshotStore
	id        identity
}

// openStore opens or creates the state of node name under dir. Errors name the
// file and the mend; nothing is overwritten.
func openStore(dir, name string, log *slog.Logger) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("quorum.data-dir %s: %w", dir, err)
	}
	path := filepath.Join(dir, "raft.db")
	_, err := os.Stat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if snaps, _ := os.ReadDir(filepath.Join(dir, "snapshots")); fresh && len(snaps) > 0 {
		return nil, fmt.Errorf("quorum.data-dir %s: raft.db is missing beside its snapshots; restore it, or move the directory away to start this node empty", dir)
	}
	b, err := boltdb.New(boltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockTimeout}})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use: another litefence runs on this data directory", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it, or move %s away to start this node empty", path, err, dir)
	}
	id, err := loadIdentity(b, name)
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, bridge(log, "raft-snapshot"))
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return &store{bolt: b, snapshots: snaps, id: id}, nil
}

func loadIdentity(b *boltdb.BoltStore, name string) (identity, error) {
	raw, err := b.Get(keyIdentity)
	if errors.Is(err, boltdb.ErrKeyNotFound) {
		id := identity{Name: name, Incarnation: randomHex(4)}
		raw, _ := json.Marshal(id)
		return id, b.Set(keyIdentity, raw)
	}
	if err != nil {
		return identity{}, err
	}
	var id identity
	if err := json.Unmarshal(raw, &id); err != nil {
		return identity{}, fmt.Errorf("identity does not parse: %w", err)
	}
	if id.Name != name {
		return identity{}, fmt.Errorf("this is the state of node %q, the config says node: %s", id.Name, name)
	}
	return id, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails on Linux (crypto/rand)
	return hex.EncodeToString(b)
}
