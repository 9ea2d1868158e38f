package fusefs

import "sync/atomic"

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

// doubt reports a commit that must not be called a success.
func (f *FS) doubt(cause error) error {
	f.count.inDoubt.Add(1)
	if !f.cfg.Enforce {
		return nil
	}
	if cause == nil {
		cause = errLeaseEnded
	}
	f.log.Warn("a commit is in doubt: done, but the application was told of an error", "cause", cause)
	return errInDoubt
}

// testHooks let tests stop an operation at a named place. Empty outside.
type testHooks struct {
	afterCommitFrame hook // the commit frame is written, not published
	afterCommit      hook // LiteFS has it, the second look is to come
	looked           hook // at one who waits for a commit and was sent a signal: he is alive

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
