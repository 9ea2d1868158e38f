package main

import (
	"fmt"
	"strings"
)

// configField is one key of the config: its full name, what takes its value, and
// what it means, in Markdown, for docs/configuration.md.
type configField struct {
	key string
	set setter
	doc string
}

// configSchema lists every key in the order in which errors name them. A key that is
// not here is unknown; a dot in a name makes a section.
func configSchema(c *Config) []configField {
	return []configField{
		{"node", setText(&c.Node), "This node's name: one of `quorum.peers`. Required."},

		{"fence.lower", setPath(&c.Fence.Lower), "The LiteFS mount: what `fuse.dir` in `litefs.yml` says."},
		{"fence.mount", setPath(&c.Fence.Mount), "Where the application opens its databases: an empty directory that exists, outside of `fence.lower`."},
		{"fence.enforce", setBoolean(&c.Fence.Enforce), "`false` only observes: what would have been refused is counted and logged, and passes. **Nothing is protected then.** It is said at every start and in `status`. For trying litefence out over a running application ([adoption.md](adoption.md), [strategies.md](strategies.md#fenceenforce-false))."},
		{"fence.primary-file", setEnum(&c.Fence.PrimaryFile, "litefs", "presence"), "What the file `.primary` in the mount means. `litefs`: as LiteFS has it, there on a node that may not write, with the primary's hostname in it. `presence`: there exactly while this node may write. See [adr/0003](adr/0003-primary-file-in-litefs-sense.md)."},
		{"fence.allow-other", setBoolean(&c.Fence.AllowOther), "Whether users other than root reach the fenced mount."},

		{"quorum.listen", setAddr(&c.Quorum.Listen), "Where the one port between nodes listens: raft, replication, peer status. Required."},
		{"quorum.advertise", setAddr(&c.Quorum.Advertise), "The address under which the other nodes reach it, where that is not `quorum.listen`: behind `0.0.0.0`, or by a name. Default: `quorum.listen`. Make it equal to this node's entry in `quorum.peers`."},
		{"quorum.peers", setPeers(&c.Quorum.Peers), "Every node with its address, this one too. The same on all nodes. It says who founds the cluster at its first start; afterwards members change with `litefence peers` ([membership.md](membership.md)). Required."},
		{"quorum.data-dir", setPath(&c.Quorum.DataDir), "Raft's log, its votes, the manual fence, the list of lost transactions. Must be on a disk that survives a restart: a node that loses it loses its vote."},
		{"quorum.heartbeat-timeout", setDuration(&c.Quorum.HeartbeatTimeout), "Raft's heartbeat and election timeout: how long a silent leader is borne with. 50 ms and more. Heartbeats go out five to ten times as often. Equal on all nodes; a peer with another is refused."},
		{"quorum.lease", setDuration(&c.Quorum.Lease), "How long a leader may let writes pass after a majority has last answered it: the most that a cut-off primary goes on accepting them. From 4/10 of `quorum.heartbeat-timeout` to the whole of it. Equal on all nodes; a peer with another is refused."},
		{"quorum.clock-drift", setPercent(&c.Quorum.ClockDrift), "By how much the clock rates of two machines may differ, from 0% to 10%. Time of day does not matter. A new leader waits longer by twice this."},
		{"quorum.confirm", setEnum(&c.Quorum.Confirm, "lease", "quorum", confirmReplicated), "What a commit waits for. `lease`: nothing. `quorum`: that a majority answers a message sent after the commit; needs no clock, so it also holds on a machine whose hypervisor stops its clocks, and costs a round trip each. `replicated`: that so many other nodes have the transaction too that whoever becomes primary next has it; not with `litefs.mode: follow`."},
		{"quorum.tls.ca", setPath(&c.Quorum.TLS.CA), "Certificate of the CA that all nodes' certificates are of, as `litefence ca init` makes it (PEM)."},
		{"quorum.tls.cert", setPath(&c.Quorum.TLS.Cert), "This node's certificate, as `litefence ca issue` makes it; it must be for the name in `node` (PEM). A replaced file is read without a restart."},
		{"quorum.tls.key", setPath(&c.Quorum.TLS.Key), "Its key (PEM)."},
		{"quorum.insecure", setBoolean(&c.Quorum.Insecure), "`true`, in place of `quorum.tls`: traffic between nodes is neither encrypted nor authenticated; whoever reaches the port can take part. Said at every start and in `status`. For trying out only."},

		{"litefs.mode", setEnum(&c.LiteFS.Mode, "serve", "follow"), "`serve`: litefence is LiteFS's Consul, and the quorum decides who is primary. `follow`: LiteFS elects by a static lease or a real Consul, and litefence adds the fence ([follow.md](follow.md)). The same on all nodes."},
		{"litefs.lease-listen", setAddr(&c.LiteFS.LeaseListen), "Where LiteFS asks for its lease: `lease.consul.url` in `litefs.yml`. On loopback: it has no authentication. Refused with `litefs.mode: follow`."},
		{"litefs.relay-listen", setAddr(&c.LiteFS.RelayListen), "Where LiteFS, as a replica, streams from; it is told so by the lease endpoint. On loopback. Refused with `litefs.mode: follow`."},
		{"litefs.forward", setBoolean(&c.LiteFS.Forward), "`true` lets replicas forward writes by LiteFS's HALT lock."},
		{"litefs.config", setPath(&c.LiteFS.Config), "LiteFS's config file. It is read only to check it, at every start. Default: the `-config` in `litefs.command`. Without either `litefs.data-dir` is required, and nothing of LiteFS's config is checked."},
		{"litefs.url", setText(&c.LiteFS.URL), "The local LiteFS: `http.addr` in `litefs.yml`. On loopback."},
		{"litefs.data-dir", setPath(&c.LiteFS.DataDir), "LiteFS's data directory: `data.dir` in `litefs.yml`. Default: what `litefs.config` says."},
		{"litefs.command", setList(&c.LiteFS.Command), "Starts LiteFS and keeps it running: an exit is followed by a new start a second later. It is stopped with litefence. Empty: LiteFS is started by somebody else, before or after litefence."},

		{"policy.strategy", setStrategy(&c.Policy.Strategy), "What happens beside the fence when this node is a stale leader ([strategies.md](strategies.md#strategies-policystrategy)). The split-brain analysis's spellings, as `FORCE_REPLICA`, are read as well."},
		{"policy.suspend-for", setDuration(&c.Policy.SuspendFor), "With `suspend`: how long writers wait for the gate to open again before they get the error."},
		{"policy.command", setList(&c.Policy.Command), "With `custom`, and only then: the program. It gets the event as JSON on its standard input and in its environment, and 10 s ([strategies.md](strategies.md#strategies-policystrategy))."},
		{"policy.recover", setEnum(&c.Policy.Recover, "auto", "manual"), "`manual`: after a split brain this node stays fenced until `litefence unfence` ([strategies.md](strategies.md#policyrecover-manual))."},
		{"policy.require-synced", setBoolean(&c.Policy.RequireSynced), "`true`: no new primary while a transaction known of the last one is missing on it; writes stop until the last primary returns or the loss is accepted. Set it on every node ([data-loss.md](data-loss.md))."},
		{"policy.reader-grace", setDuration(&c.Policy.ReaderGrace), "How long a read transaction may hold up a change of role; then its reads fail until it ends. LiteFS itself waits without a bound."},
		{"policy.open", setEnum(&c.Policy.Open, "allow", "deny"), "Whether a database may be opened for writing while fenced. With `deny` SQLite opens it for reading only and stays so for the life of the connection: for applications that open a connection per request ([sqlite-results.md](sqlite-results.md))."},
		{"policy.errno", setEnum(&c.Policy.Errno, "EROFS", "EACCES"), "The error of a refused write. `EACCES` is what LiteFS gives on its replicas."},
		{"policy.health.min-free-disk", setSize(&c.Policy.Health.MinFreeDisk), "Less than this free where `quorum.data-dir` or `litefs.data-dir` lies makes the node unhealthy. 0B: off."},
		{"policy.health.max-lag", setDuration(&c.Policy.Health.MaxLag), "A replica behind its primary for longer is degraded. 1 s and more; 0s: off."},
		{"policy.health.max-pressure", setNumber(&c.Policy.Health.MaxPressure), "CPU or memory pressure above this makes the node unhealthy: the percentage of the last ten seconds in which some task waited (`/proc/pressure`). 0: off."},
		{"policy.health.command", setList(&c.Policy.Health.Command), "A program that exits with 0 while the node is healthy. Its first line of output is the reason. Killed after `policy.health.interval`."},
		{"policy.health.interval", setDuration(&c.Policy.Health.Interval), "How often all of them are looked at; 1 s and more. Three failures in a row make unhealthy, six good looks healthy again."},

		{"admin.socket", setPath(&c.Admin.Socket), "The socket on which the commands talk to the daemon: full control, mode 0600. At most 107 bytes long."},
		{"admin.listen", setAddr(&c.Admin.Listen), "Read-only: health, metrics, status. It shows no secrets and changes nothing, so it may be bound beyond loopback. Empty (`\"\"`): off."},

		{"log.level", setEnum(&c.Log.Level, "debug", "info", "warn", "error"), "The least important level that is logged, to standard error. `CRITICAL` (a split brain) is always logged."},
		{"log.format", setEnum(&c.Log.Format, "text", "json"), "`key=value` lines, or one JSON object a line."},
	}
}

// strategies in this program's spelling; the split-brain analysis's own
// (FORCE_REPLICA, rollback_to_checkpoint) are read as well.
var strategies = []string{strategyReplica, strategySuspend, strategyShutdown, strategyRollback, strategyCustom}

func setStrategy(p *string) setter {
	return setter{func(v configValue) error {
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
	}, "`" + strings.Join(strategies, "`, `") + "`", func() string { return *p }}
}

// unsupportedConfig lists what the config can say and this version cannot do yet. It
// is refused, because a setting without effect is a promise that nobody keeps.
// Whoever builds one deletes its line.
var unsupportedConfig = []struct {
	key  string
	asks func(*Config) bool
	use  string
}{
	{"litefs.forward", func(c *Config) bool { return c.LiteFS.Forward }, "use false"},
}
