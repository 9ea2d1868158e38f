package fusefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

// noPrimary is a name that never resolves (RFC 6761), for a fenced node that
// knows no primary: an empty or missing .primary would make programs take
// themselves for it.
const noPrimary = "no-primary.invalid"

// virtualText returns the content of .primary or .primary.blocked, and whether
// the file is there. Both are made of the state at this moment; but where nothing is
// enforced, no operation on either name reaches LiteFS.
func (f *FS) virtualText(k Kind) ([]byte, bool) {
	if !f.cfg.Enforce {
		return f.observedText(k)
	}
	st := f.cfg.State()
	if k == KindBlocked {
		return blockedText(st), st.Fenced
	}
	if f.cfg.PrimaryFile == "presence" {
		return []byte(st.Node + "\n"), !st.Fenced
	}
	name := st.Primary
	if name == "" {
		name = noPrimary
	}
	return []byte(name + "\n"), st.Fenced
}

// blockedText says why, since when and in which term, as one line of JSON.
func blockedText(st policy.FenceState) []byte {
	b, err := json.Marshal(struct {
		Reason  policy.Reason `json:"reason"`
		Since   string        `json:"since"`
		Term    uint64        `json:"term"`
		Node    string        `json:"node"`
		Primary string        `json:"primary"`
	}{st.Reason, st.Since.UTC().Format(time.RFC3339Nano), st.Term, st.Node, st.Primary})
	if err != nil {
		return []byte("{}\n")
	}
	return append(b, '\n')
}

// openVirtual lets both be read. Opening .primary.blocked for writing, like
// creating it, is the fence command.
func (f *FS) openVirtual(k Kind, flags uint32) error {
	switch {
	case !writes(flags):
		return nil
	case k == KindPrimary:
		return errForbidden
	}
	return f.command(true)
}

// command passes the analysis's fence command on.
func (f *FS) command(on bool) error {
	if f.cfg.Blocked == nil {
		return errForbidden
	}
	if on && !f.cfg.Enforce {
		f.log.Warn("fence.enforce: false: the fence command gives the role away, and no write is refused")
	}
	if err := f.cfg.Blocked(on); err != nil {
		f.log.Error("fence command by .primary.blocked failed", "on", on, "err", err)
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return errno
		}
		return fmt.Errorf("fence command: %w", err)
	}
	return nil
}

// readVirtual reads a snapshot taken at offset 0, so that a reader in pieces
// sees one state.
func (f *FS) readVirtual(h *handle, off int64, buf []byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if off == 0 || h.text == nil {
		h.text, _ = f.virtualText(h.node.kind)
	}
	if off >= int64(len(h.text)) {
		return nil
	}
	return buf[:copy(buf, h.text[off:])]
}

// Rename knows two names: .primary to .primary.blocked is the fence command,
// and back takes it back. LiteFS has no rename.
func (f *rawFS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	_, a := parseName(from)
	_, b := parseName(to)
	switch {
	case a == KindPrimary && b == KindBlocked:
		return f.status(f.command(true))
	case a == KindBlocked && b == KindPrimary:
		return f.status(f.command(false))
	case a.virtual() || b.virtual():
		return fuse.EACCES
	}
	return f.status(f.guard(a, func() error {
		return unix.Renameat2(f.rootFD(), from, f.rootFD(), to, uint(in.Flags))
	}))
}

// NotifyState tells the kernel, soon, that .primary and .primary.blocked have
// changed. Safe from anywhere: the notice is sent by a goroutine of its own,
// because inside an operation it would wait for that operation's locks.
func (f *FS) NotifyState() {
	select {
	case f.notify <- struct{}{}:
	default:
	}
}

func (f *FS) notifyLoop(ctx context.Context) {
	for {
		select {
		case <-f.notify:
		case <-ctx.Done():
			return
		}
		f.server.EntryNotify(rootID, primaryName)
		f.server.EntryNotify(rootID, blockedName)
		f.server.InodeNotify(primaryID, 0, 0)
		f.server.InodeNotify(blockedID, 0, 0)
	}
}
