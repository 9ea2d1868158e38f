package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// chronySlew is how hard chronyd slews a clock where its config does not say, in
// parts per million (chrony.conf(5), maxslewrate). Other time services stay within
// the kernel's 500.
const chronySlew = 83333.333

var chronyConfigs = []string{"/etc/chrony/chrony.conf", "/etc/chrony.conf", "/etc/chrony/conf.d/*.conf", "/etc/chrony.d/*.conf"}

// lookChrony finds a time service that may, while it corrects a large error, make
// this clock run so much faster or slower that a lease outlives its time.
func (d *doctor) lookChrony() (found []finding) {
	if !runs("chronyd") {
		return nil
	}
	ppm, allowed := maxSlew(readAll(chronyConfigs)), d.cfg.Quorum.ClockDrift*1e6
	if ppm <= allowed/2 { // the other node's clock may be slewed the other way
		return nil
	}
	return []finding{d.warn("clock", "write maxslewrate "+strconv.Itoa(int(allowed/2))+" or less into chrony.conf", "chronyd may slew this clock by %.0f ppm while it corrects a large error; with two such clocks quorum.clock-drift (%.0f ppm) does not hold", ppm, allowed)}
}

// maxSlew is what a chrony.conf says; the last word counts.
func maxSlew(config string) float64 {
	ppm := chronySlew
	for line := range strings.Lines(config) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.EqualFold(f[0], "maxslewrate") {
			continue
		}
		if n, err := strconv.ParseFloat(f[1], 64); err == nil {
			ppm = n
		}
	}
	return ppm
}

func readAll(patterns []string) string {
	var all strings.Builder
	for _, p := range patterns {
		files, _ := filepath.Glob(p)
		for _, f := range files {
			b, _ := os.ReadFile(f)
			all.Write(b)
			all.WriteByte('\n')
		}
	}
	return all.String()
}

// runs reports whether a process of this name is seen from here.
func runs(name string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == name {
			return true
		}
	}
	return false
}
