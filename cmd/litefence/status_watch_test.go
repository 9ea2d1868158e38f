package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

// watchedCluster is a status with something in every column.
func watchedCluster() statusReply {
	heard := 0.04
	s := statusReply{Mounted: true, Enforce: true}
	s.Status = quorum.Status{
		Node: "n2", Role: "replica", Term: 7, Leader: "n1", Fenced: true, Reason: policy.ReasonReplica,
		State: "healthy", FollowsLeader: true, InStep: true, HealthStatus: policy.Healthy,
		Positions:         policy.Positions{"app.db": {TXID: 40, Checksum: 1}},
		LastHeartbeatFrom: map[string]*float64{"n1": &heard, "n3": nil},
		Peers: []quorum.PeerStatus{
			{Node: "n1", Answers: true, RTTMS: 1.25, InStep: true, Lag: -2, HealthStatus: policy.Healthy},
			{Node: "n3", Error: "10.0.0.3:7400: connection refused"},
			{Node: "n4", Answers: true, Witness: true, Fenced: true, Reason: policy.ReasonWitness, HealthStatus: policy.Healthy},
		},
	}
	return s
}

func TestWatchTable(t *testing.T) {
	require.Equal(t, strings.Split(`NODE  ROLE     LEASE  HEARD   RTT     HEALTH   IN STEP  LAG  FENCE
n1    primary  -      0.04 s  1.2 ms  healthy  yes      0    -
n2 *  replica  -      -       -       healthy  yes      2    replica
n3    -        -      never   -       -        -        -    does not answer: 10.0.0.3:7400: connection refused
n4    witness  -      never   -       healthy  -        -    witness`, "\n"), clusterTable(watchedCluster()))
	s := watchedCluster()
	s.Reason, s.FenceReason, s.Problem = policy.ReasonManual, "a new disk", "no primary: nobody"
	block := strings.Join(watchBlock(s, time.Now()), "\n")
	for _, want := range []string{"n2   replica, term 7, leader n1", "writes refused: manual, since", "quorum yes", "fence: a new disk", "problem: no primary: nobody", "app.db  0000000000000028/"} {
		require.Contains(t, block, want)
	}
	s.Writable, s.LeaseLeftMS, s.LeaseMS = true, 287, 300
	require.Contains(t, strings.Join(watchBlock(s, time.Now()), "\n"), "writes pass, lease left 287 of 300 ms")
}

// No line is longer than the terminal is wide, and none is below its end.
func TestWatchFrameFits(t *testing.T) {
	for _, size := range [][2]int{{20, 5}, {40, 3}, {200, 50}, {1, 1}} {
		f := frame(watchBlock(watchedCluster(), time.Now()), func() (int, int) { return size[0], size[1] })
		lines := strings.Split(strings.TrimPrefix(strings.TrimSuffix(f, clearRest), screenHome), "\r\n")
		require.LessOrEqual(t, len(lines), size[1])
		for _, l := range lines {
			require.True(t, strings.HasSuffix(l, clearLine))
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(l, clearLine)), size[0])
		}
	}
}

// terminal is a pty with a program on it.
type terminal struct {
	t      *testing.T
	master *os.File
	mu     sync.Mutex
	seen   strings.Builder
	done   chan error
}

