package quorum

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// changing is a directory whose nodes come and go.
type changing struct {
	mu sync.Mutex
	names
}

func (d *changing) knows(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names.knows(name)
}

func (d *changing) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, name)
}

// open returns both ends of a connection of by to at, n1's port.
func (at *openPort) open(t *testing.T, by Secure) (dialled, accepted net.Conn) {
	dialler := &mux{secure: by, who: names{"n1": at.ln.Addr().String()}, log: testLog("dialler"), stop: make(chan struct{})}
	dialler.wg.Add(1)
	go dialler.closeRefused()
	t.Cleanup(func() { close(dialler.stop); dialler.wg.Wait() })
	dialled, err := dialler.dial(t.Context(), at.ln.Addr().String(), protoHTTP)
	require.NoError(t, err)
	t.Cleanup(func() { dialled.Close() })
	accepted = <-at.http
	t.Cleanup(func() { accepted.Close() })
	return dialled, accepted
}

type openPort struct{ *mux }

// isOpen reads from a connection on which nothing is said.
func isOpen(t *testing.T, c net.Conn) bool {
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		require.ErrorIs(t, err, net.ErrClosed)
		return false
	}
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// An open connection ends once its peer would be refused, at either end; others
// stay.
func TestOpenConnectionsEndWithWhatLetThemIn(t *testing.T) {
	ca, other := newTestCA(t, "ours"), newTestCA(t, "theirs")
	own, who := ca.secure("n1"), &changing{names: names{"n1": "", "n2": "", "n3": "", "n4": ""}}
	at := &openPort{openMux(t, own, who)}
	ends := time.Now().Add(4 * time.Second)
	brief := withCert(t, ca.secure("n2"), ca.issue("brief", testCert{names: []string{"n2"}, to: ends}))
	expiring, _ := at.open(t, brief)
	removed, _ := at.open(t, ca.secure("n3"))
	staying, _ := at.open(t, ca.secure("n4"))

	who.remove("n3")
	begun := time.Now()
	eventually(t, "the removed member's ends", func() bool { return !isOpen(t, removed) })
	require.Less(t, time.Since(begun), 4*vouchEvery)
	if time.Now().Before(ends.Add(-time.Second)) { // certificates count in seconds
		require.True(t, isOpen(t, expiring))
	}
	eventually(t, "the expired one ends", func() bool { return !isOpen(t, expiring) })
	require.WithinDuration(t, ends, time.Now(), 4*vouchEvery)
	require.True(t, isOpen(t, staying))

	// The dialler's CA is replaced: it closes what it has dialled itself.
	elsewhere := ca.secure("n4")
	dialled, accepted := at.open(t, elsewhere)
	elsewhere.files.mu.Lock()
	elsewhere.files.every, elsewhere.files.looked = time.Hour, time.Now()
	elsewhere.files.used = &material{cert: elsewhere.files.used.cert, pool: other.secure("n4").files.used.pool}
	elsewhere.files.mu.Unlock()
	eventually(t, "the one of the replaced CA ends", func() bool { return !isOpen(t, accepted) && !isOpen(t, dialled) })
	require.True(t, isOpen(t, staying))

	// The files on this side are replaced, as an operator does.
	theirs := other.node("n1")
	for from, to := range map[string]string{theirs.CA: own.files.paths.CA, theirs.Cert: own.files.paths.Cert, theirs.Key: own.files.paths.Key} {
		copyFile(t, from, to)
	}
	eventually(t, "all of the replaced CA end", func() bool { return !isOpen(t, staying) })
}
