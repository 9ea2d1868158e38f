package main

import (
	"os"
	"testing"
)

// TestMain lets this binary be the processes that the daemon starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if code, ok := hiddenMain(os.Args[1], os.Args[2:]); ok {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}
