package quorum

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// manualFence is an operator's fence. It is kept across restarts.
type manualFence struct {
	On     bool      `json:"on"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	// Command marks the fence that moving .primary to .primary.blocked sets: it
	// lifts by itself once the node follows another primary.
	Command bool   `json:"command,omitempty"`
	Term    uint64 `json:"term,omitempty"` // in which the command came
}

func fencePath(dir string) string { return filepath.Join(dir, "fence.json") }

func loadFence(dir string) (f manualFence, err error) {
	b, err := os.ReadFile(fencePath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = f.parse(b)
	}
	if err != nil {
		// Fail closed: an unreadable fence is not taken for an absent one.
		return f, fmt.Errorf("%s: %w; remove the file if no manual fence is wanted", fencePath(dir), err)
	}
	return f, nil
}

// parse takes only what save has written: {} or null would be a fence that is
// gone.
func (f *manualFence) parse(b []byte) error {
	var on struct{ On *bool }
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := json.Unmarshal(b, &on); err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	if err := d.Decode(f); err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	if on.On == nil {
		return errors.New("it is damaged: it does not say whether the fence is on")
	}
	return nil
}

func (f manualFence) save(dir string) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	tmp := fencePath(dir) + ".tmp"
	if err := writeSync(tmp, b); err != nil {
		return err
	}
	if err := os.Rename(tmp, fencePath(dir)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func writeSync(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// SetFence fences this node by hand, or lifts that fence. A leader hands
// leadership on. It returns when the fence is on disk and the gate is shut and
// drained; lifting opens nothing by itself. Whoever lifts it takes a failed
// resolution on himself too.
func (n *Node) SetFence(on bool, reason string) error {
	if !on {
		n.resolve.Forgive()
	}
	return n.setFence(manualFence{On: on, Reason: reason})
}

// SetBlocked is the fence command of the mount: .primary moved to
// .primary.blocked. It lifts by itself once this node follows another primary.
func (n *Node) SetBlocked(on bool) error {
	n.mu.Lock()
	manual := n.fence.On && !n.fence.Command
	n.mu.Unlock()
	if manual {
		return errManual // a latched manual fence is not the file's to lift or replace
	}
	return n.setFence(manualFence{On: on, Command: on, Reason: ".primary.blocked"})
}

var errManual = errors.New("this node is fenced by hand: lift it with `litefence unfence`")

func (n *Node) setFence(f manualFence) error {
	f.Since = time.Now()
	if n.raft != nil {
		f.Term = n.raft.CurrentTerm()
	}
	n.mu.Lock()
	n.fence = f
	n.mu.Unlock()
	// The gate shuts before the disk is asked: a full disk must not keep it open.
	var drained error
	if f.On {
		n.lease.shut()
		drained = n.cfg.Fence(n.ctx)
	}
	n.poke()
	n.wake()
	if err := n.saveFence(); err != nil {
		return fmt.Errorf("the fence holds until a restart, but could not be saved: %w", err)
	}
	return drained
}

// saveFence writes the fence as it is now: of two that come at once, what is on
// disk at the end is what holds.
func (n *Node) saveFence() error {
	n.saving.Lock()
	defer n.saving.Unlock()
	n.mu.Lock()
	f := n.fence
	n.mu.Unlock()
	return f.save(n.cfg.DataDir)
}

// liftCommand takes the file's fence back once this node follows a primary of a
// later term.
func (n *Node) liftCommand(term uint64) {
	n.mu.Lock()
	lift := n.fence.On && n.fence.Command && term > n.fence.Term
	if lift {
		n.fence = manualFence{}
	}
	n.mu.Unlock()
	if !lift {
		return
	}
	if err := n.saveFence(); err != nil {
		n.log.Error("fence of .primary.blocked not cleared on disk", "err", err)
	}
	n.poke()
}
