//go:build litefence_unsafe

package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/quorum"
)

// unsafeDaemon is what `run` would start with these flags, and what it says.
func unsafeDaemon(t *testing.T, args ...string) (*daemon, *bytes.Buffer) {
	t.Helper()
	run, _, err := findCommand(commands(), []string{"run"})
	require.NoError(t, err)
	c := newCLI(run, args)
	rules := unsafeFlags(c)
	_, code, ok := c.parse()
	require.True(t, ok, "exit code %d", code)
	cfg, err := LoadConfig(writeConfig(t, goodConfig))
	require.NoError(t, err)
	var said bytes.Buffer
	d := &daemon{cfg: cfg, unsafe: rules, log: newLogger(LogConfig{Level: "error", Format: "text"}, &said)}
	d.announce()
	return d, &said
}

// Each flag takes its own rule away and no other, and says so at any log level.
func TestUnsafeFlagsTakeOneRuleAway(t *testing.T) {
	all := map[string]quorum.Unsafe{
		"-unsafe-no-fence":       {},
		"-unsafe-raft-lease":     {RaftLease: true},
		"-unsafe-no-wait":        {NoWait: true},
		"-unsafe-blind-election": {BlindElection: true},
	}
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			d, said := unsafeDaemon(t, name)
			require.Equal(t, want, d.quorumConfig(nil, nil, nil).Unsafe)
			require.Equal(t, name != "-unsafe-no-fence", d.mountConfig().Enforce)
			for other := range all {
				require.Equal(t, other == name, bytes.Contains(said.Bytes(), []byte("flag="+other)), said)
			}
			require.Contains(t, said.String(), "level=ERROR msg=\"UNSAFE: a rule is OFF")
		})
	}
}

func TestUnsafeBuildTakesNothingAwayUnasked(t *testing.T) {
	d, said := unsafeDaemon(t)
	require.Zero(t, d.quorumConfig(nil, nil, nil).Unsafe)
	require.True(t, d.mountConfig().Enforce)
	require.Contains(t, said.String(), "UNSAFE BUILD")
	require.NotContains(t, said.String(), "a rule is OFF")
}
