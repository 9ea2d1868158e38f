package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inPIDNamespace is a shell script under process 1 of a PID namespace of its own,
// with a /proc that shows it. Its standard output is read line by line.
func inPIDNamespace(t *testing.T, script string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace takes root")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd = exec.Command(self, "sh", "-c", "mount --make-rprivate / && mount -t proc proc /proc || exit 99\n"+script)
	cmd.Env = append(os.Environ(), asProcess1, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// An orphan that has ended does not stay as a zombie, and the exit code is that of
// the program.
func TestProcess1TakesOrphansAway(t *testing.T) {
	cmd, lines := inPIDNamespace(t, `
orphan=$(sh -c 'sleep 0.01 >/dev/null & echo $!')
grep PPid: /proc/$$/status
while [ -e /proc/$orphan ]; do sleep 0.01; done
echo gone
exit 7`)
	require.True(t, lines.Scan())
	require.Equal(t, []string{"PPid:", "1"}, strings.Fields(lines.Text()))
	require.True(t, lines.Scan(), "the orphan stays as a zombie")
	require.Equal(t, "gone", lines.Text())
	var x *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &x)
	require.Equal(t, 7, x.ExitCode())
}

// Every signal that process 1 gets reaches the program, once.
func TestProcess1PassesSignalsOn(t *testing.T) {
	cmd, lines := inPIDNamespace(t, `
for s in TERM INT QUIT HUP USR1 USR2; do trap "echo $s" $s; done
echo ready
while :; do sleep 0.01; done`)
	next := func() string {
		require.True(t, lines.Scan())
		return lines.Text()
	}
	require.Equal(t, "ready", next())
	names := map[os.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT",
		syscall.SIGHUP: "HUP", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2"}
	require.Len(t, passedOn, len(names))
	for _, s := range passedOn {
		require.NoError(t, cmd.Process.Signal(s))
		require.Equal(t, names[s], next())
	}
}

// A program that a signal has ended is told apart by the exit code.
func TestProcess1TellsOfASignal(t *testing.T) {
	cmd, _ := inPIDNamespace(t, `kill -KILL $$`)
	var x *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &x)
	require.Equal(t, 128+int(syscall.SIGKILL), x.ExitCode())
}
