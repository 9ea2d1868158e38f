package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/litefence/litefence/fusefs"
)

// lookReach asks who can enter the way to LiteFS's files past the fence. LiteFS's
// mount lets root in alone unless fuse.allow-other is set; then the directories
// above it decide.
func (d *doctor) lookReach(context.Context) (found []finding, skipped string) {
	found = d.lookLiteFSData()
	lower := d.cfg.Fence.Lower
	_, source, device, options, mounted := fusefs.MountedAt(lower)
	open := mounted && source == "litefs" && slices.Contains(strings.Split(options, ","), "allow_other")
	points := []string{lower}
	switch {
	case open:
		points = fusefs.MountsOf(device)
	case mounted:
		return found, ""
	case d.litefs == nil:
		return found, "LiteFS is not mounted, and its config is not known"
	case !d.litefs.AllowOther:
		return found, ""
	}
	for _, p := range points {
		who, all := whoEnters(filepath.Dir(p))
		if who == "" {
			continue
		}
		way := "LiteFS's mount " + p
		if p != lower {
			way = fmt.Sprintf("LiteFS's files at %s, another mount of %s,", p, lower)
		}
		f := d.err("lower-reach", fmt.Sprintf("delete fuse.allow-other from LiteFS's config (litefence needs none), or chmod 0700 %s", closable(p)), "%s can be entered by %s, past the fence", way, who)
		if !all {
			f.Severity = severityWarning
		}
		found = append(found, f)
	}
	return found, ""
}

// closable is the directory above a mount that could be closed to others.
func closable(mount string) string {
	if dir := filepath.Dir(mount); dir != "/" {
		return dir
	}
	return "a directory above it (it stands in /; move it)"
}

// lookLiteFSData: what lies in the data directory is the database too.
func (d *doctor) lookLiteFSData() (found []finding) {
	dir := d.cfg.LiteFS.DataDir
	if fi, err := os.Stat(dir); err == nil && fi.Mode()&0o002 != 0 {
		found = append(found, d.err("lower-reach", "chmod 0700 "+dir, "litefs.data-dir %s can be written by every user, past the fence", dir))
	}
	return found
}

// whoEnters says which users other than root can pass all directories down to dir;
// "" = none, all = every one. Of a directory that not everybody may pass, its group
// and owner count. Access control lists are not looked at.
func whoEnters(dir string) (who string, all bool) {
	who, all = "every user", true
	for _, p := range parents(dir) {
		fi, err := os.Lstat(p)
		if err != nil {
			return "", false
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		mode := fi.Mode().Perm()
		switch {
		case !ok || mode&0o001 != 0:
		case mode&0o010 != 0 && st.Gid != 0:
			who, all = "the group "+groupName(st.Gid), false
		case mode&0o100 != 0 && st.Uid != 0:
			who, all = "the user "+userName(st.Uid), false
		default:
			return "", false
		}
	}
	return who, all
}

// parents lists / and every directory down to dir.
func parents(dir string) []string {
	all := []string{dir}
	for dir != "/" {
		dir = filepath.Dir(dir)
		all = append([]string{dir}, all...)
	}
	return all
}

func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		return u.Username
	}
	return strconv.Itoa(int(uid))
}

func groupName(gid uint32) string {
	if g, err := user.LookupGroupId(strconv.Itoa(int(gid))); err == nil {
		return g.Name
	}
	return strconv.Itoa(int(gid))
}

// lookBypass finds programs that have gone past the fence already. litefence's own
// descriptors there are what the fenced mount works with.
func (d *doctor) lookBypass(context.Context) (found []finding, skipped string) {
	own := d.ownProcesses()
	said := map[string]bool{}
	for _, f := range openBelow(d.cfg.Fence.Lower) {
		if own(f.pid) {
			continue
		}
		severity, does := severityWarning, "reads"
		if f.write {
			severity, does = severityError, "may write"
		}
		text := fmt.Sprintf("%s %s %s past the fence", f.process, does, f.path)
		if !said[text] {
			said[text] = true
			found = append(found, finding{"bypass", severity, text, "have it open " + d.fencedPath(f.path) + " instead"})
		}
	}
	if os.Geteuid() != 0 {
		return found, "not root: other users' processes cannot be looked at"
	}
	return found, ""
}

func (d *doctor) fencedPath(lower string) string {
	return d.cfg.Fence.Mount + strings.TrimPrefix(lower, d.cfg.Fence.Lower)
}

// ownProcesses are the daemon's: those that run the same program.
func (d *doctor) ownProcesses() func(pid int) bool {
	exe := func(pid int) string { s, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); return s }
	mine := map[string]bool{exe(os.Getpid()): true}
	if d.daemon.pid != 0 {
		mine[exe(d.daemon.pid)] = true
	}
	delete(mine, "")
	return func(pid int) bool { return pid == d.daemon.pid || mine[exe(pid)] }
}
