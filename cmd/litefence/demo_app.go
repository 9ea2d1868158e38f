package main

import "github.com/litefence/litefence/test/workload"

// hiddenMain runs the commands that no user calls: the demo's application and the
// look at the lower mount, which must be processes of their own.
func hiddenMain(name string, args []string) (code int, ok bool) {
	if name == probeLowerCommand {
		return probeLower(args), true
	}
	if name != workload.Command {
		return 0, false
	}
	return workload.Main(args), true
}
