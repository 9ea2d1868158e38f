package fusefs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// tempPrefix marks every directory of these tests, so that what leaks is found.
var tempPrefix = fmt.Sprintf("fusefs-test-%d-", os.Getpid())

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		helperMain()
		return
	}
	if os.Getenv(workerEnv) != "" {
		workerMain()
		return
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "leaked goroutines:", err)
			code = 1
		}
	}
	for _, path := range leftMounts() {
		fmt.Fprintln(os.Stderr, "leaked mount:", path)
		_ = unix.Unmount(path, unix.MNT_DETACH)
		code = 1
	}
	os.Exit(code)
}

func leftMounts() (left []string) {
	data, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.Contains(f[4], tempPrefix) {
			left = append(left, f[4])
		}
	}
	return left
}
