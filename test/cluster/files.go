package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func (n *Node) writeFiles() error {
	for _, dir := range []string{n.Dir, n.Lower(), n.Fenced(), n.Data(), n.RaftData()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if size := n.c.opts.Disks; size != 0 {
		for _, dir := range []string{n.Data(), n.RaftData()} {
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
				return fmt.Errorf("mount a file system on %s: %w", dir, err)
			}
		}
	}
	if err := os.WriteFile(n.liteFSConfigPath(), []byte(n.liteFSConfig()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(n.ConfigPath(), []byte(n.Config()), 0o600)
}

func (n *Node) liteFSConfig() string {
	if own := n.c.opts.OwnLease; own != nil {
		return fmt.Sprintf("fuse: {dir: %q, allow-other: true}\ndata: {dir: %q}\nhttp: {addr: \":20202\"}\nlease: %s\ntracing: {enabled: false}\n",
			n.Lower(), n.Data(), own(n))
	}
	return fmt.Sprintf(`fuse: {dir: %q, allow-other: true}
data: {dir: %q}
http: {addr: "127.0.0.1:20202"}
lease:
  type: consul
  hostname: %s
  advertise-url: http://127.0.0.1:20202
  candidate: true
  reconnect-delay: 50ms
  consul: {url: "http://127.0.0.1:20201", key: litefs/primary, ttl: %s, lock-delay: 1ms}
tracing: {enabled: false}
`, n.Lower(), n.Data(), n.Name, n.c.opts.TTL)
}

// Config is the node's litefence.yml, for tests that want a variation of it.
func (n *Node) Config() string {
	var peers []string
	for _, p := range n.c.Nodes {
		peers = append(peers, p.Name+"="+p.addr())
	}
	s := "node: " + n.Name + "\n"
	if !n.Witness {
		fence := fmt.Sprintf("lower: %q, mount: %q", n.Lower(), n.Fenced())
		if f := n.c.opts.Fence; f != "" {
			fence += ", " + f
		}
		s += "fence: {" + fence + "}\n"
	}
	s += fmt.Sprintf(`quorum:
  listen: %s
  peers: %q
  data-dir: %q
  %s
`, n.addr(), strings.Join(peers, ","), n.RaftData(), n.transport())
	if h := n.c.opts.Heartbeat; h != 0 {
		s += fmt.Sprintf("  heartbeat-timeout: %s\n", h)
	}
	if d := n.c.opts.Lease; d != 0 {
		s += fmt.Sprintf("  lease: %s\n", d)
	}
	if c := n.c.opts.Confirm; c != "" {
		s += fmt.Sprintf("  confirm: %s\n", c)
	}
	if !n.Witness {
		mode := "serve"
		if n.c.opts.OwnLease != nil {
			mode = "follow"
		}
		s += fmt.Sprintf("litefs: {mode: %s, config: %q, data-dir: %q%s}\n", mode, n.liteFSConfigPath(), n.Data(), n.supervision()) + n.c.opts.Extra
	}
	return s + "\n" + fmt.Sprintf("admin: {socket: %q}\n", n.socket())
}

// supervision is the part of the config by which litefence starts LiteFS.
func (n *Node) supervision() string {
	if !n.Supervised {
		return ""
	}
	var words []string
	for _, w := range n.liteFSCommand() {
		words = append(words, fmt.Sprintf("%q", w))
	}
	return ", command: [" + strings.Join(words, ", ") + "]"
}

// transport is the part of the config that says how nodes know each other.
func (n *Node) transport() string {
	if !n.c.opts.TLS {
		return "insecure: true"
	}
	at := func(name string) string { return filepath.Join(n.Dir, "tls", name) }
	return fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", at("ca.pem"), at(n.Name+".pem"), at(n.Name+"-key.pem"))
}

// issueCertificates does what an operator does, with the same commands.
func (c *Cluster) issueCertificates() error {
	ca := filepath.Join(c.Dir, "ca")
	if err := run(c.opts.Litefence, "ca", "init", "-dir", ca); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if err := run(c.opts.Litefence, "ca", "issue", n.Name, "-dir", ca, "-out", filepath.Join(n.Dir, "tls")); err != nil {
			return err
		}
	}
	return nil
}
