package cluster

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	waiting = regexp.MustCompile(`(?m)^goroutine \d+ .*\[(.+, \d+ minutes.*)\]:$`)
	ours    = regexp.MustCompile(`(?m)^(?:created by )?(?:github\.com/litefence/litefence|github\.com/superfly/litefs)([\w./]*(?:\(\*\w+\))?[\w.]*)`)
)

// DumpStuck ends the daemons that run, LiteFS too, and writes what has stood
// still in them for a minute: after a test that waited in vain, the reason is
// among it.
func (c *Cluster) DumpStuck(w io.Writer) {
	c.mu.Lock()
	procs := slices.Clone(c.procs)
	c.mu.Unlock()
	for _, p := range procs {
		if !p.Running() || !strings.HasPrefix(filepath.Base(p.cmd.Path), "lite") {
			continue
		}
		for _, pid := range append(childrenOf(p.Pid()), p.Pid()) {
			_ = syscall.Kill(pid, syscall.SIGQUIT)
		}
		p.waitFor(5 * time.Second)
		b, err := os.ReadFile(p.Log)
		if err != nil {
			continue
		}
		rel, _ := filepath.Rel(c.Dir, p.Log)
		for _, line := range stuck(string(b)) {
			fmt.Fprintf(w, "%s: %s\n", rel, line)
		}
	}
}

// stuck condenses a traceback of Go's runtime. What waits for the network is
// idle.
func stuck(traceback string) []string {
	lines := map[string]bool{}
	for _, g := range strings.Split(traceback, "\n\n") {
		state := waiting.FindStringSubmatch(g)
		if state == nil || strings.HasPrefix(state[1], "IO wait") {
			continue
		}
		var frames []string
		for _, m := range ours.FindAllStringSubmatch(g, -1) {
			frames = append(frames, strings.TrimLeft(m[1], "/."))
		}
		if len(frames) > 0 {
			lines["["+state[1]+"] "+strings.Join(frames, " < ")] = true
		}
	}
	return slices.Sorted(maps.Keys(lines))
}

func childrenOf(pid int) (pids []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(s); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}
