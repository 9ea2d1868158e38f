package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The switch stands in a namespace of its own, not in the machine's: there a
// FORWARD policy of DROP (Docker sets one) would reach into the bridge, and a
// killed run would leave a bridge behind. Nobody outside can reach the nodes,
// so that every run may use the same addresses.
const netdev = "eth0"

// SwitchIP is the address of a machine that is none of the nodes.
const SwitchIP = "10.213.7.254"

func (c *Cluster) makeNetwork() error {
	sw := c.id + "s"
	if err := run("ip", "netns", "add", sw); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "br0", "type", "bridge"},
		{"link", "set", "br0", "up"},
		{"addr", "add", SwitchIP + "/24", "dev", "br0"},
	} {
		if err := run("ip", append([]string{"-n", sw}, args...)...); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := n.plugIn(sw); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) plugIn(sw string) error {
	port := "p" + n.Name
	for _, args := range [][]string{
		{"netns", "add", n.ns},
		{"-n", n.ns, "link", "set", "lo", "up"},
		{"link", "add", port, "netns", sw, "type", "veth", "peer", "name", netdev, "netns", n.ns},
		{"-n", sw, "link", "set", port, "master", "br0"},
		{"-n", sw, "link", "set", port, "up"},
		{"-n", n.ns, "addr", "add", n.IP + "/24", "dev", netdev},
		{"-n", n.ns, "link", "set", netdev, "up"},
	} {
		if err := run("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// Isolate drops every packet to and from the node's network, in silence.
func (n *Node) Isolate() error {
	return n.Filter("-A INPUT -i eth0 -j DROP", "-A OUTPUT -o eth0 -j DROP")
}

// IsolateIn drops what the node would receive; what it sends arrives.
func (n *Node) IsolateIn() error { return n.Filter("-A INPUT -i eth0 -j DROP") }

// IsolateOut drops what the node sends; what others send arrives.
func (n *Node) IsolateOut() error { return n.Filter("-A OUTPUT -o eth0 -j DROP") }

// IsolateFrom drops every packet between the node and one address.
func (n *Node) IsolateFrom(ip string) error {
	return n.Filter("-A INPUT -s "+ip+" -j DROP", "-A OUTPUT -d "+ip+" -j DROP")
}

// Refuse answers what the node sends to a port elsewhere with a reset: what is
// connected breaks at its next packet, and nothing connects.
func (n *Node) Refuse(ip string, port int) error {
	return n.Filter(fmt.Sprintf("-A OUTPUT -p tcp -d %s --dport %d -j REJECT --reject-with tcp-reset", ip, port))
}

// Heal takes every cut of this node back.
func (n *Node) Heal() error { return n.Filter() }

// Filter replaces the node's packet filter, in one step, by rules as
// iptables-restore reads them.
func (n *Node) Filter(rules ...string) error {
	table := "*filter\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
	cmd := exec.Command("nsenter", "--net="+n.nsPath(), "iptables-restore")
	cmd.Stdin = strings.NewReader(table)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables-restore on %s: %w: %s", n.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

func (n *Node) nsPath() string { return nsPath(n.ns) }

func nsPath(ns string) string { return "/var/run/netns/" + ns }

// Listen listens at SwitchIP, for a server of the test's own that the nodes
// shall reach. A socket stays in the namespace it was made in.
func (c *Cluster) Listen(port int) (ln net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var ns *os.File
		if ns, err = os.Open(nsPath(c.id + "s")); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			ln, err = net.Listen("tcp", net.JoinHostPort(SwitchIP, strconv.Itoa(port)))
		}
	}()
	<-done
	return ln, err
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// Names carry the pid of the process that made them, so that leftovers of a
// killed one can be told from what is in use.
func namePrefix(pid int) string { return "lf" + strconv.Itoa(pid) + "x" }
func tempPrefix(pid int) string { return "litefence-" + strconv.Itoa(pid) + "-" }

// namespaces lists the named network namespaces that begin with prefix.
func namespaces(prefix string) (names []string) {
	entries, _ := os.ReadDir("/var/run/netns")
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names
}

func removeNamespaces(prefix string) error {
	var errs []error
	for _, name := range namespaces(prefix) {
		errs = append(errs, removeNamespace(name))
	}
	return errors.Join(errs...)
}
