package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestContainers has one cluster for all: each part begins with three nodes in
// step, and ends so.
func TestContainers(t *testing.T) {
	s := start(t)
	s.write("first", s.nodes...)
	s.agree("first")
	for _, part := range []struct {
		name string
		run  func(*stack)
	}{
		{"the application is an ordinary user", ordinaryUser},
		{"orphans do not stay as zombies", orphans},
		{"packets to node 1 are dropped", func(s *stack) { partition(s, false) }},
		{"packets to and from node 1 are dropped", func(s *stack) { partition(s, true) }},
		{"docker stop hands the role on", stop},
		{"docker kill", kill},
		{"a replica is restarted", restartReplica},
		{"rolling restart under load", rollingRestart},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			s.t = t
			part.run(s)
			s.agree("first")
		})
		if s.t = t; !ok {
			break
		}
	}
}

// ordinaryUser: the application is not root, writes through the fence, and has no
// way around it.
func ordinaryUser(s *stack) {
	n := s.write("as another user", s.nodes...)
	uids := strings.Fields(s.docker("exec", n.container, "sh", "-c", "grep -h Uid: $(grep -lx 'Name:.notes' /proc/[0-9]*/status)"))
	require.Len(s.t, uids, 5)
	require.NotContains(s.t, uids, "0")
	as := []string{"exec", n.container, "as-app", "sh", "-c"}
	require.Contains(s.t, s.docker(append(as, "ls /fenced")...), "notes.db")
	for _, way := range []string{"ls /litefs", "ls /data/litefs", "echo >/dev/fuse", "umount /fenced", "mount -t tmpfs none /fenced", "litefence fence"} {
		out, err := docker(append(as, way)...)
		require.Error(s.t, err, "%s: %s", way, out)
	}
}

// orphans: whatever loses its parent in the container is process 1's to bury.
func orphans(s *stack) {
	n := s.nodes[0]
	s.docker("exec", n.container, "sh", "-c", "(sh -c 'exec sleep 0.2' & exec true) & sleep 0")
	s.eventually("no zombie is left, and the orphan has ended", func() error {
		out, err := docker("exec", n.container, "sh", "-c", `grep -l 'State:.Z\|Name:.sleep' /proc/[0-9]*/status 2>/dev/null || true`)
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	})
}

// partition: node 1, the primary, does not get its packets any more. It cannot
// write, the majority has exactly one node that can, and after it heals all agree.
func partition(s *stack, both bool) {
	old := s.nodes[0]
	s.lead(old)
	others := s.others(old)
	began := time.Now()
	old.cut(both)
	defer old.heal()
	s.eventually("node 1 is fenced", func() error {
		if st, err := old.status(); err != nil || st.Writable || st.HasQuorum {
			return fmt.Errorf("%+v %w", st, err)
		}
		return nil
	})
	fenced := time.Since(began)
	text := fmt.Sprintf("without node 1, both ways: %v", both)
	next := s.write(text, others...)
	s.t.Logf("fenced after %v, written elsewhere after %v", fenced.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))

	require.ErrorContains(s.t, old.post(context.Background(), "stale"), "refused")
	before, err := old.notes()
	require.NoError(s.t, err, "reads go on")
	require.Contains(s.t, before, "first")
	require.NotContains(s.t, before, text)
	for _, n := range others {
		st, err := n.status()
		require.NoError(s.t, err)
		require.Equal(s.t, n == next, st.HasQuorum, "%s: %+v", n.name, st)
		require.Equal(s.t, next.name, st.Leader, "%s", n.name)
		require.NoError(s.t, n.get(20280, "/health/ready", &struct{}{}))
	}
	old.heal()
	s.agree(text)
	for _, n := range s.nodes {
		notes, err := n.notes()
		require.NoError(s.t, err)
		require.NotContains(s.t, notes, "stale")
	}
}

// stop: the role goes to another node before the container ends, and with it
// every row.
func stop(s *stack) {
	w := s.load()
	for try := 1; ; try++ {
		w.await(s, 20)
		old := s.writer(s.nodes...)
		s.docker("stop", "-t", "20", old.container)
		require.Equal(s.t, "0", s.docker("inspect", "-f", "{{.State.ExitCode}}", old.container))
		w.await(s, 20)
		handedOff := strings.Contains(s.docker("logs", "--tail", "40", old.container), "handed off")
		s.docker("start", old.container)
		s.up()
		if handedOff {
			break
		}
		require.Less(s.t, try, 3, "%s did not hand its role on, nor had it lost it before", old.name)
	}
	s.agree(w.stop()...)
}

// kill: no farewell; the others go on, and it follows when it is back.
func kill(s *stack) {
	old := s.writer(s.nodes...)
	s.agree() // LiteFS replicates after the commit: nothing shall be on the way
	s.docker("kill", old.container)
	s.write("without the killed one", s.others(old)...)
	s.docker("start", old.container)
	s.agree("without the killed one")
}

// restartReplica: the writer does not even notice.
func restartReplica(s *stack) {
	w := s.writer(s.nodes...)
	replica := s.others(w)[0]
	before, err := w.status()
	require.NoError(s.t, err)
	s.docker("restart", "-t", "20", replica.container)
	s.agree()
	after, err := w.status()
	require.NoError(s.t, err)
	require.Equal(s.t, before.Open, after.Open, "the primary has stayed")
}

// rollingRestart: every container is restarted, one after the other, with clients
// that go on writing. What was acknowledged is there, on every node.
func rollingRestart(s *stack) {
	w := s.load()
	for _, n := range s.nodes {
		w.await(s, 20)
		s.docker("restart", "-t", "20", n.container)
		s.up() // as a StatefulSet waits for readiness
	}
	w.await(s, 20)
	acked := w.stop()
	s.agree(acked...)
	s.t.Logf("%d notes acknowledged, %d refused, %d of unknown outcome, longest time without one acknowledged: %v",
		len(acked), w.refused, w.unknown, w.longest.Round(time.Millisecond))
}

// load is a client that adds notes at whichever node takes them.
type load struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu               sync.Mutex
	acked            []string
	refused, unknown int
	longest          time.Duration
}

func (s *stack) load() *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, done: make(chan struct{})}
	nodes := slices.Clone(s.nodes)
	go func() {
		defer close(l.done)
		last := time.Now()
		for i, at := 0, 0; ctx.Err() == nil; i++ {
			text := fmt.Sprintf("%s %d", last.Format(time.RFC3339Nano), i)
			err := nodes[at].post(context.WithoutCancel(ctx), text)
			l.mu.Lock()
			switch {
			case err == nil:
				l.acked = append(l.acked, text)
				l.longest = max(l.longest, time.Since(last))
				last = time.Now()
			case errors.Is(err, errUnknown):
				l.unknown++
			default:
				l.refused++
			}
			l.mu.Unlock()
			if err != nil {
				at = (at + 1) % len(nodes)
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	s.t.Cleanup(func() { l.stop() })
	return l
}

// await returns when n more notes were acknowledged.
func (l *load) await(s *stack, n int) {
	s.t.Helper()
	l.mu.Lock()
	want := len(l.acked) + n
	l.mu.Unlock()
	s.eventually("the client writes", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.acked) < want {
			return fmt.Errorf("%d of %d notes", len(l.acked), want)
		}
		return nil
	})
}

func (l *load) stop() (acked []string) {
	l.cancel()
	<-l.done
	return l.acked
}
