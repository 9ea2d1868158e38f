//go:build !litefence_unsafe

package quorum

import (
	"context"

	"github.com/litefence/litefence/policy"
)

// Unsafe says which rules are off. Here none can be; unsafe_on.go is what a
// build with the tag litefence_unsafe has instead.
type Unsafe struct{}

func (Unsafe) noWait() bool { return false }

// raftWord is raft's word on who leads, where that is taken for a lease.
type raftWord struct{}

func (raftWord) counts() bool { return false }

func (*Node) raftWord() raftWord { return raftWord{} }

func (*lease) raftSaysLocked() (until int64, leads bool) { return 0, false }

func (*lease) resigned() {}

func (*Node) electBlind(context.Context, uint64) (res policy.ElectionResult, ok bool) {
	return res, false
}
