package cluster

import (
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Forward listens on the machine's own loopback and passes every connection on
// to addr in the node's network, for a program that cannot run there. It returns
// the address, and ends with the test process.
func (n *Node) Forward(addr string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go n.forward(c, addr)
		}
	}()
	return l.Addr().String(), nil
}

func (n *Node) forward(c net.Conn, addr string) {
	defer c.Close()
	to, err := n.Dial(addr)
	if err != nil {
		return
	}
	defer to.Close()
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		_, _ = to.(*net.TCPConn).ReadFrom(from)
		done <- struct{}{}
	}
	go pass(to, c)
	go pass(c, to)
	<-done // whichever side ends ends the other
}

// Dial connects to addr over TCP from within the node's network. A socket stays in the namespace
// it was made in; the thread goes back, or with its goroutine.
func (n *Node) Dial(addr string) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var own, ns *os.File
		if own, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return
		}
		defer own.Close()
		if ns, err = os.Open(n.nsPath()); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		c, err = net.Dial("tcp", addr)
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return c, err
}
