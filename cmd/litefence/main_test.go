package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// asProgram in the environment makes this binary the program itself.
const asProgram = "LITEFENCE_TEST_AS_PROGRAM=1"

// asProcess1 makes it process 1 for the command line that it is given.
const asProcess1 = "LITEFENCE_TEST_AS_PROCESS_1=1"

// TestMain lets this binary be the processes that the daemon starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if code, ok := hiddenMain(os.Args[1], os.Args[2:]); ok {
			os.Exit(code)
		}
	}
	if slices.Contains(os.Environ(), asProgram) {
		main()
	}
	if slices.Contains(os.Environ(), asProcess1) {
		file, err := exec.LookPath(os.Args[1])
		if err != nil {
			panic(err)
		}
		os.Exit(initOf(file, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// program is a command line of the program, in a process of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asProgram, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// runProgram runs it to its end.
func runProgram(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	cmd := program(t, args...)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var x *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &x)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}
