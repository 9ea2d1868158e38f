//go:build litefence_unsafe

package main

import (
	"log/slog"

	"github.com/litefence/litefence/quorum"
)

// unsafeRules are the rules that are off, by flags that exist only in builds
// with the tag litefence_unsafe (docs/lease.md). nil is none.
type unsafeRules struct {
	fence  bool
	quorum quorum.Unsafe
	flags  []unsafeFlag
}

// unsafeFlag is one rule that can be taken away.
type unsafeFlag struct {
	name, off string
	set       *bool
}

// unsafeFlags declares the flags of `litefence run` that take a rule away.
func unsafeFlags(fs *cli) *unsafeRules {
	u := &unsafeRules{}
	u.flags = []unsafeFlag{
		{"unsafe-no-fence", "the mount refuses no write and doubts no commit, whatever the lease says", &u.fence},
		{"unsafe-raft-lease", "the lease holds while raft says that this node leads", &u.quorum.RaftLease},
		{"unsafe-no-wait", "a new leader does not wait the old lease out", &u.quorum.NoWait},
		{"unsafe-blind-election", "raft's leader becomes primary wherever its LiteFS stands", &u.quorum.BlindElection},
	}
	for _, f := range u.flags {
		fs.BoolVar(f.set, f.name, false, "TEST BUILD: "+f.off)
	}
	return u
}

// noFence has the mount observe, as with fence.enforce: false; nobody else is
// told.
func (u *unsafeRules) noFence() bool { return u != nil && u.fence }

func (u *unsafeRules) ofQuorum() quorum.Unsafe {
	if u == nil {
		return quorum.Unsafe{}
	}
	return u.quorum
}

// announce says at every start what this build is, and each rule that is off.
func (u *unsafeRules) announce(log *slog.Logger) {
	log.Error("UNSAFE BUILD (litefence_unsafe): for tests that look for broken promises; never for data")
	if u == nil {
		return
	}
	for _, f := range u.flags {
		if *f.set {
			log.Error("UNSAFE: a rule is OFF; writes WILL be lost", "flag", "-"+f.name, "off", f.off)
		}
	}
}
