package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountsUnder lists the mount points below dir, innermost first.
func mountsUnder(dir string) (points []string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		// Fields: id, parent, device, root, mount point, ...; blanks in octal.
		fields := strings.Fields(s.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir) {
			points = append([]string{fields[4]}, points...)
		}
	}
	return points
}

// detachAll takes every mount below dir out of the tree and ends its FUSE
// connection, so that whoever waits in a request gets an error.
func detachAll(dir string) error {
	var errs []error
	for _, p := range mountsUnder(dir) {
		if err := unix.Unmount(p, unix.MNT_FORCE|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

var ownName = regexp.MustCompile(`^lf(\d+)x\d+[sn]`)

// Sweep removes what runs left behind that were killed before they could: it
// touches only names that carry the pid of a process that is gone.
func Sweep() {
	for _, ns := range namespaces("lf") {
		m := ownName.FindStringSubmatch(ns)
		if m == nil {
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err != nil || alive(pid) {
			continue
		}
		_ = removeNamespace(ns)
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "litefence-*-*"))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.Split(filepath.Base(dir), "-")[1])
		if err != nil || alive(pid) {
			continue
		}
		if detachAll(dir) == nil {
			_ = os.RemoveAll(dir)
		}
	}
}

// removeNamespace kills who is in it too: a LiteFS whose litefence was killed.
func removeNamespace(ns string) error {
	for _, p := range pidsIn(ns) {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
	return run("ip", "netns", "del", ns)
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func pidsIn(ns string) (pids []int) {
	out, _ := exec.Command("ip", "netns", "pids", ns).Output()
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Leaks names what clusters of this process have left behind; empty after
// every one has been closed.
func Leaks() (found []string) {
	for _, ns := range namespaces(namePrefix(os.Getpid())) {
		found = append(found, "network namespace "+ns)
		for _, p := range pidsIn(ns) {
			found = append(found, fmt.Sprintf("process %d in %s", p, ns))
		}
	}
	prefix := filepath.Join(os.TempDir(), tempPrefix(os.Getpid()))
	for _, m := range mountsUnder(prefix) {
		found = append(found, "mount "+m)
	}
	dirs, _ := filepath.Glob(prefix + "*")
	for _, d := range dirs {
		found = append(found, "directory "+d)
	}
	return found
}
