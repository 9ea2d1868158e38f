package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

// witnessConfig is a config of a witness among the peers given.
func witnessConfig(t *testing.T, node string, peers map[string]string) (path string) {
	dir := t.TempDir()
	text := fmt.Sprintf("node: %s\nquorum:\n  listen: %q\n  insecure: true\n  data-dir: %q\n  peers:\n", node, peers[node], filepath.Join(dir, "raft"))
	for name, addr := range peers {
		text += fmt.Sprintf("    %s: %q\n", name, addr)
	}
	path = filepath.Join(dir, "litefence.yml")
	require.NoError(t, os.WriteFile(path, []byte(text+fmt.Sprintf("admin: {socket: %q, listen: %q}\n", filepath.Join(dir, "s"), unusedAddr(t))), 0o600))
	return path
}

// behind is the wire to a node, on which what it says of itself can be changed.
func behind(t *testing.T, addr string, change func(map[string]any)) (front string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				_, _ = r.ReadByte() // the protocol
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				up, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer up.Close()
				fmt.Fprintf(up, "HGET /peer/state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(up), nil)
				if err != nil {
					return
				}
				var state map[string]any
				_ = json.NewDecoder(resp.Body).Decode(&state)
				change(state)
				body, _ := json.Marshal(state)
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
			}()
		}
	}()
	return l.Addr().String()
}

