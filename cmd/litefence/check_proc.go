package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What /proc says. Nothing here opens a file on a mount that might hang.

// listener is a listening TCP socket of this network.
type listener struct {
	at    netip.AddrPort
	inode string
}

func listeners() (all []listener) {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" { // TCP_LISTEN
				continue
			}
			if at, ok := parseProcAddr(f[1]); ok {
				all = append(all, listener{at, f[9]})
			}
		}
	}
	return all
}

// parseProcAddr reads 0100007F:1F90: the address as 32-bit words in the machine's
// order (little-endian wherever FUSE passthrough runs), then the port.
func parseProcAddr(s string) (at netip.AddrPort, ok bool) {
	host, port, found := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if !found || err != nil || err2 != nil || len(b)%4 != 0 {
		return at, false
	}
	for i := 0; i < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	ip, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), ok
}

// process is a process that holds something.
type process struct {
	pid  int
	name string
}

func (p process) String() string {
	if p.pid == 0 {
		return "a process that cannot be seen from here"
	}
	return fmt.Sprintf("process %d (%s)", p.pid, p.name)
}

func processOf(pid int) process {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return process{pid, strings.TrimSpace(string(b))}
}

// eachDescriptor calls f for every open file of every process that may be looked
// at: the process, the number of the descriptor, and what it points to.
func eachDescriptor(f func(pid int, fd, target string)) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		d, err := os.Open(dir + "/fd")
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(-1)
		d.Close()
		for _, fd := range names {
			if target, err := os.Readlink(dir + "/fd/" + fd); err == nil {
				f(pid, fd, target)
			}
		}
	}
}

// ownerOf finds who has a socket.
func ownerOf(inode string) (p process) {
	eachDescriptor(func(pid int, _, target string) {
		if target == "socket:["+inode+"]" && p.pid == 0 {
			p = processOf(pid)
		}
	})
	return p
}

// openFile is a file that a process has open.
type openFile struct {
	process
	path  string
	write bool
}

// openBelow lists who has which files below a directory open, by their names: the
// files are not touched.
func openBelow(dir string) (all []openFile) {
	eachDescriptor(func(pid int, fd, target string) {
		if target != dir && !strings.HasPrefix(target, dir+"/") {
			return
		}
		f := openFile{process: processOf(pid), path: target}
		info, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
		if _, rest, ok := bytes.Cut(info, []byte("flags:")); ok {
			flags, _ := strconv.ParseUint(strings.TrimSpace(strings.SplitN(string(rest), "\n", 2)[0]), 8, 64)
			f.write = flags&unix.O_ACCMODE != unix.O_RDONLY
		}
		all = append(all, f)
	})
	return all
}

// flockOn finds who holds an exclusive flock on a file, without asking for it.
func flockOn(path string) (p process, held bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return p, false
	}
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	b, _ := os.ReadFile("/proc/locks")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[3] == "WRITE" && f[5] == want {
			pid, _ := strconv.Atoi(f[4])
			return processOf(pid), true
		}
	}
	return p, false
}

// environOf is a process's environment as it was at its start.
func environOf(pid int) []string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return strings.Split(string(b), "\x00")
}