func onTerminal(t *testing.T, cmd *exec.Cmd, columns, rows uint16) *terminal {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer slave.Close()
	x := &terminal{t: t, master: master, done: make(chan error, 1)}
	x.resize(columns, rows)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	go func() { x.done <- cmd.Wait() }()
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			x.mu.Lock()
			x.seen.Write(b[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return x
}

func (x *terminal) resize(columns, rows uint16) {
	require.NoError(x.t, unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seen.String()
}

// screen is the newest whole frame.
func (x *terminal) screen() string {
	frames := strings.Split(x.text(), screenHome)
	for i := len(frames) - 1; i > 0; i-- {
		if f, _, ok := strings.Cut(frames[i], clearRest); ok {
			return strings.ReplaceAll(f, clearLine, "")
		}
	}
	return ""
}

func (x *terminal) until(what string, cond func() bool) {
	x.t.Helper()
	require.Eventually(x.t, cond, time.Minute, 10*time.Millisecond, "%s; on the screen:\n%s", what, x.text())
}

// startWitness starts a real daemon that needs no LiteFS, no root and no mount.
func startWitness(t *testing.T, dir string) (socket string, daemon *exec.Cmd) {
	t.Helper()
	socket = filepath.Join(dir, "s")
	config := filepath.Join(dir, "litefence.yml")
	if _, err := os.Stat(config); err != nil {
		text := fmt.Sprintf("node: n3\nquorum: {listen: \"%[1]s\", peers: \"n1=127.0.0.1:1,n2=127.0.0.1:2,n3=%[1]s\", data-dir: %[2]q, insecure: true}\nadmin: {socket: %[3]q, listen: \"%[4]s\"}\n",
			unusedAddr(t), filepath.Join(dir, "raft"), socket, unusedAddr(t))
		require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	}
	daemon = program(t, "witness", "-config", config)
	daemon.Stderr = io.Discard
	require.NoError(t, daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	return socket, daemon
}

func unusedAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestWatchOnATerminal(t *testing.T) {
	dir := t.TempDir()
	socket, daemon := startWitness(t, dir)
	x := onTerminal(t, program(t, "status", "-watch", "-socket", socket), 120, 30)
	x.until("the table", func() bool { return strings.Contains(x.screen(), "n3 *  witness") })
	require.Equal(t, 1, strings.Count(x.text(), screenBegin))
	require.NotContains(t, x.text(), "\x1b[2J", "a cleared screen flickers")

	x.resize(12, 30)
	x.until("a narrow table", func() bool {
		for l := range strings.Lines(x.screen()) {
			if utf8.RuneCountInString(strings.TrimRight(l, "\r\n")) > 12 {
				return false
			}
		}
		return strings.Contains(x.screen(), "n3 *")
	})
	x.resize(120, 30)

	_ = daemon.Process.Kill()
	_ = daemon.Wait()
	x.until("the loss is said", func() bool {
		return strings.Contains(x.screen(), "LOST the daemon at ") && strings.Contains(x.screen(), "as it was before:")
	})
	startWitness(t, dir)
	x.until("the daemon is back", func() bool {
		return strings.Contains(x.screen(), "n3 *  witness") && !strings.Contains(x.screen(), "LOST")
	})

	_, err := x.master.Write([]byte{3}) // Ctrl-C
	require.NoError(t, err)
	require.NoError(t, <-x.done, "exit 0")
	x.until("the ordinary screen, with the last frame on it", func() bool {
		_, after, ok := strings.Cut(x.text(), screenEnd)
		return ok && strings.Contains(after, "n3 *  witness")
	})
}

// Without a terminal: a block a second, no control sequences, and as JSON an
// object a line.
func TestWatchIntoAPipe(t *testing.T) {
	dir := t.TempDir()
	socket, daemon := startWitness(t, dir)
	for _, asJSON := range []bool{false, true} {
		cmd := program(t, "status", "-watch", fmt.Sprintf("-json=%t", asJSON), "-socket", socket)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		if asJSON {
			d := json.NewDecoder(out)
			for range 2 {
				var s statusReply
				require.NoError(t, d.Decode(&s))
				require.Equal(t, "n3", s.Node)
			}
			_ = daemon.Process.Kill()
			var gone struct{ Error string }
			for gone.Error == "" {
				require.NoError(t, d.Decode(&gone))
			}
			require.Contains(t, gone.Error, "no daemon answers on "+socket)
		} else {
			var text string
			b := make([]byte, 4096)
			for strings.Count(text, "NODE  ROLE") < 2 {
				n, err := out.Read(b)
				require.NoError(t, err)
				text += string(b[:n])
			}
			require.NotContains(t, text, "\x1b")
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		require.NoError(t, cmd.Wait())
	}
}
