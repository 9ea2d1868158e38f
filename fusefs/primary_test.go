package fusefs

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
)

func (r *rig) read(name string) string {
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		return "<" + unwrapErrno(err).Error() + ">"
	}
	return string(b)
}

func (r *rig) names() (names []string) {
	entries, err := os.ReadDir(r.mount)
	require.NoError(r.t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

const none = "<no such file or directory>"

func TestPrimaryFileAsLiteFSHasIt(t *testing.T) {
	r := newRig(t)
	r.setState(policy.FenceState{Node: "n1", Primary: "n1"})
	require.Equal(t, none, r.read(".primary"))
	require.Equal(t, none, r.read(".primary.blocked"))
	require.NotContains(t, r.names(), ".primary")

	held, err := os.Open(r.mount)
	require.NoError(t, err)
	defer held.Close()
	r.setState(policy.FenceState{Fenced: true, Node: "n1", Reason: policy.ReasonNoLeader})
	require.Equal(t, "no-primary.invalid\n", r.read(".primary"))
	r.setState(policy.FenceState{Fenced: true, Node: "n1", Primary: "n2", Reason: policy.ReasonReplica, Term: 9})
	require.Equal(t, "n2\n", r.read(".primary"))
	require.Contains(t, r.names(), ".primary")
	require.Contains(t, r.names(), ".primary.blocked")
	st, err := os.Stat(r.path(".primary"))
	require.NoError(t, err)
	require.EqualValues(t, 3, st.Size())
	var why map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.read(".primary.blocked")), &why))
	require.Equal(t, "replica", why["reason"])
	require.EqualValues(t, 9, why["term"])
}

func TestPrimaryFileAsPresence(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PrimaryFile = "presence" })
	r.setState(policy.FenceState{Node: "n1", Primary: "n1"})
	require.Equal(t, "n1\n", r.read(".primary"))
	require.Equal(t, none, r.read(".primary.blocked"))
	open, err := os.Open(r.path(".primary"))
	require.NoError(t, err)
	defer open.Close()
	r.setState(policy.FenceState{Fenced: true, Node: "n1", Reason: policy.ReasonStale})
	require.Equal(t, none, r.read(".primary"))
	require.Contains(t, r.read(".primary.blocked"), "stale-leader")
}

func TestPrimaryCommands(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PrimaryFile = "presence" })
	r.setState(policy.FenceState{Node: "n1"})
	p, b := r.path(".primary"), r.path(".primary.blocked")
	require.NoError(t, os.Rename(p, b))
	require.Equal(t, []bool{true}, r.commands())
	r.setState(policy.FenceState{Fenced: true, Node: "n1", Reason: policy.ReasonCommand})
	require.NoError(t, os.Rename(b, p))
	require.NoError(t, os.Remove(b))
	require.Equal(t, []bool{true, false, false}, r.commands())
	r.setState(policy.FenceState{Node: "n1"})
	require.NoError(t, os.WriteFile(b, []byte("maintenance\n"), 0o666))
	require.Equal(t, []bool{true, false, false, true}, r.commands())

	require.ErrorIs(t, os.WriteFile(p, []byte("x"), 0o666), unix.EACCES)
	require.ErrorIs(t, os.Remove(p), unix.EACCES)
	require.ErrorIs(t, os.Rename(p, r.path("x")), unix.EACCES)
	require.ErrorIs(t, os.Link(p, r.path("x")), unix.EACCES)
	r.setState(policy.FenceState{Fenced: true, Node: "n1"})
	require.ErrorIs(t, os.WriteFile(p, []byte("x"), 0o666), unix.EACCES, "created")
	entries, err := os.ReadDir(r.lower)
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name(), ".primary", "nothing reached LiteFS")
	}
}

func (r *rig) commands() []bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.cmds)
}
