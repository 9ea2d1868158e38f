package quorum

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/hashicorp/raft"
)

var _ raft.ConfigurationStore = (*fsm)(nil)

// fsm is raft's state machine: it folds records into a state.
type fsm struct {
	log     *slog.Logger
	changed func() // called after every change, without the lock

	mu sync.Mutex
	st state
}

func (f *fsm) state() state {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.st
}

// Apply folds one log entry in. It returns nil or the error for which the
// record was ignored.
func (f *fsm) Apply(l *raft.Log) any {
	var r Record
	if err := json.Unmarshal(l.Data, &r); err != nil {
		return f.ignore(l, fmt.Errorf("record does not parse: %w", err))
	}
	f.mu.Lock()
	next, err := f.st.apply(r, l.Index, l.Term)
	f.st = next
	f.mu.Unlock()
	if err != nil {
		return f.ignore(l, err)
	}
	f.changed()
	return nil
}

// StoreConfiguration implements raft.ConfigurationStore. Raft's own
// GetConfiguration does not know the index (api.go: it copies the servers only).
func (f *fsm) StoreConfiguration(index uint64, _ raft.Configuration) {
	f.mu.Lock()
	f.st.Voters = index
	f.mu.Unlock()
	f.changed()
}

func (f *fsm) ignore(l *raft.Log, err error) error {
	f.log.Warn("raft record ignored", "index", l.Index, "term", l.Term, "err", err)
	return err
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot(f.state()), nil }

// Restore implements raft.FSM.
func (f *fsm) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	var st state
	if err := json.NewDecoder(rc).Decode(&st); err != nil {
		return fmt.Errorf("raft snapshot does not parse: %w", err)
	}
	f.mu.Lock()
	f.st = st
	f.mu.Unlock()
	f.changed()
	return nil
}

type snapshot state

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(state(s)); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

func (snapshot) Release() {}
