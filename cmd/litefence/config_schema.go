package main

import (
	"fmt"
	"strings"
)

// configField is one key of the config: its full name and what takes its value.
type configField struct {
	key string
	set setter
}

// configSchema lists every key in the order in which errors name them. A key that is
// not here is unknown; a dot in a name makes a section.
func configSchema(c *Config) []configField {
	return []configField{
		{"node", setText(&c.Node)},

		{"fence.lower", setPath(&c.Fence.Lower)},
		{"fence.mount", setPath(&c.Fence.Mount)},
		{"fence.enforce", setBoolean(&c.Fence.Enforce)},
		{"fence.primary-file", setEnum(&c.Fence.PrimaryFile, "litefs", "presence")},
		{"fence.allow-other", setBoolean(&c.Fence.AllowOther)},

		{"quorum.listen", setText(&c.Quorum.Listen)},
		{"quorum.advertise", setText(&c.Quorum.Advertise)},
		{"quorum.peers", setPeers(&c.Quorum.Peers)},
		{"quorum.data-dir", setPath(&c.Quorum.DataDir)},
		{"quorum.heartbeat-timeout", setDuration(&c.Quorum.HeartbeatTimeout)},
		{"quorum.lease", setDuration(&c.Quorum.Lease)},
		{"quorum.clock-drift", setPercent(&c.Quorum.ClockDrift)},
		{"quorum.confirm", setEnum(&c.Quorum.Confirm, "lease", "quorum", "replicated")},
		{"quorum.tls.ca", setPath(&c.Quorum.TLS.CA)},
		{"quorum.tls.cert", setPath(&c.Quorum.TLS.Cert)},
		{"quorum.tls.key", setPath(&c.Quorum.TLS.Key)},
		{"quorum.insecure", setBoolean(&c.Quorum.Insecure)},

		{"litefs.mode", setEnum(&c.LiteFS.Mode, "serve", "follow")},
		{"litefs.lease-listen", setText(&c.LiteFS.LeaseListen)},
		{"litefs.relay-listen", setText(&c.LiteFS.RelayListen)},
		{"litefs.forward", setBoolean(&c.LiteFS.Forward)},
		{"litefs.config", setPath(&c.LiteFS.Config)},
		{"litefs.url", setText(&c.LiteFS.URL)},
		{"litefs.data-dir", setPath(&c.LiteFS.DataDir)},
		{"litefs.command", setList(&c.LiteFS.Command)},

		{"policy.strategy", setStrategy(&c.Policy.Strategy)},
		{"policy.suspend-for", setDuration(&c.Policy.SuspendFor)},
		{"policy.command", setList(&c.Policy.Command)},
		{"policy.recover", setEnum(&c.Policy.Recover, "auto", "manual")},
		{"policy.require-synced", setBoolean(&c.Policy.RequireSynced)},
		{"policy.reader-grace", setDuration(&c.Policy.ReaderGrace)},
		{"policy.open", setEnum(&c.Policy.Open, "allow", "deny")},
		{"policy.errno", setEnum(&c.Policy.Errno, "EROFS", "EACCES")},
		{"policy.health.min-free-disk", setSize(&c.Policy.Health.MinFreeDisk)},
		{"policy.health.max-lag", setDuration(&c.Policy.Health.MaxLag)},
		{"policy.health.max-pressure", setNumber(&c.Policy.Health.MaxPressure)},
		{"policy.health.command", setList(&c.Policy.Health.Command)},
		{"policy.health.interval", setDuration(&c.Policy.Health.Interval)},

		{"admin.socket", setPath(&c.Admin.Socket)},
		{"admin.listen", setText(&c.Admin.Listen)},

		{"log.level", setEnum(&c.Log.Level, "debug", "info", "warn", "error")},
		{"log.format", setEnum(&c.Log.Format, "text", "json")},
	}
}

// strategies in this program's spelling; the split-brain analysis's own
// (FORCE_REPLICA, rollback_to_checkpoint) are read as well.
var strategies = []string{strategyReplica, strategySuspend, strategyShutdown, strategyRollback, strategyCustom}

func setStrategy(p *string) setter {
	return func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		n := strings.ReplaceAll(strings.ToLower(s), "_", "-")
		for _, known := range strategies {
			if n == known {
				*p = n
				return nil
			}
		}
		return fmt.Errorf("unknown value %q; allowed: %s", s, strings.Join(strategies, ", "))
	}
}

// unsupportedConfig lists what the config can say and this version cannot do yet. It
// is refused, because a setting without effect is a promise that nobody keeps.
// Whoever builds one deletes its line.
var unsupportedConfig = []struct {
	key  string
	asks func(*Config) bool
	use  string
}{
	{"quorum.confirm", func(c *Config) bool { return c.Quorum.Confirm == "replicated" }, "use lease or quorum"},
	{"litefs.forward", func(c *Config) bool { return c.LiteFS.Forward }, "use false"},
}
