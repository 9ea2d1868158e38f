package litefs

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Settings is what litefence needs to know of LiteFS's configuration.
type Settings struct {
	DataDir        string        // data.dir
	FUSEDir        string        // fuse.dir, the lower mount
	AllowOther     bool          // fuse.allow-other: others than root reach the lower mount
	HTTPAddr       string        // http.addr
	Hostname       string        // lease.hostname, "" for the machine's
	TTL            time.Duration // lease.consul.ttl
	ReconnectDelay time.Duration // lease.reconnect-delay
	Candidate      bool          // lease.candidate
	Static         bool          // lease.type is static
}

// LiteFS's defaults (cmd/litefs/config.go, NewConfig; consul.go, DefaultTTL;
// store.go, DefaultReconnectDelay).
const (
	defaultDataDir        = "/var/lib/litefs"
	defaultFUSEDir        = "/litefs"
	defaultHTTPAddr       = ":20202"
	defaultTTL            = 10 * time.Second
	defaultReconnectDelay = 1 * time.Second
)

// LiteFS's lease types (cmd/litefs/mount_linux.go).
const (
	leaseConsul = "consul"
	leaseStatic = "static"
)

// liteFSConfig is the part of litefs.yml that matters here. What else there is
// is LiteFS's to judge.
type liteFSConfig struct {
	Data struct {
		Dir string `yaml:"dir"`
	} `yaml:"data"`
	FUSE struct {
		Dir        string `yaml:"dir"`
		AllowOther bool   `yaml:"allow-other"`
	} `yaml:"fuse"`
	HTTP struct {
		Addr string `yaml:"addr"`
	} `yaml:"http"`
	Lease struct {
		Type           string   `yaml:"type"`
		Hostname       string   `yaml:"hostname"`
		Candidate      bool     `yaml:"candidate"`
		Promote        bool     `yaml:"promote"`
		ReconnectDelay duration `yaml:"reconnect-delay"`
		Consul         struct {
			URL string   `yaml:"url"`
			Key string   `yaml:"key"`
			TTL duration `yaml:"ttl"`
		} `yaml:"consul"`
	} `yaml:"lease"`
	Backup map[string]any `yaml:"backup"`
}

// duration is a time.Duration as LiteFS's YAML library reads one: "10s", or a
// number of nanoseconds.
type duration time.Duration

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (d *duration) UnmarshalYAML(unmarshal func(any) error) error {
	var v any
	if err := unmarshal(&v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
	case uint64:
		*d = duration(v)
	case int64:
		*d = duration(v)
	case string:
		parsed, err := time.ParseDuration(v)
		if err != nil {
			return err
		}
		*d = duration(parsed)
	default:
		return fmt.Errorf("%v is no duration", v)
	}
	return nil
}

// CheckConfig reads LiteFS's configuration at path (litefs.yml), expanding the
// environment as LiteFS does, and refuses what would let LiteFS act without
// the quorum; the error names every such key and its mend. leaseURL is where
// the lease endpoint listens.
func CheckConfig(path, leaseURL string) (Settings, error) {
	return readSettings(path, func(c *liteFSConfig) error { return c.check(leaseURL) })
}

// CheckOwnLease is CheckConfig for a LiteFS that elects by a lease of its own:
// static, or a Consul that is not litefence's endpoint at leaseURL, which is not
// served then.
func CheckOwnLease(path, leaseURL string) (Settings, error) {
	return readSettings(path, func(c *liteFSConfig) error { return c.checkOwn(leaseURL) })
}

// ReadConfig is CheckConfig for whoever only wants to know: it refuses nothing
// that can be read.
func ReadConfig(path string) (Settings, error) {
	return readSettings(path, func(*liteFSConfig) error { return nil })
}

