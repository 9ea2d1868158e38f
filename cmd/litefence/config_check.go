package main

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxClockDrift is far beyond any working clock; a larger figure is a slip of
// the pen, and would only make every new leader wait longer.
const maxClockDrift = 0.10

// check tests what no single key can tell. The first finding is the error.
func (d *configDecoder) check() error {
	for _, f := range []func() error{
		d.checkNode, d.checkMounts, d.checkTiming, d.checkTransport, d.checkLiteFS, d.checkPolicy, d.checkAdmin, d.checkSupported,
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// nodeName is what can stand in a raft ID, a URL, a file name and a label.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

func (d *configDecoder) checkNode() error {
	q := d.c.Quorum
	if d.c.Node == "" {
		return d.errorf("node", "missing; give this node's name, one of quorum.peers")
	}
	if len(q.Peers) == 0 {
		return d.errorf("quorum.peers", "missing; name every node with its address, this one too, as {%s: \"10.0.0.1:7400\"}", d.c.Node)
	}
	names := make([]string, 0, len(q.Peers))
	for name := range q.Peers {
		names = append(names, name)
	}
	slices.Sort(names)
	seen := map[string]string{}
	for _, name := range names {
		if !nodeName.MatchString(name) {
			return d.errorf("quorum.peers", "%q is not a node name; allowed: letters, digits, . _ - inside", name)
		}
		if err := checkAddr(q.Peers[name], true); err != nil {
			return d.errorf("quorum.peers", "%s: %w", name, err)
		}
		if other, dup := seen[q.Peers[name]]; dup {
			return d.errorf("quorum.peers", "%s and %s have the same address %s", other, name, q.Peers[name])
		}
		seen[q.Peers[name]] = name
	}
	if _, ok := q.Peers[d.c.Node]; !ok {
		return d.errorf("node", "%q is not in quorum.peers, which has %s", d.c.Node, strings.Join(names, ", "))
	}
	return nil
}

func (d *configDecoder) checkMounts() error {
	lower, mount := d.c.Fence.Lower, d.c.Fence.Mount
	switch {
	case mount == lower:
		return d.errorf("fence.mount", "is the same as fence.lower (%s); the fenced mount needs a directory of its own, because LiteFS's exit would unmount it", lower)
	case insideDir(mount, lower):
		return d.errorf("fence.mount", "%s lies inside fence.lower (%s); use a directory outside of it", mount, lower)
	case insideDir(lower, mount):
		return d.errorf("fence.lower", "%s lies inside fence.mount (%s); use a directory outside of it", lower, mount)
	}
	for _, k := range []struct{ key, dir string }{{"quorum.data-dir", d.c.Quorum.DataDir}, {"litefs.data-dir", d.c.LiteFS.DataDir}} {
		for _, m := range []string{mount, lower} {
			if k.dir == m || k.dir != "" && insideDir(k.dir, m) {
				return d.errorf(k.key, "%s lies in the mount %s; use a directory outside of it", k.dir, m)
			}
		}
	}
	return nil
}

// insideDir reports whether the clean path p lies below dir.
func insideDir(p, dir string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../")
}

func (d *configDecoder) checkTiming() error {
	q := d.c.Quorum
	const minHeartbeat = 50 * time.Millisecond
	least := 4 * (q.HeartbeatTimeout / 10)
	switch {
	case q.HeartbeatTimeout < minHeartbeat:
		return d.errorf("quorum.heartbeat-timeout", "%v is too short; allowed: %v and more", q.HeartbeatTimeout, minHeartbeat)
	case q.Lease < least || q.Lease > q.HeartbeatTimeout:
		return d.errorf("quorum.lease", "%v does not fit; allowed with quorum.heartbeat-timeout %v: %v (4 heartbeats) to %v", q.Lease, q.HeartbeatTimeout, least, q.HeartbeatTimeout)
	case q.ClockDrift < 0 || q.ClockDrift > maxClockDrift:
		return d.errorf("quorum.clock-drift", "%s is impossible; allowed: 0%% to 10%%", strconv.FormatFloat(q.ClockDrift*100, 'g', 6, 64)+"%")
	}
	return d.checkHealth()
}

// checkHealth refuses what could not be measured: peers are asked for their
// positions twice a second, and a probe needs time to answer.
func (d *configDecoder) checkHealth() error {
	h := d.c.Policy.Health
	const least = time.Second
	switch {
	case h.Interval < least:
		return d.errorf("policy.health.interval", "%v is too short; allowed: %v and more", h.Interval, least)
	case h.MaxLag != 0 && h.MaxLag < least:
		return d.errorf("policy.health.max-lag", "%v is too short; allowed: 0 (off), %v and more", h.MaxLag, least)
	case len(h.Command) > 0 && h.Command[0] == "":
		return d.errorf("policy.health.command", "names no program")
	}
	return nil
}

func (d *configDecoder) checkTransport() error {
	q := d.c.Quorum
	if q.Listen == "" {
		return d.errorf("quorum.listen", "missing; give the address that the other nodes reach, as %s", q.Peers[d.c.Node])
	}
	if err := checkAddr(q.Listen, false); err != nil {
		return d.errorf("quorum.listen", "%w", err)
	}
	if err := checkAddr(q.Advertise, true); err != nil {
		key := "quorum.advertise"
		if d.lines[key] == 0 {
			key = "quorum.listen"
			err = fmt.Errorf("%w, or set quorum.advertise", err)
		}
		return d.errorf(key, "%w", err)
	}
	t := q.TLS
	switch {
	case t.Enabled() && q.Insecure:
		return d.errorf("quorum.insecure", "contradicts quorum.tls; delete one of them")
	case !t.Enabled() && !q.Insecure:
		return d.errorf("quorum.tls", "missing; give ca, cert and key, or say `insecure: true` for traffic that anybody on the network can forge")
	case t.Enabled() && (t.CA == "" || t.Cert == "" || t.Key == ""):
		return d.errorf("quorum.tls", "needs all of ca, cert and key")
	}
	return nil
}

func (d *configDecoder) checkLiteFS() error {
	l := d.c.LiteFS
	if l.follows() && d.c.Quorum.Confirm == confirmReplicated {
		return d.errorf("quorum.confirm", "%s needs litefs.mode: serve: a LiteFS with a lease of its own streams past us, and chooses its next primary by itself; use lease or quorum", confirmReplicated)
	}
	for _, k := range []struct{ key, addr string }{{"litefs.lease-listen", l.LeaseListen}, {"litefs.relay-listen", l.RelayListen}} {
		if l.follows() && d.lines[k.key] != 0 {
			return d.errorf(k.key, "has no effect with litefs.mode: follow; delete it")
		}
		if err := checkLoopback(k.addr); err != nil {
			return d.errorf(k.key, "%w", err)
		}
	}
	if l.LeaseListen == l.RelayListen {
		return d.errorf("litefs.relay-listen", "is the same as litefs.lease-listen (%s); give each a port of its own", l.LeaseListen)
	}
	u, err := url.Parse(l.URL)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return d.errorf("litefs.url", "%q is not the URL of a LiteFS; write it as http://127.0.0.1:20202", l.URL)
	}
	// Where LiteFS streams by itself it may listen on one address that is not
	// loopback's.
	if err := checkLoopback(u.Host); err != nil && !l.follows() {
		return d.errorf("litefs.url", "%w", err)
	}
	return nil
}

func (d *configDecoder) checkPolicy() error {
	p := d.c.Policy
	switch {
	case p.Strategy == strategyCustom && len(p.Command) == 0:
		return d.errorf("policy.command", "missing; policy.strategy: custom runs it")
	case p.Strategy != strategyCustom && len(p.Command) > 0:
		return d.errorf("policy.command", "has no effect with policy.strategy: %s; delete it, or say `strategy: custom`", p.Strategy)
	case len(p.Command) > 0 && p.Command[0] == "":
		return d.errorf("policy.command", "names no program")
	case p.Strategy == strategySuspend && p.SuspendFor <= 0:
		return d.errorf("policy.suspend-for", "%v holds nobody; give the time that a writer may wait, as 2s", p.SuspendFor)
	case p.Strategy == strategyRollback && d.c.LiteFS.follows():
		return d.errorf("policy.strategy", "%s needs litefs.mode: serve: a LiteFS with a lease of its own streams past us, and nothing can be set aside before it", strategyRollback)
	}
	return nil
}

func (d *configDecoder) checkAdmin() error {
	if a := d.c.Admin.Listen; a != "" {
		if err := checkAddr(a, false); err != nil {
			return d.errorf("admin.listen", "%w", err)
		}
	}
	// sun_path of a unix socket has room for 107 bytes.
	if n := len(d.c.Admin.Socket); n > 107 {
		return d.errorf("admin.socket", "the path is %d bytes long; allowed: 107", n)
	}
	return nil
}

func (d *configDecoder) checkSupported() error {
	for _, u := range unsupportedConfig {
		if u.asks(d.c) {
			return d.errorf(u.key, "this value is not supported yet in this version; %s", u.use)
		}
	}
	return nil
}

// checkAddr accepts HOST:PORT; reachable ones need a host and a port that
// others can dial.
func checkAddr(a string, reachable bool) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%q is not an address; write HOST:PORT", a)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q has no port from 1 to 65535", a)
	}
	if ip := net.ParseIP(host); reachable && (host == "" || ip != nil && ip.IsUnspecified()) {
		return fmt.Errorf("%q names no host that other nodes can reach", a)
	}
	return nil
}

// checkLoopback accepts addresses that no other machine reaches: behind them
// is an interface without authentication.
func checkLoopback(a string) error {
	if err := checkAddr(a, false); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(a)
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q is not on loopback, and nothing protects it; use 127.0.0.1", a)
}
