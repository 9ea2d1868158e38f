package fusefs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// waiting reports whether a thread of the process waits for an answer of FUSE.
func waiting(pid int) bool {
	stacks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	for _, s := range stacks {
		if b, err := os.ReadFile(s); err == nil && (strings.Contains(string(b), "request_wait_answer") || strings.Contains(string(b), "fuse")) {
			return true
		}
	}
	return false
}
