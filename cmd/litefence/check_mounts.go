package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/litefence/litefence/fusefs"
)

// mountAnswers is how long whoever serves a mount may take to answer.
const mountAnswers = 3 * time.Second

var errHangs = errors.New("it hangs")

// probeMount has a process of its own ask a mount: a request to a FUSE server that
// is stopped cannot be interrupted, not even by SIGKILL. That process is left to
// itself where it is stuck; it ends with the request.
func probeMount(command, dir string) error { return probeAs(nil, command, dir) }

// probeAs is probeMount in the name of a user, nil = this one.
func probeAs(who *syscall.Credential, command, dir string) error {
	cmd := exec.Command("/proc/self/exe", command, dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: who}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	_ = r.SetReadDeadline(time.Now().Add(mountAnswers))
	var out bytes.Buffer
	if _, err := out.ReadFrom(r); err != nil { // it holds the pipe open while it lives
		return errHangs
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		return errors.New(text)
	}
	return nil
}

func (d *doctor) lookLower(context.Context) (found []finding, skipped string) {
	const check = "lower"
	lower := d.cfg.Fence.Lower
	fstype, source, _, _, mounted := fusefs.MountedAt(lower)
	start := "start LiteFS with fuse.dir: " + lower
	if len(d.cfg.LiteFS.Command) > 0 {
		start = "see what litefs.command says"
	}
	switch {
	case !mounted && d.runs():
		return []finding{d.err(check, start, "LiteFS is not mounted on fence.lower %s: the daemon waits for it", lower)}, ""
	case !mounted:
		if by, ok := d.liteFSProcess(); ok {
			return []finding{d.err(check, "make fuse.dir in its config equal to fence.lower, and see its log", "LiteFS runs (%s) and is not mounted on fence.lower %s", by, lower)}, ""
		}
		return nil, "LiteFS does not run, and no daemon does"
	case !strings.HasPrefix(fstype, "fuse") || source != "litefs":
		return []finding{d.err(check, "make fence.lower equal to fuse.dir in LiteFS's config", "fence.lower %s is a mount of %s (%s), not of LiteFS", lower, source, fstype)}, ""
	}
	switch err := probeMount(probeLowerCommand, lower); {
	case errors.Is(err, errHangs):
		found = append(found, d.err(check, "see whether it is stopped; restart it", "LiteFS's mount %s does not answer within %v", lower, mountAnswers))
	case err != nil && fusefs.IsDead(lower):
		found = append(found, d.err(check, fmt.Sprintf("umount -l %s, and start LiteFS again; a running litefence detaches it itself", lower), "fence.lower %s is the dead mount of a LiteFS that is gone", lower))
	case err != nil:
		found = append(found, broken(check, err))
	}
	return found, ""
}

func (d *doctor) lookMount(context.Context) (found []finding, skipped string) {
	const check = "mount"
	mount := d.cfg.Fence.Mount
	fstype, source, _, _, mounted := fusefs.MountedAt(mount)
	ours := mounted && fstype == "fuse.litefence"
	switch {
	case !mounted && d.runs():
		return []finding{d.err(check, "see the daemon's log: it waits for LiteFS's mount", "nothing is mounted on fence.mount %s", mount)}, ""
	case !mounted:
		return d.lookMountPoint(), ""
	case fusefs.Guarded(mount) && d.held():
		return []finding{d.err(check, "see the daemon's log: it waits for LiteFS's mount", "only the read-only guard is mounted on fence.mount %s", mount)}, ""
	case fusefs.Guarded(mount):
		return []finding{d.warn(check, fmt.Sprintf("nothing: `litefence run` uses it; to be rid of it: umount %s", mount), "fence.mount %s is kept read-only by the guard of a litefence that failed or was killed", mount)}, ""
	case !ours:
		return []finding{d.err(check, "unmount it, or choose another directory", "fence.mount %s is in use by a mount of %s (%s)", mount, source, fstype)}, ""
	}
	err := probeMount(probeMountCommand, mount)
	switch {
	case errors.Is(err, errHangs):
		found = append(found, d.err(check, "see whether litefence or LiteFS is stopped; restart it", "fence.mount %s does not answer within %v", mount, mountAnswers))
	case err != nil && !d.held():
		found = append(found, d.warn(check, "nothing: `litefence run` takes it away", "fence.mount %s is the dead mount of a litefence that was killed", mount))
	case err != nil:
		found = append(found, d.err(check, "restart litefence", "fence.mount %s is dead: %v", mount, err))
	case !d.held():
		found = append(found, d.err(check, "find it (ps) and stop it, or use its config", "a litefence that does not answer on admin.socket %s serves fence.mount %s", d.cfg.Admin.Socket, mount))
	}
	return found, ""
}

// lookMountPoint is of a fenced mount that is not there yet.
func (d *doctor) lookMountPoint() []finding {
	const check = "mount"
	mount := d.cfg.Fence.Mount
	entries, err := os.ReadDir(mount)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return []finding{d.err(check, "mkdir -p "+mount, "fence.mount %s does not exist", mount)}
	case err != nil:
		return []finding{d.err(check, "name a directory", "fence.mount: %v", err)}
	case len(entries) > 0:
		return []finding{d.err(check, "choose an empty directory", "fence.mount %s is not empty: what lies there would be hidden", mount)}
	}
	return nil
}

const probeMountCommand = "probe-mount"

// probeMountMain is the process that asks the fenced mount: for its root, and
// nothing of LiteFS.
func probeMountMain(args []string) int {
	var st syscall.Statfs_t
	if err := syscall.Statfs(args[0], &st); err != nil {
		fmt.Println(err)
		return exitFailed
	}
	return exitDone
}
