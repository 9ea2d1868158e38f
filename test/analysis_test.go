package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

const (
	analysisProgram = "testdata/analysis.py"
	adminURL        = "http://127.0.0.1:20280" // admin.listen's default, in each node's own network
)

// said is a line of analysis.py watch: the analysis's own names.
type said struct {
	NodeID             string              `json:"node_id"`
	IsPrimary          bool                `json:"is_primary"`
	NodeState          string              `json:"node_state"`
	HasQuorum          bool                `json:"has_quorum"`
	CanCommitWrites    bool                `json:"can_commit_writes"`
	SplitBrainDetected bool                `json:"split_brain_detected"`
	State              string              `json:"state"`
	Asked              float64             `json:"asked"` // CLOCK_MONOTONIC, seconds
	Answered           float64             `json:"answered"`
	Live               bool                `json:"live"`
	IsReady            bool                `json:"is_ready"`
	CanAcceptWrites    bool                `json:"can_accept_writes"`
	Stale              bool                `json:"stale"`
	Heartbeats         map[string]*float64 `json:"heartbeats"`
	Metrics            map[string]float64  `json:"metrics"`
}

// analyst is the program, running beside one node.
type analyst struct {
	*cluster.Process
	mu  sync.Mutex
	all []said
}

func startAnalyst(t *testing.T, n *cluster.Node) *analyst {
	t.Helper()
	program, err := filepath.Abs(analysisProgram)
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	a := &analyst{}
	a.Process, err = n.Spawn("analysis", nil, w, n.Command("python3", program, "watch", adminURL)...)
	require.NoError(t, err)
	w.Close()
	go func() {
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			var line said
			if json.Unmarshal(s.Bytes(), &line) != nil {
				continue
			}
			a.mu.Lock()
			a.all = append(a.all, line)
			a.mu.Unlock()
		}
	}()
	return a
}

func (a *analyst) lines() []said {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]said(nil), a.all...)
}

// sees waits until the program has said something of the kind, after the first
// skip lines, and returns it and how many lines there were then.
func (a *analyst) sees(t *testing.T, what string, skip int, is func(said) bool) (found said, n int) {
	t.Helper()
	eventually(t, what, func() error {
		if !a.Running() {
			return errors.New("analysis.py has ended; see its log")
		}
		all := a.lines()
		for i := skip; i < len(all); i++ {
			if is(all[i]) {
				found, n = all[i], i+1
				return nil
			}
		}
		return fmt.Errorf("not seen in %d lines; the last: %+v", len(all), all[max(0, len(all)-1):])
	})
	return found, n
}

// TestAnalysisProgram: a program that knows nothing but the split-brain
// analysis's names sees a split brain, and its end.
func TestAnalysisProgram(t *testing.T) {
	t.Parallel()
	c := start(t, cluster.Options{})
	programs := map[*cluster.Node]*analyst{}
	for _, n := range c.Nodes {
		programs[n] = startAnalyst(t, n)
	}
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)
	leads := func(s said) bool {
		return s.IsPrimary && s.NodeState == "PRIMARY" && s.HasQuorum && s.CanCommitWrites && s.CanAcceptWrites && s.IsReady && s.State == "healthy" && !s.SplitBrainDetected
	}
	follows := func(s said) bool {
		return !s.IsPrimary && s.NodeState == "REPLICA" && !s.CanCommitWrites && !s.CanAcceptWrites && s.IsReady && s.State == "healthy" && !s.SplitBrainDetected
	}
	before, skip := programs[old].sees(t, "the primary", 0, leads)
	require.True(t, before.Live)
	for _, n := range c.Others(old) {
		programs[n].sees(t, "a replica", 0, follows)
		require.NotNil(t, before.Heartbeats[n.Name])
		require.Less(t, *before.Heartbeats[n.Name], 1.0)
	}
	require.Equal(t, 0.0, before.Metrics["litefs_split_brain_detected"])
	require.Equal(t, 0.0, before.Metrics["litefs_node_fenced"])
	require.Positive(t, before.Metrics["litefs_heartbeat_latency_ms_count"])

	require.NoError(t, old.Isolate())
	split, skip := programs[old].sees(t, "the split brain", skip, func(s said) bool {
		return s.SplitBrainDetected && !s.HasQuorum && !s.CanCommitWrites && s.State == "split_brain_detected"
	})
	require.False(t, split.CanAcceptWrites)
	require.False(t, split.IsReady)
	require.True(t, split.Live)
	_, skip = programs[old].sees(t, "its end", skip, func(s said) bool { return !s.SplitBrainDetected && s.State != "split_brain_detected" })
	next := writable(t, c.Others(old)...)
	after, _ := programs[next].sees(t, "the new primary", 0, leads)
	require.Greater(t, after.Answered, split.Asked, "not before the split brain was seen")
	insert(t, next, "meanwhile")

	require.NoError(t, old.Heal())
	healed, _ := programs[old].sees(t, "the old primary follows", skip, follows)
	require.Equal(t, 0.0, healed.Metrics["litefs_split_brain_detected"])
	require.Equal(t, 1.0, healed.Metrics["litefs_node_fenced"])
	require.Greater(t, healed.Metrics["litefs_quorum_lost"], before.Metrics["litefs_quorum_lost"])
	for _, name := range []string{"litefs_split_brain_detected", "litefs_quorum_lost", "litefs_node_fenced"} {
		require.Contains(t, healed.Metrics, name)
	}
	allInStep(t, c)

	// Of two nodes that may commit, one may no longer when the other begins to.
	lastOld, firstNew := 0.0, 0.0
	for _, s := range programs[old].lines() {
		if s.CanCommitWrites && s.Asked < healed.Asked {
			lastOld = s.Asked
		}
	}
	for _, s := range programs[next].lines() {
		if s.CanCommitWrites && firstNew == 0 {
			firstNew = s.Answered
		}
	}
	require.Less(t, lastOld, firstNew)
	logs, err := os.ReadFile(old.Litefence().Log)
	require.NoError(t, err)
	require.Contains(t, string(logs), `level=CRITICAL msg="split-brain: `)
}