// A real peer whose clock, version or protocol is another: the wire says so.
func TestCheckComparesPeers(t *testing.T) {
	real := unusedAddr(t)
	config := witnessConfig(t, "n2", map[string]string{"n1": "127.0.0.1:1", "n2": real, "n3": "127.0.0.1:3"})
	daemon := program(t, "witness", "-config", config)
	daemon.Stderr = io.Discard
	require.NoError(t, daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	clock := func(ahead time.Duration) func(map[string]any) {
		return func(s map[string]any) {
			at, err := time.Parse(time.RFC3339Nano, s["time"].(string))
			if err == nil {
				s["time"] = at.Add(ahead)
			}
		}
	}
	set := func(key string, value any) func(map[string]any) { return func(s map[string]any) { s[key] = value } }
	for name, tc := range map[string]struct {
		change func(map[string]any)
		code   int
		want   string
	}{
		"as it is":       {func(map[string]any) {}, 0, ""},
		"a little ahead": {clock(900 * time.Millisecond), 0, ""},
		"ahead":          {clock(90 * time.Second), 0, "warning: peers: the wall clock of n2 is 90.0 s ahead of this machine's: logs and times cannot be compared; set both clocks by NTP"},
		"behind":         {clock(-time.Hour), 0, "warning: peers: the wall clock of n2 is 3600.0 s behind"},
		"version":        {set("version", "v9"), 0, "warning: peers: n2 runs version v9, this program is dev; run the same version on all nodes"},
		"protocol":       {set("protocol", 9), 1, "error: peers: n2 runs version dev (protocol 9), this node dev (protocol 2); run the same version on all nodes"},
		"lease":          {set("lease", 400*time.Millisecond), 1, "error: peers: quorum.lease: 300ms here, 400ms on n2; make them equal on all nodes"},
		"name":           {set("name", "n9"), 1, "says it is \"n9\"; correct the name or the address"},
	} {
		t.Run(name, func(t *testing.T) {
			asking := witnessConfig(t, "n1", map[string]string{"n1": unusedAddr(t), "n2": behind(t, real, tc.change)})
			var code int
			var out string
			require.Eventually(t, func() bool {
				var errs string
				code, out, errs = runProgram(t, "check", "-config", asking)
				require.Empty(t, errs)
				return !strings.Contains(out, "does not answer")
			}, time.Minute, 10*time.Millisecond)
			require.Equal(t, tc.code, code, out)
			if tc.want != "" {
				require.Contains(t, out, tc.want)
				return
			}
			require.NotContains(t, out, "clock")
			require.NotContains(t, out, "version")
		})
	}
}

func TestCheckUsage(t *testing.T) {
	code, out, errs := runProgram(t, "check", "-config", "/nowhere/litefence.yml")
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Contains(t, errs, "config: open /nowhere/litefence.yml")
}

// As JSON everything that was looked at is there, in the order of the list.
func TestCheckAsJSON(t *testing.T) {
	code, out, errs := runProgram(t, "check", "-json", "-config", witnessConfig(t, "n1", map[string]string{"n1": unusedAddr(t)}))
	require.Zero(t, code, errs)
	var r checked
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Equal(t, "n1", r.Node)
	require.False(t, r.Running)
	require.Equal(t, 0, r.Errors)
	require.Equal(t, 1, r.Warnings)
	require.Equal(t, "config", r.Findings[0].Check)
	require.Equal(t, severityWarning, r.Findings[0].Severity)
	require.Contains(t, r.Findings[0].Message, "quorum.insecure")
	require.NotEmpty(t, r.Findings[0].Mend)
	require.Len(t, r.Checks, len(examinations)+1)
	for i, x := range examinations {
		require.Equal(t, x.name, r.Checks[i+1].Check)
		require.Equal(t, x.data, r.Checks[i+1].Skipped == "a witness has neither LiteFS nor a mount", x.name)
	}
}

// An examination that hangs is a finding, and keeps nobody waiting.
func TestCheckNeverHangs(t *testing.T) {
	ever := make(chan struct{})
	defer close(ever)
	found := (&doctor{}).examineFor(context.Background(), 50*time.Millisecond, []examination{
		{"a", "a thing that hangs", false, func(*doctor, context.Context) ([]finding, string) { <-ever; return nil, "" }},
		{"b", "one that does not", false, func(*doctor, context.Context) ([]finding, string) { return nil, "not there" }},
		{"c", "another", false, func(*doctor, context.Context) ([]finding, string) { <-ever; return nil, "" }},
	})
	require.Len(t, found[0].Found, 1)
	require.Contains(t, found[0].Found[0].String(), "error: a: no answer within 50ms while looking at a thing that hangs; ")
	require.Equal(t, "not there", found[1].Skipped)
	require.Len(t, found[2].Found, 1)
}

// What the daemon says is wrong with itself is found, each in one line.
func TestCheckJudgesStatus(t *testing.T) {
	cfg, err := parseConfig([]byte(goodConfig), "/etc")
	require.NoError(t, err)
	d := &doctor{path: "/etc/litefence.yml", cfg: cfg}
	good := func() (s statusReply) {
		s.Node, s.Version, s.Address = cfg.Node, version(), cfg.Quorum.Advertise
		s.Lower, s.Mount, s.Enforce, s.Insecure = cfg.Fence.Lower, cfg.Fence.Mount, cfg.Fence.Enforce, cfg.Quorum.Insecure
		s.Role, s.FollowsLeader, s.InStep, s.Open, s.HealthStatus, s.State = "replica", true, true, 7, policy.Healthy, quorum.StateHealthy
		return s
	}
	require.Empty(t, d.judgeStatus(good()))
	for want, change := range map[string]func(*statusReply){
		"warning: daemon: the daemon runs version v9, this program is dev; restart it":               func(s *statusReply) { s.Version = "v9" },
		"warning: daemon: the daemon was started with another config than /etc/litefence.yml is now": func(s *statusReply) { s.Mount = "/other" },
		"error: daemon: split-brain: this node is a stale leader":                                    func(s *statusReply) { s.StaleLeadership = true },
		"error: daemon: no majority is known":                                                        func(s *statusReply) { s.FollowsLeader = false },
		"error: daemon: no primary: nobody; start a node that is":                                    func(s *statusReply) { s.Problem = "no primary: nobody; start a node that is" },
		"error: daemon: no member; add it":                                                           func(s *statusReply) { s.Membership = "no member; add it" },
		"error: daemon: commits wait for 1 beside the primary: n2; 3 wait, the oldest for 1.5s, held up by n2; see why that node does not follow": func(s *statusReply) {
			s.Copies = &quorum.CopiesStatus{Wanted: 1, On: []string{"n2"}, Waiting: 3, OldestMS: 1500, HeldUpBy: []string{"n2"}}
		},
		"error: daemon: commits wait for 2 beside the primary: none known; 1 wait, the oldest for 2s, held up by the want of replicas: 1 follow in step (n3); see why": func(s *statusReply) {
			s.Copies = &quorum.CopiesStatus{Wanted: 2, Waiting: 1, OldestMS: 2000, Connected: []string{"n3"}}
		},
		"error: daemon: x.db is here only; move it away":                                               func(s *statusReply) { s.OutOfStep, s.InStep = "x.db is here only; move it away", false },
		"error: daemon: state failed, steps against a split brain have failed: the drain; see the run": func(s *statusReply) { s.State, s.StateError = quorum.StateFailed, "the drain" },
		"warning: daemon: fenced by hand: a disk; `litefence unfence` when that is over":               func(s *statusReply) { s.FenceReason = "a disk" },
		"error: daemon: this node calls itself unhealthy: no room; mend that":                          func(s *statusReply) { s.HealthStatus, s.Health.Reason = policy.Unhealthy, "no room" },
		"warning: daemon: this node calls itself degraded: lag; mend that":                             func(s *statusReply) { s.HealthStatus, s.Health.Reason = policy.Degraded, "lag" },
		"warning: daemon: not in step with the newest primary":                                         func(s *statusReply) { s.InStep = false },
		"warning: daemon: 10.0.0.9 n9 is refused: unknown CA; issue it anew": func(s *statusReply) {
			s.Refused = []quorum.Refusal{{From: "10.0.0.9", Name: "n9", Reason: "unknown CA; issue it anew", Last: time.Now()}}
		},
		"": func(s *statusReply) {
			s.Refused = []quorum.Refusal{{From: "10.0.0.9", Reason: "long ago", Last: time.Now().Add(-time.Hour)}}
		},
	} {
		s := good()
		change(&s)
		found := d.judgeStatus(s)
		if want == "" {
			require.Empty(t, found)
			continue
		}
		require.Len(t, found, 1, want)
		require.True(t, strings.HasPrefix(found[0].String(), want), "%s\n%s", want, found[0])
	}
}

func TestClockRate(t *testing.T) {
	d := &doctor{cfg: defaultConfig()}
	for ppm, want := range map[float64]string{0: "", 500: "", -4999: "", 5001: "warning: clock: ", -9000: "warning: clock: the clock is being slewed by -9000 ppm", 10001: "error: clock: ", -83333: "error: clock: the clock is being slewed by -83333 ppm, more than quorum.clock-drift (10000 ppm)"} {
		f, ok := d.rateFinding(ppm)
		require.Equal(t, want != "", ok, ppm)
		if ok {
			require.True(t, strings.HasPrefix(f.String(), want), f)
		}
	}
}

func TestMaxSlew(t *testing.T) {
	for config, want := range map[string]float64{
		"": chronySlew,
		"# maxslewrate 1\npool 2.debian.pool.ntp.org iburst\n": chronySlew,
		"MaxSlewRate 1000\n":                    1000,
		"maxslewrate 1000\nmaxslewrate 500.5\n": 500.5,
		"maxslewrate\nmaxslewrate much\n":       chronySlew,
	} {
		require.Equal(t, want, maxSlew(config), config)
	}
}

func TestParseProcAddr(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:0016":                         "0.0.0.0:22",
		"00000000000000000000000000000000:4EEA": "[::]:20202",
		"00000000000000000000000001000000:0050": "[::1]:80",
		"0000000000000000FFFF00000107D50A:1CE8": "10.213.7.1:7400",
	} {
		at, ok := parseProcAddr(text)
		require.True(t, ok)
		require.Equal(t, netip.MustParseAddrPort(want), at)
	}
	for _, bad := range []string{"", ":", "0100007F", "0100007F:", "xx:1F90", "01:1F90"} {
		_, ok := parseProcAddr(bad)
		require.False(t, ok, bad)
	}
}

