package fusefs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deadness says what an owner that was cut off may no longer do.
type deadness struct{ reads, writes bool }

// deadSet is who was cut off, by lock owner, and by process for requests from
// the page cache, which name no owner.
type deadSet struct {
	owners map[uint64]deadness
	pids   map[uint32]deadness
	writer bool // the one who may write a journal is among them
}

// countDead publishes who was cut off. Called with mu held.
func (d *database) countDead() {
	var set *deadSet
	for s := range slots {
		for _, h := range d.table[s] {
			if !h.dead {
				continue
			}
			if set == nil {
				set = &deadSet{owners: map[uint64]deadness{}, pids: map[uint32]deadness{}}
			}
			what := deadness{writes: true, reads: s == slotShared || readSlots.has(s)}
			what.reads = what.reads || set.owners[h.owner].reads
			set.owners[h.owner] = what
			what.reads = what.reads || set.pids[h.pid].reads
			set.pids[h.pid] = what
			set.writer = set.writer || s == slotReserved && h.typ == exclusive
		}
	}
	d.dead.Store(set)
}

// cut reports what the owner or the task may no longer do. owner is 0 for a
// request that names none.
func (d *database) cut(owner uint64, task uint32) deadness {
	set := d.dead.Load()
	if set == nil {
		return deadness{}
	}
	if owner != 0 {
		return set.owners[owner]
	}
	pid, ok := processOf(task)
	if !ok {
		// Nobody waits for it any more, or he is in a process namespace that
		// we do not see. A wrong refusal ends with the transaction that was cut
		// off; a wrong answer would be read as data.
		return deadness{reads: true, writes: true}
	}
	return set.pids[pid]
}

// cutWriter reports that the one who may write a journal was cut off: the
// unlink of a journal names no owner, and one by a cut-off connection would
// commit half of what another has written.
func (d *database) cutWriter() bool {
	set := d.dead.Load()
	return set != nil && set.writer
}

// processOf returns the process of a thread: requests name the thread, locks
// the process (linux fs/fuse/dev.c, fuse_get_req; file.c, fuse_file_lock).
func processOf(task uint32) (pid uint32, ok bool) {
	if task == 0 {
		return 0, false
	}
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(task), 10) + "/status")
	if err != nil {
		return 0, false
	}
	_, rest, ok := bytes.Cut(status, []byte("\nTgid:\t"))
	if !ok {
		return 0, false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseUint(string(line), 10, 32)
	return uint32(n), err == nil
}

// maps reports whether the process has the database file mapped into its memory
// (PRAGMA mmap_size). Such a reader cannot be cut off: it does not ask before
// it reads a page that others have brought into the page cache, and an error
// would be a SIGBUS to it. A process that cannot be looked at may have.
func (d *database) maps(pid uint32) bool {
	ids := map[string]bool{}
	d.fs.nodes.each(d, func(id uint64) { ids[mapsKey(d.fs.dev, id)] = true })
	f, err := os.Open("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/maps")
	if err != nil {
		return pid == 0 || !os.IsNotExist(err)
	}
	defer f.Close()
	return mapsOneOf(f, ids)
}

// mapsKey names a file as /proc/PID/maps does: device, space, inode.
func mapsKey(dev, ino uint64) string {
	return fmt.Sprintf("%02x:%02x %d", unix.Major(dev), unix.Minor(dev), ino)
}

// mapsOneOf reads a /proc/PID/maps: address, permissions, offset, device,
// inode, path.
func mapsOneOf(r io.Reader, keys map[string]bool) bool {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) >= 5 && keys[f[3]+" "+f[4]] {
			return true
		}
	}
	return lines.Err() != nil
}
