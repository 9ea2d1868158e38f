//go:build !litefence_unsafe

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A normal build has no flag that takes a rule away.
func TestUnsafeFlagsAreUnknown(t *testing.T) {
	path := writeConfig(t, goodConfig)
	for _, name := range []string{"no-fence", "raft-lease", "no-wait", "blind-election"} {
		code, out, errs := said(t, func() int { return litefence("run", "-config", path, "-unsafe-"+name) })
		require.Equal(t, exitUsage, code)
		require.Empty(t, out)
		require.Contains(t, errs, "flag provided but not defined: -unsafe-"+name)
	}
	_, help, _ := said(t, func() int { return litefence("run", "-h") })
	require.False(t, strings.Contains(strings.ToLower(help), "-unsafe"), help)
}
