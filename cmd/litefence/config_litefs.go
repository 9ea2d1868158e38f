package main

import (
	"errors"
	"fmt"
	"net/url"
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
		return c.checkLocalURL("")
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
	if err := c.fits(s); err != nil {
		return errors.New(oneLine(err))
	}
	return nil
}

// fits returns everything in which LiteFS's config is about another LiteFS.
func (c *Config) fits(s litefs.Settings) error {
	var errs []error
	if s.FUSEDir != c.Fence.Lower {
		errs = append(errs, fmt.Errorf("litefs.config: %s mounts on %s, but fence.lower is %s; make them equal", c.LiteFS.Config, s.FUSEDir, c.Fence.Lower))
	}
	if s.DataDir != c.LiteFS.DataDir {
		errs = append(errs, fmt.Errorf("litefs.config: %s keeps its data in %s, but litefs.data-dir is %s; make them equal", c.LiteFS.Config, s.DataDir, c.LiteFS.DataDir))
	}
	return errors.Join(append(errs, c.checkLocalURL(s.HTTPAddr))...)
}

// checkLocalURL keeps a copied config from taking another machine's LiteFS for
// the local one: litefs.url is on loopback, or what the local LiteFS listens on
// (httpAddr; "" = unknown).
func (c *Config) checkLocalURL(httpAddr string) error {
	u, err := url.Parse(c.LiteFS.URL)
	if err != nil || u.Host == httpAddr || checkLoopback(u.Host) == nil {
		return err
	}
	return fmt.Errorf("litefs.url: %q is neither on loopback nor http.addr of litefs.config (%q), and may be another machine's LiteFS; use http://127.0.0.1:20202", c.LiteFS.URL, httpAddr)
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
