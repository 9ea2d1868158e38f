package quorum

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// checkState reads all of raft's state below dir, changes nothing, and returns
// the identity in it. Raft itself would panic on some of what it refuses, and go
// on without some other: an older snapshot in place of a damaged one, none in
// place of one without its meta.json. What was promised on it would be forgotten.
func checkState(dir, name string) (id identity, err error) {
	path := filepath.Join(dir, "raft.db")
	if err := checkBolt(path); err != nil {
		return id, fmt.Errorf("%s is damaged: %w", path, err)
	}
	newest, err := checkSnapshots(filepath.Join(dir, "snapshots"))
	if err != nil {
		return id, err
	}
	if id, err = checkRecords(path, newest); err != nil {
		if errors.Is(err, bbolt.ErrTimeout) {
			return id, inUse(path)
		}
		return id, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if id.Name != name {
		return id, ConfigError{fmt.Errorf("%s: this is the state of node %q, the config says node: %s; correct node or quorum.data-dir", path, id.Name, name)}
	}
	return id, nil
}

// checkRecords reads every record of a store whose pages are sound.
func checkRecords(path string, newest raft.SnapshotMeta) (id identity, err error) {
	// A bit that has changed inside a record can make its decoder panic
	// (raft.DecodeConfiguration does); a failing disk makes the mapping fault.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a record does not parse: %v", p)
		}
	}()
	b, err := boltdb.New(boltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockTimeout, ReadOnly: true}})
	if err != nil {
		return id, err
	}
	defer b.Close()
	raw, err := b.Get(keyIdentity)
	if err != nil {
		return id, fmt.Errorf("its identity: %w", err)
	}
	if err := json.Unmarshal(raw, &id); err != nil || id.Name == "" || id.Incarnation == "" {
		return id, fmt.Errorf("its identity does not parse: %q", raw)
	}
	return id, checkLog(b, newest)
}

// checkLog checks that the log is without a gap, in itself and to the snapshot,
// and that the term is not behind it.
func checkLog(b *boltdb.BoltStore, newest raft.SnapshotMeta) error {
	first, err := b.FirstIndex()
	if err != nil {
		return err
	}
	last, err := b.LastIndex()
	if err != nil {
		return err
	}
	if first > newest.Index+1 {
		return fmt.Errorf("its log begins at %d, and no snapshot beside it reaches that far", first)
	}
	term, err := number(b, "CurrentTerm")
	if err != nil {
		return err
	}
	newestTerm := newest.Term
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		err := b.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) && i <= newest.Index {
			continue // a snapshot that was taken over from the leader leaves a gap
		}
		if err != nil {
			return fmt.Errorf("its log at %d: %w", i, err)
		}
		if l.Index != i {
			return fmt.Errorf("its log at %d says that it is %d", i, l.Index)
		}
		if err := checkEntry(l); err != nil {
			return fmt.Errorf("its log at %d: %w", i, err)
		}
		newestTerm = max(newestTerm, l.Term)
	}
	voted, err := number(b, "LastVoteTerm")
	if err != nil {
		return err
	}
	if term < max(newestTerm, voted) {
		return fmt.Errorf("its term is %d, but it has seen term %d", term, max(newestTerm, voted))
	}
	return nil
}

// number reads one of raft's own numbers, 0 for none.
func number(b *boltdb.BoltStore, key string) (uint64, error) {
	raw, err := b.Get([]byte(key))
	switch {
	case errors.Is(err, boltdb.ErrKeyNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(raw) != 8:
		return 0, fmt.Errorf("its %s does not parse", key)
	}
	return b.GetUint64([]byte(key))
}

func checkEntry(l raft.Log) error {
	switch l.Type {
	case raft.LogConfiguration:
		raft.DecodeConfiguration(l.Data)
	case raft.LogCommand:
		if !json.Valid(l.Data) {
			return errors.New("the record does not parse")
		}
	case raft.LogNoop, raft.LogBarrier:
	default:
		return fmt.Errorf("a record of no known kind: %d", l.Type)
	}
	return nil
}

// snapshotMeta is meta.json (raft file_snapshot.go, fileSnapshotMeta).
type snapshotMeta struct {
	raft.SnapshotMeta
	CRC []byte
}

// checkSnapshots checks every finished snapshot and returns the newest.
func checkSnapshots(dir string) (newest raft.SnapshotMeta, err error) {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return newest, err
	}
	for _, d := range all {
		if !d.IsDir() || strings.HasSuffix(d.Name(), ".tmp") { // unfinished: raft's own suffix
			continue
		}
		path := filepath.Join(dir, d.Name())
		m, err := checkSnapshot(path)
		if err != nil {
			return newest, fmt.Errorf("%s is damaged: %w", path, err)
		}
		if m.Index > newest.Index {
			newest = m
		}
	}
	return newest, nil
}

func checkSnapshot(path string) (raft.SnapshotMeta, error) {
	var m snapshotMeta
	raw, err := os.ReadFile(filepath.Join(path, "meta.json"))
	if err != nil {
		return m.SnapshotMeta, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m.SnapshotMeta, fmt.Errorf("meta.json does not parse: %w", err)
	}
	if m.ID != filepath.Base(path) || m.Index == 0 || m.Term == 0 {
		return m.SnapshotMeta, errors.New("meta.json is of another snapshot")
	}
	f, err := os.Open(filepath.Join(path, "state.bin"))
	if err != nil {
		return m.SnapshotMeta, err
	}
	defer f.Close()
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	var st state
	var body bytes.Buffer
	n, err := io.Copy(io.MultiWriter(sum, &body), f)
	if err != nil {
		return m.SnapshotMeta, err
	}
	if n != m.Size {
		return m.SnapshotMeta, fmt.Errorf("state.bin has %d bytes of %d", n, m.Size)
	}
	if !bytes.Equal(sum.Sum(nil), m.CRC) {
		return m.SnapshotMeta, errors.New("state.bin does not fit its checksum")
	}
	if err := json.Unmarshal(body.Bytes(), &st); err != nil {
		return m.SnapshotMeta, fmt.Errorf("state.bin does not parse: %w", err)
	}
	return m.SnapshotMeta, nil
}