// Listeners are seen with who has them, without a connection being made.
func TestListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	for _, x := range listeners() {
		if x.at == at {
			require.Equal(t, os.Getpid(), ownerOf(x.inode).pid)
			return
		}
	}
	t.Fatal("not seen")
}

func TestWhoEnters(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it needs root to give directories away")
	}
	top, err := os.MkdirTemp("/", "litefence-test-reach-") // below TMPDIR somebody else decides
	require.NoError(t, err)
	defer os.RemoveAll(top)
	dir := filepath.Join(top, "a", "b")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, tc := range []struct {
		mode     os.FileMode
		uid, gid int
		who      string
		all      bool
	}{
		{0o755, 0, 0, "every user", true},
		{0o751, 0, 0, "every user", true},
		{0o750, 0, 0, "", false},
		{0o700, 0, 12, "", false},
		{0o750, 0, 12, "the group man", false},
		{0o700, 6, 0, "the user man", false},
		{0o744, 0, 12, "", false},
	} {
		require.NoError(t, os.Chmod(top, tc.mode))
		require.NoError(t, os.Chown(top, tc.uid, tc.gid))
		who, all := whoEnters(dir)
		require.Equal(t, tc.who, who, tc)
		require.Equal(t, tc.all, all, tc)
	}
}

func TestKeepSame(t *testing.T) {
	locked := policy.Positions{"gone": {TXID: 1}, "moved": {TXID: 1}, "stays": {TXID: 1}}
	keepSame(locked, policy.Positions{"moved": {TXID: 2}, "stays": {TXID: 1}, "new": {TXID: 1}})
	require.Equal(t, policy.Positions{"stays": {TXID: 1}}, locked)
}
