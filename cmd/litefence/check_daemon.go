package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

// socketAnswers is how long a daemon may take to answer on its socket.
const socketAnswers = 3 * time.Second

// daemonSeen is what stands behind the admin socket.
type daemonSeen struct {
	status *statusReply // nil: nobody answers
	pid    int          // who listens; 0 = nobody
	err    error        // why nobody answers; fs.ErrNotExist: there is no socket
}

func seeDaemon(ctx context.Context, socket string) (seen daemonSeen) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		seen.err = err
		return seen
	}
	seen.pid = listenerPID(c)
	c.Close()
	ctx, cancel := context.WithTimeout(ctx, socketAnswers)
	defer cancel()
	s, err := newAdminClient(socket).status(ctx)
	if err != nil {
		seen.err = err
		return seen
	}
	seen.status = &s
	return seen
}

// listenerPID is the process that listens at the other end of a unix socket.
func listenerPID(c net.Conn) (pid int) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

func (d *doctor) lookDaemon(context.Context) (found []finding, skipped string) {
	const check = "daemon"
	socket, seen := d.cfg.Admin.Socket, d.daemon
	switch err := seen.err; {
	case seen.status != nil:
		return d.judgeStatus(*seen.status), ""
	case errors.Is(err, fs.ErrNotExist):
		return nil, "no daemon runs: there is no " + socket
	case errors.Is(err, fs.ErrPermission):
		found = append(found, d.err(check, "run this as root", "admin.socket %s: %v", socket, err))
	case errors.Is(err, syscall.ENOTSOCK), errors.Is(err, syscall.ECONNREFUSED) && !isSocket(socket):
		found = append(found, d.err(check, "remove it, or choose another path", "admin.socket %s exists and is no socket", socket))
	case errors.Is(err, syscall.ECONNREFUSED):
		found = append(found, d.warn(check, "nothing: `litefence run` replaces it", "admin.socket %s was left by a litefence that was killed", socket))
	case seen.pid != 0:
		found = append(found, d.err(check, fmt.Sprintf("see whether it is stopped (kill -CONT %d); restart it", seen.pid), "%s holds admin.socket %s and does not answer within %v", processOf(seen.pid), socket, socketAnswers))
	default:
		found = append(found, d.err(check, "restart litefence", "admin.socket %s: %v", socket, err))
	}
	return found, ""
}

func isSocket(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.Mode().Type() == fs.ModeSocket
}

// judgeStatus finds what the daemon itself says is wrong.
func (d *doctor) judgeStatus(s statusReply) (found []finding) {
	const check = "daemon"
	wrong := func(mend, format string, args ...any) { found = append(found, d.err(check, mend, format, args...)) }
	look := func(mend, format string, args ...any) { found = append(found, d.warn(check, mend, format, args...)) }
	if s.Node != d.cfg.Node {
		wrong("give each node's daemon a socket of its own", "admin.socket %s is that of node %s, not of %s", d.cfg.Admin.Socket, s.Node, d.cfg.Node)
		return found
	}
	if s.Version != version() {
		look("restart it", "the daemon runs version %s, this program is %s", s.Version, version())
	}
	if s.Address != d.cfg.Quorum.Advertise || !s.Witness && (s.Lower != d.cfg.Fence.Lower || s.Mount != d.cfg.Fence.Mount || s.Enforce != d.cfg.Fence.Enforce) || s.Insecure != d.cfg.Quorum.Insecure {
		look("restart it", "the daemon was started with another config than %s is now", d.path)
	}
	if s.StaleLeadership {
		wrong("see why the other nodes are not reached", "split-brain: this node is a stale leader; its writes are refused")
	}
	if !s.HasQuorum && !s.FollowsLeader {
		wrong("see to the nodes that are not reached", "no majority is known: no node that this one hears can be written to")
	}
	if s.StateError != "" {
		wrong("see the runbook", "state %s, steps against a split brain have failed: %s", s.State, s.StateError)
	}
	for _, text := range []string{s.Problem, s.Membership, s.OutOfStep} {
		if text != "" {
			found = append(found, broken(check, errors.New(text)))
		}
	}
	if c := s.Copies; c != nil && c.OldestMS >= copiesLate.Milliseconds() {
		wrong("see why that node does not follow; `quorum.confirm: quorum` or lease is the way on without copies", "%s", copiesText(c))
	}
	if s.FenceReason != "" {
		look("`litefence unfence` when that is over", "fenced by hand: %s", s.FenceReason)
	}
	switch s.HealthStatus {
	case policy.Unhealthy:
		wrong("mend that", "this node calls itself unhealthy: %s", s.Health.Reason)
	case policy.Degraded:
		look("mend that", "this node calls itself degraded: %s", s.Health.Reason)
	}
	if s.OutOfStep == "" && s.Open != 0 && !s.InStep && s.Role == policy.RoleReplica.String() && !d.cfg.LiteFS.follows() {
		look("nothing, while it catches up; else see `litefence status` and LiteFS's log", "not in step with the newest primary: this node could not take over")
	}
	for _, r := range s.Refused {
		if time.Since(r.Last) < time.Minute {
			found = append(found, refusedFinding(r))
		}
	}
	return found
}

// refusedFinding: somebody is turned away at our port.
func refusedFinding(r quorum.Refusal) finding {
	f := broken("daemon", fmt.Errorf("%s is refused: %s", strings.TrimSpace(r.From+" "+r.Name), r.Reason))
	f.Severity = severityWarning
	return f
}

func (d *doctor) lookDataDir(context.Context) (found []finding, skipped string) {
	const check = "data-dir"
	dir := d.cfg.Quorum.DataDir
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, dir + " is not there yet; it is made at the first start"
	case err != nil:
		return []finding{d.err(check, "correct quorum.data-dir", "quorum.data-dir: %v", err)}, ""
	case !fi.IsDir():
		return []finding{d.err(check, "name a directory", "quorum.data-dir %s is no directory", dir)}, ""
	}
	if fi.Mode()&0o022 != 0 {
		found = append(found, d.err(check, "chmod 0700 "+dir, "quorum.data-dir %s can be written by others than its owner: this node's votes lie there", dir))
	}
	if by, held := flockOn(dir); held {
		if by.pid != d.daemon.pid {
			found = append(found, d.err(check, "stop it, or give this node a quorum.data-dir of its own", "a second daemon: %s has quorum.data-dir %s, and does not answer on admin.socket %s", by, dir, d.cfg.Admin.Socket))
		}
		return found, ""
	}
	if d.held() {
		return found, "" // it has it open, whatever locks that filesystem has
	}
	if err := quorum.CheckDataDir(dir, d.cfg.Node); err != nil {
		found = append(found, broken(check, err))
	}
	return found, ""
}
