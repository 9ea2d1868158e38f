package fusefs

import (
	"context"
	"sync/atomic"
	"time"
)

// enter is the first look of a write to a file of kind k. In observe mode
// everything passes and the refusal is only counted.
func (f *FS) enter(k Kind) (Ticket, error) {
	t, ok := f.gate.Enter()
	if ok {
		f.count.admitted[k].Add(1)
		return t, nil
	}
	f.count.refused[k].Add(1)
	if !f.cfg.Enforce {
		f.wouldRefuse(k)
		return Ticket{}, nil
	}
	return Ticket{}, errFenced
}

// secondLook follows the lower operation of a commit point. An error means:
// done below, but nobody may be told so.
func (f *FS) secondLook(t Ticket) error {
	if f.cfg.Confirm != nil && f.cfg.Enforce && t.g != nil {
		if err := f.confirm(t); err != nil {
			return f.doubt(err)
		}
	}
	if f.gate.Valid(t) {
		return nil
	}
	return f.doubt(nil)
}

// doubt reports a commit that must not be called a success.
func (f *FS) doubt(cause error) error {
	f.count.inDoubt.Add(1)
	if !f.cfg.Enforce {
		return nil
	}
	f.log.Warn("commit in doubt: the lease was lost while it was carried out", "cause", cause)
	return errInDoubt
}

// confirm bounds the quorum round by the lease: after its end the answer could
// not help.
func (f *FS) confirm(t Ticket) error {
	ctx, cancel := context.WithTimeout(f.workers.ctx, time.Duration(t.g.until.Load()-BootNow())+confirmSlack)
	defer cancel()
	return f.cfg.Confirm(ctx)
}

// confirmSlack lets a round that is under way when the lease is extended end.
const confirmSlack = 2 * time.Second

// testHooks let tests stop an operation at a named place. Empty outside.
type testHooks struct {
	afterCommitFrame hook // the commit frame is written, not published
	afterPublish     hook // LiteFS has it, the second look is to come

	inOrder atomic.Bool // every write waits for LiteFS's answer, as on LiteFS itself
}

type hook struct {
	fn atomic.Pointer[func(db string)]
}

func (h *hook) set(fn func(db string)) { h.fn.Store(&fn) }

func (h *hook) run(db string) {
	if fn := h.fn.Load(); fn != nil {
		(*fn)(db)
	}
}
