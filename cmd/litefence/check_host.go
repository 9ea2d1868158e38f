package main

import (
	"context"
	"math"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/fusefs"
)

func (d *doctor) lookHost(context.Context) (found []finding, skipped string) {
	const check = "host"
	for _, err := range fusefs.CheckHost() {
		found = append(found, broken(check, err))
	}
	// LiteFS mounts by this program (bazil.org/fuse, mount_linux.go).
	if _, err := exec.LookPath("fusermount3"); err != nil {
		if _, err := exec.LookPath("fusermount"); err != nil {
			found = append(found, d.warn(check, "install the package fuse3", "fusermount3 is not on the PATH; LiteFS cannot mount without it"))
		}
	}
	if d.cfg == nil {
		return found, ""
	}
	for key, argv := range map[string][]string{"litefs.command": d.cfg.LiteFS.Command, "policy.health.command": d.cfg.Policy.Health.Command, "policy.command": d.cfg.Policy.Command} {
		if len(argv) == 0 {
			continue
		}
		if _, err := exec.LookPath(argv[0]); err != nil {
			found = append(found, d.err(check, "install it, or give its whole path", "%s: %v", key, err))
		}
	}
	return found, ""
}

const clockSource = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

// nominalTick is a tick of 1/100 s in microseconds; the kernel's own figure moves
// when NTP slews the clock hard (adjtimex(2)).
const nominalTick = 10000

func (d *doctor) lookClock(context.Context) (found []finding, skipped string) {
	const check = "clock"
	if b, err := os.ReadFile(clockSource); err == nil {
		if s := strings.TrimSpace(string(b)); strings.Contains(s, "jiffies") {
			found = append(found, d.warn(check, "give the machine a hardware clock source (tsc, kvm-clock, hpet); the kernel's log says why it uses none", "the clock source is %s: it stands still while interrupts are held back, and a lease would outlive its time", s))
		}
	}
	found = append(found, d.lookChrony()...)
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return found, "adjtimex: " + err.Error()
	}
	rate := float64(t.Freq)/65536 + float64(t.Tick-nominalTick)*1e6/nominalTick // ppm
	if finding, ok := d.rateFinding(rate); ok {
		found = append(found, finding)
	}
	return found, ""
}

// rateFinding judges by how much this clock is being sped up or slowed down now,
// in parts per million: leases run by it.
func (d *doctor) rateFinding(ppm float64) (finding, bool) {
	allowed := d.cfg.Quorum.ClockDrift * 1e6
	const mend = "set quorum.clock-drift higher on all nodes, or let the time service slew less (chrony: maxslewrate)"
	switch {
	case math.Abs(ppm) > allowed:
		return d.err("clock", mend, "the clock is being slewed by %.0f ppm, more than quorum.clock-drift (%.0f ppm)", ppm, allowed), true
	case math.Abs(ppm) > allowed/2:
		return d.warn("clock", mend, "the clock is being slewed by %.0f ppm; two nodes may differ by twice that, and quorum.clock-drift is %.0f ppm", ppm, allowed), true
	}
	return finding{}, false
}
