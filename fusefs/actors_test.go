package fusefs

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Who else may call in an application: another thread, a child that inherited
// its descriptors, the program that it execs.

const slotsEnv = "FUSEFS_TEST_SLOTS" // slot=descriptor, of what was inherited

// adopt takes over what the parent, or the program before, had open.
func (f fileSlots) adopt() {
	for _, item := range strings.Fields(os.Getenv(slotsEnv)) {
		var slot, fd int
		if _, err := fmt.Sscanf(item, "%d=%d", &slot, &fd); err != nil {
			panic(err)
		}
		unix.CloseOnExec(fd)
		f[slot] = fd
	}
}

// reexec replaces the program, with its descriptors. It returns only an error.
func (f fileSlots) reexec() error {
	var list []string
	for slot, fd := range f {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
		list = append(list, fmt.Sprintf("%d=%d", slot, fd))
	}
	env := append(os.Environ(), slotsEnv+"="+strings.Join(list, " "))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, []string{self}, env)
}

// child is the one that "fork" made.
var child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	lent []*os.File // never closed: a close would drop our locks
}

func otherActor(o order) (a answer, err error) {
	switch o.Op {
	case "thread":
		var wg sync.WaitGroup
		wg.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			a.File = fileCalls.do(o.File)
		})
		wg.Wait()
		return a, nil
	case "fork":
		return a, fileCalls.fork()
	case "killchild":
		_ = child.cmd.Process.Kill()
		_ = child.cmd.Wait()
		return a, nil
	}
	b, err := json.Marshal(order{Op: "file", File: o.File})
	if err != nil {
		return a, err
	}
	if _, err := child.in.Write(append(b, '\n')); err != nil {
		return a, err
	}
	if !child.out.Scan() {
		return a, errors.New("the child is gone")
	}
	return a, json.Unmarshal(child.out.Bytes(), &a)
}

// fork starts a child that has every slot, as fork(2) would leave it.
func (f fileSlots) fork() (err error) {
	child.cmd = exec.Command("/proc/self/exe")
	var list []string
	for slot, fd := range f {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		list = append(list, fmt.Sprintf("%d=%d", slot, 3+len(list)))
		file := os.NewFile(uintptr(dup), "")
		child.lent = append(child.lent, file)
		child.cmd.ExtraFiles = append(child.cmd.ExtraFiles, file)
	}
	child.cmd.Env = append(os.Environ(), slotsEnv+"="+strings.Join(list, " "))
	child.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	child.cmd.Stderr = os.Stderr
	if child.in, err = child.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := child.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	child.out = bufio.NewScanner(out)
	return child.cmd.Start()
}