// TestAnalysisFencesByRename: the analysis's fence command is a rename. It moves
// the role to another node, and needs nobody to lift it: once the node has
// followed, the role can come back.
func TestAnalysisFencesByRename(t *testing.T) {
	t.Parallel()
	program, err := filepath.Abs(analysisProgram)
	require.NoError(t, err)
	c := prepare(t, cluster.Options{})
	for _, n := range c.Nodes {
		text := strings.Replace(n.Config(), "fence: {", "fence: {primary-file: presence, ", 1)
		require.NoError(t, os.WriteFile(n.ConfigPath(), []byte(text), 0o600))
	}
	require.NoError(t, c.Start())
	old := writable(t, c.Nodes...)
	createDB(t, c, old, "wal")
	insert(t, old, "before")
	allInStep(t, c)
	present := func(n *cluster.Node, name string) bool {
		_, err := os.Stat(filepath.Join(n.Fenced(), name))
		return err == nil
	}
	require.True(t, present(old, ".primary"), "present where this node may write")
	for _, n := range c.Others(old) {
		require.False(t, present(n, ".primary"), n.Name)
		require.True(t, present(n, ".primary.blocked"), n.Name)
	}

	out, err := old.Exec("python3", program, "fence", old.Fenced())
	require.NoError(t, err)
	require.Contains(t, out, `"reason":`)
	_, err = old.SQL(appDB(old), "INSERT INTO acked VALUES ('refused')")
	require.Error(t, err, "fenced when the rename has returned")
	next := writable(t, c.Others(old)...)
	insert(t, next, "after")
	require.True(t, present(next, ".primary"))
	require.False(t, present(old, ".primary"))
	eventually(t, "the command is lifted by following", func() error {
		s, err := old.Status()
		if err == nil && (s.Reason != "replica" || s.Role != "replica") {
			err = fmt.Errorf("%s is %s (%s)", old.Name, s.Role, s.Reason)
		}
		return err
	})
	allInStep(t, c)

	_, err = next.CLI("handoff", old.Name)
	require.NoError(t, err, "nothing was left to unfence")
	insert(t, old, "back")
	require.True(t, present(old, ".primary"))
	require.False(t, present(old, ".primary.blocked"))
	allInStep(t, c)
	for _, n := range c.Nodes {
		require.Equal(t, map[string]bool{"before": true, "after": true, "back": true}, rowsOf(t, n))
	}
}

// TestFrameworkHabits: each new connection of a web framework sets its journal
// mode, begins a write transaction that it does not use, and then only reads. On
// a replica, on a node fenced by hand and on one that is cut off, it works, also
// while the primary writes.
func TestFrameworkHabits(t *testing.T) {
	t.Parallel()
	program, err := filepath.Abs(analysisProgram)
	require.NoError(t, err)
	c := start(t, cluster.Options{})
	primary := writable(t, c.Nodes...)
	createDB(t, c, primary, "wal")
	insert(t, primary, "a row")
	allInStep(t, c)
	works := func(what string, n *cluster.Node) {
		t.Helper()
		out, err := n.Exec("python3", program, "framework", appDB(n), "20")
		require.NoError(t, err, what)
		require.NotEqual(t, "0\n", out, what)
	}
	replica, byHand := c.Others(primary)[0], c.Others(primary)[1]
	works("primary", primary)
	works("replica", replica)
	_, err = byHand.CLI("fence", "-reason", "a test")
	require.NoError(t, err)
	works("fenced by hand", byHand)
	w, err := primary.StartApp("write", appDB(primary), nil, "-name", "busy")
	require.NoError(t, err)
	eventually(t, "rows", atLeast(w, 20))
	works("replica of a busy primary", replica)
	works("fenced by hand, primary busy", byHand)
	works("primary, busy", primary)
	_, err = w.Finish()
	require.NoError(t, err)
	_, err = byHand.CLI("unfence")
	require.NoError(t, err)
	allInStep(t, c)

	require.NoError(t, primary.Isolate())
	eventually(t, "the old primary is fenced", func() error {
		s, err := primary.Status()
		if err == nil && (!s.Fenced || s.HasQuorum) {
			err = errors.New("not fenced")
		}
		return err
	})
	began := time.Now()
	works("cut off, just now", primary)
	t.Logf("20 connections of a node that was just cut off: %v", time.Since(began))
	writable(t, c.Others(primary)...)
	works("cut off", primary)
	require.NoError(t, primary.Heal())
	eventually(t, "the old primary follows", func() error { return isReplica(primary) })
	works("following again", primary)
	allInStep(t, c)
	integrity(t, c.Nodes...)
}
