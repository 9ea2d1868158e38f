package main

import (
	"syscall"

	"github.com/litefence/litefence/test/workload"
)

// hiddenMain runs the commands that no user calls: the demo's application and what
// runs the probes and policy.command, which must be processes of their own. Those end
// without the runtime's farewell: in a binary with the race detector it takes a
// second.
func hiddenMain(name string, args []string) (code int, ok bool) {
	switch name {
	case probeMountCommand:
		syscall.Exit(probeMountMain(args))
	case probeEnterCommand:
		syscall.Exit(probeEnterMain(args))
	case nodesCommand:
		syscall.Exit(nodesMain(args))
	case probeLowerCommand:
		syscall.Exit(probeLower(args))
	case proberCommand:
		syscall.Exit(proberMain(args))
	case customCommand:
		syscall.Exit(customMain(args))
	}
	if name != workload.Command {
		return 0, false
	}
	return workload.Main(args), true
}
