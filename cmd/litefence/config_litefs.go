package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/litefence/litefence/quorum/litefs"
)

// readLiteFSConfig looks at LiteFS's own config where its path is known, and
// takes the data directory from it where ours does not name one.
func (c *Config) readLiteFSConfig() error {
	if c.LiteFS.Config == "" {
		c.LiteFS.Config = configFlag(c.LiteFS.Command)
	}
	if c.LiteFS.Config == "" {
		if c.LiteFS.DataDir == "" {
			return errors.New("litefs.data-dir: missing; give LiteFS's data directory, or its config file as litefs.config")
		}
		return nil
	}
	check := litefs.CheckConfig
	if c.LiteFS.follows() {
		check = litefs.CheckOwnLease
	}
	s, err := check(c.LiteFS.Config, "http://"+c.LiteFS.LeaseListen)
	if err != nil {
		return fmt.Errorf("litefs.config: %s", oneLine(err))
	}
	c.LiteFS.static = s.Static
	if c.LiteFS.DataDir == "" {
		c.LiteFS.DataDir = s.DataDir
	}
	switch {
	case s.FUSEDir != c.Fence.Lower:
		return fmt.Errorf("litefs.config: %s mounts on %s, but fence.lower is %s; make them equal", c.LiteFS.Config, s.FUSEDir, c.Fence.Lower)
	case s.DataDir != c.LiteFS.DataDir:
		return fmt.Errorf("litefs.config: %s keeps its data in %s, but litefs.data-dir is %s; make them equal", c.LiteFS.Config, s.DataDir, c.LiteFS.DataDir)
	}
	return nil
}

// configFlag finds the -config of a `litefs mount` command line.
func configFlag(command []string) string {
	for i, arg := range command {
		arg = strings.Replace(arg, "--", "-", 1)
		if v, ok := strings.CutPrefix(arg, "-config="); ok {
			return v
		}
		if arg == "-config" && i+1 < len(command) {
			return command[i+1]
		}
	}
	return ""
}

// oneLine keeps joined errors, and a YAML library's excerpts, on one line.
func oneLine(err error) string {
	var parts []string
	for _, l := range strings.Split(err.Error(), "\n") {
		if l = strings.TrimSpace(l); l != "" {
			parts = append(parts, l)
		}
	}
	return strings.Join(parts, "; ")
}
