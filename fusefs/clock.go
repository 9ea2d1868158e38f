package fusefs

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BootNow returns CLOCK_BOOTTIME in nanoseconds. It counts time spent in
// suspend, which Go's monotonic clock does not: a lease must not outlive one.
func BootNow() int64 {
	var ts unix.Timespec
	// A raw call: it cannot block, so the scheduler need not hear of it.
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		panic("clock_gettime(CLOCK_BOOTTIME): " + errno.Error())
	}
	return ts.Nano()
}
