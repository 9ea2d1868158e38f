package main

import "github.com/litefence/litefence/test/workload"

// hiddenMain runs the commands that no user calls: the demo's application,
// which must be a process of its own.
func hiddenMain(name string, args []string) (code int, ok bool) {
	if name != workload.Command {
		return 0, false
	}
	return workload.Main(args), true
}
