package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/litefence/litefence/fusefs"
)

// findUser finds the application's user by name or number; nil where none is named.
func findUser(name string) (*user.User, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err2 := user.LookupId(name); err2 == nil {
			return u, nil
		}
		if _, err2 := strconv.ParseUint(name, 10, 32); err2 == nil {
			return &user.User{Uid: name, Gid: name, Username: name}, nil // as in a container
		}
	}
	return u, err
}

// lookUser tries, in the name of the application's user, to enter both mounts: that
// takes everything into account that the kernel does.
func (d *doctor) lookUser(context.Context) (found []finding, skipped string) {
	const check = "user"
	switch {
	case d.user == nil:
		return nil, "no user was named with -user"
	case os.Geteuid() != 0:
		return nil, "only root can try what another user may"
	case d.user.Uid == "0":
		return []finding{d.warn(check, "run the application as another user", "root can always open LiteFS's mount %s past the fence", d.cfg.Fence.Lower)}, ""
	}
	who := credential(d.user)
	lower, mount := d.cfg.Fence.Lower, d.cfg.Fence.Mount
	if _, source, _, _, ok := fusefs.MountedAt(lower); ok && source == "litefs" {
		switch err := probeAs(who, probeEnterCommand, lower); {
		case errors.Is(err, errHangs):
			skipped = "LiteFS's mount hangs"
		case err == nil:
			found = append(found, d.err(check, "delete fuse.allow-other from LiteFS's config (litefence needs none)", "the user %s can enter LiteFS's mount %s, past the fence", d.user.Username, lower))
		}
	}
	if fstype, _, _, _, ok := fusefs.MountedAt(mount); ok && fstype == "fuse.litefence" && d.runs() {
		switch err := probeAs(who, probeEnterCommand, mount); {
		case errors.Is(err, errHangs):
			skipped = "the fenced mount hangs"
		case err != nil:
			found = append(found, d.err(check, "set fence.allow-other to true, and open the directories above it", "the user %s cannot enter the fenced mount %s: %v", d.user.Username, mount, err))
		}
	}
	return found, skipped
}

func credential(u *user.User) *syscall.Credential {
	id := func(s string) uint32 { n, _ := strconv.ParseUint(s, 10, 32); return uint32(n) }
	c := &syscall.Credential{Uid: id(u.Uid), Gid: id(u.Gid)}
	groups, _ := u.GroupIds()
	for _, g := range groups {
		c.Groups = append(c.Groups, id(g))
	}
	return c
}

const probeEnterCommand = "probe-enter"

// probeEnterMain is the process that tries to enter a directory.
func probeEnterMain(args []string) int {
	if _, err := os.ReadDir(strings.Join(args, " ")); err != nil {
		fmt.Println(err)
		return exitFailed
	}
	return exitDone
}
