package fusefs

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config.Enforce false: the mount observes. It counts and logs what it would
// refuse and refuses nothing: whatever LiteFS alone would do, happens, its own
// refusals on a replica included. So nobody is held back or cut off at a change
// of role either, no commit waits for a confirmation, and .primary is LiteFS's
// own.
//
// This is how an existing deployment tries the fence. One with a static lease or
// a real Consul does so with litefs.mode: follow, where nothing but the mount
// stands in LiteFS's way. With litefs.mode: serve litefence is the lease server:
// there the key goes to LiteFS and from it as Consul would give and take it, for
// a LiteFS that kept it without a quorum would be the split brain itself.

// observeEvery is how often it is said what would have been refused.
const observeEvery = 10 * time.Second

// observed counts what would have been refused since that was last said.
type observed struct {
	n    atomic.Uint64
	next atomic.Int64 // when it may be said again, CLOCK_BOOTTIME, ns
}

// wouldRefuse notes one, at most every observeEvery in the log.
func (f *FS) wouldRefuse(k Kind) {
	o, now := &f.would, BootNow()
	o.n.Add(1)
	next := o.next.Load()
	if now < next || !o.next.CompareAndSwap(next, now+int64(observeEvery)) {
		return
	}
	st := f.cfg.State()
	f.log.Warn("fence.enforce: false: a write passes that would have been refused",
		"kind", k.String(), "reason", st.Reason, "term", st.Term, "since_last_said", o.n.Swap(0))
}

// primaryBelow returns LiteFS's own .primary, and whether it has one.
func (f *FS) primaryBelow() ([]byte, bool) {
	l, err := f.openLower(primaryName, unix.O_RDONLY)
	if err != nil {
		return nil, false
	}
	defer l.release()
	b := make([]byte, 4<<10)
	n, err := pread(l.fd, b, 0)
	return b[:max(n, 0)], err == nil
}

// observedText is virtualText where nothing is refused: no node is fenced.
func (f *FS) observedText(k Kind) ([]byte, bool) {
	if k == KindBlocked {
		return nil, false
	}
	below, replica := f.primaryBelow()
	if f.cfg.PrimaryFile == "presence" {
		return []byte(f.cfg.State().Node + "\n"), !replica
	}
	return below, replica
}
