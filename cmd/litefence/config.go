package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Config is litefence.yml. What a key means stands in configSchema; here is only
// its form. Paths are absolute after LoadConfig.
type Config struct {
	Node   string
	Fence  FenceConfig
	Quorum QuorumConfig
	LiteFS LiteFSConfig
	Policy PolicyConfig
	Admin  AdminConfig
	Log    LogConfig

	data *configError // why a witness refuses this config; nil = it does not
}

// FenceConfig is the fenced mount.
type FenceConfig struct {
	Lower       string // the LiteFS mount
	Mount       string // where the application opens its databases
	Enforce     bool   // false: observe only
	PrimaryFile string // litefs | presence
	AllowOther  bool
}

// QuorumConfig is the traffic between nodes, and the lease.
type QuorumConfig struct {
	Listen           string
	Advertise        string
	Peers            map[string]string // name -> host:port, this node included
	DataDir          string
	HeartbeatTimeout time.Duration
	Lease            time.Duration
	ClockDrift       float64 // a fraction: 1 % is 0.01
	Confirm          string  // lease | quorum | replicated
	TLS              TLSConfig
	Insecure         bool
}

// confirmReplicated is a value of quorum.confirm.
const confirmReplicated = "replicated"

// TLSConfig names PEM files; either all three are set or none.
type TLSConfig struct{ CA, Cert, Key string }

// Enabled reports whether traffic between nodes is encrypted.
func (t TLSConfig) Enabled() bool { return t != TLSConfig{} }

// LiteFSConfig is the local LiteFS.
type LiteFSConfig struct {
	Mode        string // serve | follow
	LeaseListen string
	RelayListen string
	Forward     bool
	Config      string // "" = unknown
	URL         string
	DataDir     string
	Command     []string

	static bool // LiteFS's lease is static, as its config says
}

// follows reports whether LiteFS elects by a lease of its own.
func (l LiteFSConfig) follows() bool { return l.Mode == "follow" }

// PolicyConfig is what happens when this node must not write.
type PolicyConfig struct {
	Strategy      string // force-replica | suspend | shutdown-safe | rollback-to-checkpoint | custom
	SuspendFor    time.Duration
	Command       []string
	Recover       string // auto | manual
	RequireSynced bool
	ReaderGrace   time.Duration
	Open          string // allow | deny
	Errno         string // EROFS | EACCES
	Health        HealthConfig
}

// HealthConfig is when this node calls itself unhealthy.
type HealthConfig struct {
	MinFreeDisk int64 // bytes
	MaxLag      time.Duration
	MaxPressure float64 // percent; 0 = off
	Command     []string
	Interval    time.Duration
}

// AdminConfig is where this node answers people and programs. An empty Listen
// serves nothing over TCP.
type AdminConfig struct{ Socket, Listen string }

// LogConfig is how it logs.
type LogConfig struct{ Level, Format string }

// defaultConfigPaths are tried in this order where no path is given.
var defaultConfigPaths = []string{"/etc/litefence.yml", "litefence.yml"}

// LoadConfig reads and checks the config at path; "" stands for the first of
// /etc/litefence.yml and ./litefence.yml that exists. Every error is one line
// that names the file and, where it is about a value, line and key.
func LoadConfig(path string) (*Config, error) {
	path, data, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(data, dir)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", path, err)
	}
	if c.data == nil {
		return c, nil // of a witness
	}
	if err := c.readLiteFSConfig(); err != nil {
		return nil, fmt.Errorf("config %s: %w", path, err)
	}
	return c, nil
}

func readConfig(path string) (string, []byte, error) {
	candidates := defaultConfigPaths
	if path != "" {
		candidates = []string{path}
	}
	for _, p := range candidates {
		b, err := os.ReadFile(p)
		switch {
		case err == nil:
			return p, b, nil
		case path == "" && errors.Is(err, fs.ErrNotExist):
		default:
			return "", nil, fmt.Errorf("config: %w", err)
		}
	}
	return "", nil, errors.New("config: neither /etc/litefence.yml nor ./litefence.yml exists; give one with -config")
}

// parseConfig is LoadConfig without the file system: dir is what relative
// paths in data are relative to.
func parseConfig(data []byte, dir string) (*Config, error) {
	c := defaultConfig()
	d := newConfigDecoder(c, dir)
	if err := d.decode(data); err != nil {
		return nil, err
	}
	d.noteData()
	if c.Quorum.Advertise == "" {
		c.Quorum.Advertise = c.Quorum.Listen
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func defaultConfig() *Config {
	return &Config{
		Fence: FenceConfig{Lower: "/litefs", Mount: "/fenced", Enforce: true, PrimaryFile: "litefs", AllowOther: true},
		Quorum: QuorumConfig{
			DataDir:          "/var/lib/litefence",
			HeartbeatTimeout: 600 * time.Millisecond,
			Lease:            300 * time.Millisecond,
			ClockDrift:       0.01,
			Confirm:          "lease",
		},
		LiteFS: LiteFSConfig{
			Mode:        "serve",
			LeaseListen: "127.0.0.1:20201",
			RelayListen: "127.0.0.1:20203",
			URL:         "http://127.0.0.1:20202",
		},
		Policy: PolicyConfig{
			Strategy:    "force-replica",
			SuspendFor:  2 * time.Second,
			Recover:     "auto",
			ReaderGrace: 500 * time.Millisecond,
			Open:        "allow",
			Errno:       "EROFS",
			Health:      HealthConfig{MinFreeDisk: 256 << 20, MaxLag: 10 * time.Second, Interval: 5 * time.Second},
		},
		Admin: AdminConfig{Socket: "/run/litefence.sock", Listen: "127.0.0.1:20280"},
		Log:   LogConfig{Level: "info", Format: "text"},
	}
}
