//go:build !litefence_unsafe

package main

import (
	"log/slog"

	"github.com/litefence/litefence/quorum"
)

// unsafeRules are the rules that are off. Here none can be; unsafe_on.go is what
// a build with the tag litefence_unsafe has instead.
type unsafeRules struct{}

func unsafeFlags(*cli) *unsafeRules { return nil }

func (*unsafeRules) noFence() bool           { return false }
func (*unsafeRules) ofQuorum() quorum.Unsafe { return quorum.Unsafe{} }
func (*unsafeRules) announce(*slog.Logger)   {}