func readSettings(path string, check func(*liteFSConfig) error) (Settings, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Settings{}, err
	}
	c, err := parseConfig(b)
	if err != nil {
		return Settings{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := check(&c); err != nil {
		return Settings{}, fmt.Errorf("%s: %w", path, err)
	}
	s := Settings{
		DataDir: c.Data.Dir, FUSEDir: c.FUSE.Dir, AllowOther: c.FUSE.AllowOther, HTTPAddr: c.HTTP.Addr,
		Hostname: c.Lease.Hostname, Candidate: c.Lease.Candidate,
		TTL: time.Duration(c.Lease.Consul.TTL), ReconnectDelay: time.Duration(c.Lease.ReconnectDelay),
		Static: c.Lease.Type == leaseStatic,
	}
	if s.TTL <= 0 { // cmd/litefs/mount_linux.go, initConsul
		s.TTL = defaultTTL
	}
	return s, nil
}

func parseConfig(b []byte) (c liteFSConfig, err error) {
	c.Data.Dir, c.FUSE.Dir, c.HTTP.Addr = defaultDataDir, defaultFUSEDir, defaultHTTPAddr
	c.Lease.Candidate, c.Lease.ReconnectDelay = true, duration(defaultReconnectDelay)
	err = yaml.Unmarshal([]byte(expandEnv(string(b))), &c)
	return c, err
}

// check returns all that is wrong at once.
func (c *liteFSConfig) check(leaseURL string) error {
	errs := c.checkAlways()
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Lease.Promote {
		bad("lease.promote: set it to false; the quorum decides who is primary")
	}
	if err := checkLoopback(c.HTTP.Addr); err != nil {
		bad("http.addr: %w:20202; nodes talk over litefence's port", err)
	}
	errs = append(errs, c.checkLease(leaseURL)...)
	return errors.Join(errs...)
}

// checkOwn leaves to LiteFS what is its own business then: who may become
// primary, and where others stream from.
func (c *liteFSConfig) checkOwn(leaseURL string) error {
	errs := c.checkAlways()
	switch {
	case c.Lease.Type != leaseStatic && c.Lease.Type != leaseConsul:
		errs = append(errs, fmt.Errorf("lease.type: is %q, set it to static or consul", c.Lease.Type))
	case c.Lease.Type == leaseConsul && sameServer(c.Lease.Consul.URL, leaseURL):
		errs = append(errs, fmt.Errorf("lease.consul.url: is %q, litefence's lease endpoint, which litefs.mode: follow does not serve; name your Consul, or set litefs.mode to serve", c.Lease.Consul.URL))
	}
	return errors.Join(errs...)
}

func (c *liteFSConfig) checkAlways() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Backup) != 0 {
		bad("backup: remove it; a LiteFS backup is its own authority and replaces rows that a primary acknowledged")
	}
	if os.Getenv("LITEFS_CLOUD_TOKEN") != "" {
		bad("LITEFS_CLOUD_TOKEN: unset it in the environment of litefence and LiteFS; it switches a LiteFS backup on")
	}
	if c.Data.Dir == "" {
		bad("data.dir: name LiteFS's data directory")
	}
	if c.FUSE.Dir == "" {
		bad("fuse.dir: name LiteFS's mount point")
	}
	return errs
}

func (c *liteFSConfig) checkLease(leaseURL string) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Lease.Type != leaseConsul {
		bad("lease.type: is %q, set it to consul, or litefs.mode to follow in litefence's configuration", c.Lease.Type)
		return errs
	}
	if !sameServer(c.Lease.Consul.URL, leaseURL) {
		bad("lease.consul.url: is %q, set it to %s, litefence's lease endpoint", c.Lease.Consul.URL, leaseURL)
	}
	if c.Lease.Consul.Key == "" {
		bad("lease.consul.key: set it to litefs/primary")
	}
	if c.Lease.Consul.TTL < 0 {
		bad("lease.consul.ttl: is negative, set it to 100ms")
	}
	return errs
}

// sameServer compares scheme, host and port; a path is a prefix of LiteFS's
// keys. The spellings of one loopback address are one.
func sameServer(a, b string) bool {
	ua, err1 := url.Parse(a)
	ub, err2 := url.Parse(b)
	if err1 != nil || err2 != nil || ua.Scheme != "http" || ub.Scheme != "http" {
		return false
	}
	return canonicalHost(ua) == canonicalHost(ub) && ua.Host != ""
}

func canonicalHost(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(host, port)
}
