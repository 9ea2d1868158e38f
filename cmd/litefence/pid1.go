package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// passedOn are the signals that process 1 gives to the daemon.
var passedOn = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}

// isInit reports that this is process 1: of a container, without an init.
func isInit() bool { return os.Getpid() == 1 }

// asInit has this command line run in a child, and does for it what only process 1
// can: it takes every orphan of the container away when it has ended, which would
// stay as a zombie. The daemon cannot do that itself: wait(2) for any process
// would also take away those whose end os/exec waits for. It returns the child's
// exit code, 128+signal where a signal ended it; the kernel kills what is left.
func asInit() int {
	self, err := os.Executable() // not /proc/self/exe: ps shows a name
	if err != nil {
		return fail(exitFailed, err)
	}
	return initOf(self, os.Args)
}

func initOf(file string, argv []string) int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passedOn...)
	pid, err := syscall.ForkExec(file, argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
		// Its own group: a terminal's Ctrl-C comes once, from here. A second
		// one would end it at once.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fail(exitFailed, fmt.Errorf("start %s: %w", file, err))
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(pid, s.(syscall.Signal))
		}
	}()
	for {
		var ws syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR), err == nil && ended != pid:
		case err != nil:
			return fail(exitFailed, fmt.Errorf("wait for %s: %w", file, err))
		case ws.Signaled():
			return 128 + int(ws.Signal())
		default:
			return ws.ExitStatus()
		}
	}
}
