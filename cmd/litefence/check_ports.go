package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// lookPorts sees before a start what would keep our ports from us. A running
// daemon has them.
func (d *doctor) lookPorts(context.Context) (found []finding, skipped string) {
	if d.held() {
		return nil, "the daemon has its ports"
	}
	q, l := d.cfg.Quorum, d.cfg.LiteFS
	ports := []struct{ key, addr string }{{"quorum.listen", q.Listen}, {"admin.listen", d.cfg.Admin.Listen}}
	if !d.witness && !l.follows() {
		ports = append(ports, struct{ key, addr string }{"litefs.lease-listen", l.LeaseListen}, struct{ key, addr string }{"litefs.relay-listen", l.RelayListen})
	}
	taken := listeners()
	for _, p := range ports {
		if p.addr != "" {
			found = append(found, d.lookPort(p.key, p.addr, taken)...)
		}
	}
	return found, ""
}

func (d *doctor) lookPort(key, addr string, taken []listener) (found []finding) {
	const check = "ports"
	host, port, err := net.SplitHostPort(addr)
	n, _ := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil // the config's check has said so
	}
	ips, err := addressesOf(host)
	if err != nil {
		return []finding{d.err(check, "correct it, or the name service", "%s %s: %v", key, addr, err)}
	}
	for _, ip := range ips {
		if !localAddress(ip) {
			found = append(found, d.err(check, "name an address of this machine, and the one that others reach in quorum.advertise", "%s %s: this machine has no address %s", key, addr, ip))
			continue
		}
		for _, t := range taken {
			same := t.at.Addr() == ip || t.at.Addr().IsUnspecified() || ip.IsUnspecified()
			if same && uint64(t.at.Port()) == n {
				return append(found, d.err(check, "stop it, or choose a free port", "%s %s is in use by %s", key, addr, ownerOf(t.inode)))
			}
		}
	}
	return found
}

func addressesOf(host string) (ips []netip.Addr, err error) {
	if host == "" {
		return []netip.Addr{netip.IPv4Unspecified()}, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	names, err := net.LookupHost(host)
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			ips = append(ips, ip.Unmap())
		}
	}
	if err == nil && len(ips) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	return ips, err
}

func localAddress(ip netip.Addr) bool {
	if ip.IsUnspecified() || ip.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == ip.WithZone("") {
				return true
			}
		}
	}
	return false
}
