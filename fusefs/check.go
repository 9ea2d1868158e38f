package fusefs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// fsType is what the mount is called in /proc/mounts: fuse.litefence.
const fsType = "litefence"

// checkMount says what stands in the way of a mount, and takes away what a
// dead predecessor of ours left there.
func checkMount(c *Config) error {
	if err := checkHost(); err != nil {
		return err
	}
	if err := checkLower(c.Lower); err != nil {
		return err
	}
	return checkMountPoint(c.Lower, c.Mount)
}

func checkHost() error {
	for _, err := range CheckHost() {
		return err
	}
	return nil
}

// CheckHost says all that this machine lacks for any fenced mount: rights, kernel,
// device. It changes nothing.
func CheckHost() (errs []error) {
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("not root: FUSE passthrough needs CAP_SYS_ADMIN; start litefence as root"))
	}
	if err := checkKernel(); err != nil {
		errs = append(errs, err)
	}
	if err := checkDevice(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func checkDevice() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("/dev/fuse is missing; load the module fuse, or give the container --device /dev/fuse")
	case err != nil:
		return fmt.Errorf("/dev/fuse cannot be opened (%w); start litefence as root, and allow the container the device (--device /dev/fuse, --cap-add SYS_ADMIN)", err)
	}
	return f.Close()
}

func checkKernel() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return nil // unknown spelling: the kernel's own answer to INIT decides
	}
	if major < 6 || major == 6 && minor < 9 {
		return fmt.Errorf("kernel %s is too old: FUSE passthrough came with Linux 6.9; boot a newer one", release)
	}
	return nil
}

func checkLower(lower string) error {
	m, err := mountAt(lower)
	if err != nil {
		return err
	}
	if err := alive(lower); errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("lower %s is a dead FUSE mount: detach it (umount -l %s) and start LiteFS again", lower, lower)
	} else if err != nil {
		return fmt.Errorf("lower %s: %w", lower, err)
	}
	if m == nil {
		return fmt.Errorf("lower %s is not a mount point: start LiteFS with fuse.dir: %q first", lower, lower)
	}
	if !strings.HasPrefix(m.fstype, "fuse") || m.source != "litefs" {
		return fmt.Errorf("lower %s is a mount of %s (%s), not of LiteFS: fence.lower must be LiteFS's fuse.dir", lower, m.source, m.fstype)
	}
	return nil
}

func checkMountPoint(lower, mount string) error {
	if mount == lower || strings.HasPrefix(mount, lower+"/") {
		return fmt.Errorf("mount point %s is the LiteFS mount %s or lies inside it: choose a directory elsewhere", mount, lower)
	}
	m, err := clearMountPoint(mount)
	if err != nil || m.isGuard() {
		return err
	}
	dir, err := os.Open(mount)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("mount point %s does not exist: create it (mkdir -p %s)", mount, mount)
	case err != nil:
		return fmt.Errorf("mount point %s: %w", mount, err)
	}
	defer dir.Close()
	return requireEmpty(mount, dir)
}

// clearMountPoint detaches what dead predecessors of ours left at mount. It returns
// what lies there then: nil or the guard; anything else is an error.
func clearMountPoint(mount string) (*mountEntry, error) {
	for {
		m, err := mountAt(mount)
		if err != nil || m == nil || m.isGuard() {
			return m, err
		}
		if m.fstype != "fuse."+fsType || !errors.Is(alive(mount), unix.ENOTCONN) {
			return m, fmt.Errorf("mount point %s is in use by a mount of %s (%s): unmount it or choose another", mount, m.source, m.fstype)
		}
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			return m, fmt.Errorf("mount point %s holds a dead litefence mount that cannot be detached: %w", mount, err)
		}
	}
}

// requireEmpty refuses a mount point in whose directory something lies.
func requireEmpty(mount string, dir *os.File) error {
	entries, err := dir.ReadDir(-1)
	switch {
	case err != nil:
		return fmt.Errorf("mount point %s: %w", mount, err)
	case len(entries) > 0:
		return fmt.Errorf("mount point %s is not empty: what lies there would be hidden, choose an empty directory", mount)
	}
	return nil
}

// alive asks whoever serves the mount at path; ENOTCONN = nobody does any more.
// Not by stat: the kernel answers that from the attributes that it keeps of the
// root, after a daemon's death too.
func alive(path string) error {
	_, err := retry(func() (int, error) { return 0, unix.Statfs(path, new(unix.Statfs_t)) })
	return err
}

type mountEntry struct{ fstype, source, device, options string }

// MountedAt describes the topmost mount at path: its type and source, the number
// of its device, and the filesystem's own options. It asks the kernel's table and
// not the mount, which may hang. ok is false where nothing is mounted.
func MountedAt(path string) (fstype, source, device, options string, ok bool) {
	m, err := mountAt(path)
	if err != nil || m == nil {
		return "", "", "", "", false
	}
	return m.fstype, m.source, m.device, m.options, true
}

// MountsOf lists where the filesystem of this device number is mounted.
func MountsOf(device string) (points []string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(line, " "); len(f) > 4 && f[2] == device {
			points = append(points, unescapeMount(f[4]))
		}
	}
	return points
}

// mountAt returns the topmost mount at path, nil if none. It reads the table
// instead of asking the path, which may hang or be dead.
func mountAt(path string) (*mountEntry, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountIn(string(data), path), nil
}

// mountIn is mountAt for the text of a mountinfo (proc(5)). Fields are separated
// by single blanks; other white space may be part of a name.
func mountIn(mountinfo, path string) (found *mountEntry) {
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		l, r := strings.Split(left, " "), strings.Split(right, " ")
		if ok && len(l) >= 5 && len(r) >= 2 && unescapeMount(l[4]) == path {
			found = &mountEntry{fstype: r[0], source: r[1], device: l[2]}
			if len(r) > 2 {
				found.options = r[2]
			}
		}
	}
	return found
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
