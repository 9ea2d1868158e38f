package quorum

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Clock reads the two clocks that the lease rests on, in nanoseconds.
type Clock interface {
	// Boot is CLOCK_BOOTTIME: it counts the time in which the machine was
	// suspended, so a lease does not survive a suspend.
	Boot() int64
	// Mono is CLOCK_MONOTONIC: it does not count suspend, so a wait measured by
	// it is never shorter than it seems.
	Mono() int64
}

type systemClock struct{}

func (systemClock) Boot() int64 { return clockNow(unix.CLOCK_BOOTTIME) }
func (systemClock) Mono() int64 { return clockNow(unix.CLOCK_MONOTONIC) }

func clockNow(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		// Both clocks exist on every Linux that has FUSE passthrough; a clock
		// that cannot be read must not make a lease look valid.
		panic("clock_gettime: " + err.Error())
	}
	return ts.Nano()
}

// since is the age of a boot-time stamp.
func since(c Clock, stamp int64) time.Duration { return time.Duration(c.Boot() - stamp) }
