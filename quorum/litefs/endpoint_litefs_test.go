package litefs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLiteFSHoldsAndLosesTheKey(t *testing.T) {
	noLeaks(t)
	for _, prefix := range []string{"", "/some/prefix"} {
		t.Run("prefix="+prefix, func(t *testing.T) {
			a := &script{}
			e, _ := newEndpoint(t, "http://"+freeAddr(t), a)
			l := newLiteFS(t, "node-a", "http://"+e.Addr().String()+prefix)
			holdAndLose(t, a, e, l)
		})
	}
}

func holdAndLose(t *testing.T, a *script, e *Endpoint, l *liteFS) {
	// Refused, it asks again, and every turn of its loop is told.
	eventually(t, func() bool { return a.loopCount() > 3 }, "LiteFS asks: %s", l.out)
	require.False(t, l.isPrimary())

	a.set(func() { a.allow = true })
	l.waitPrimary(true)
	require.Equal(t, "node-a", a.hostname)
	loops := a.loopCount()
	seen := a.renewalCount()
	eventually(t, func() bool { return a.renewalCount() > seen+3 }, "it renews")
	require.Equal(t, loops, a.loopCount(), "a primary's loop stands still")
	info, err := l.client.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, info.ClusterID, a.clusterID, "committed before it was stored")
	_, ttl, ok := e.LastRenewal()
	require.True(t, ok)
	require.EqualValues(t, 100e6, ttl)
	l.sql("db", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")

	// Told 404 it steps down, and no Release comes.
	a.set(func() { a.allow = false; a.serveID = true })
	l.waitPrimary(false)
	eventually(t, func() bool { return a.loopCount() > loops }, "the loop goes on")
	require.Empty(t, a.releases())
	require.Equal(t, 1, a.grants())

	// Killed and started again as the holder: its old grant is released.
	a.set(func() { a.allow = true })
	l.waitPrimary(true)
	require.Equal(t, 2, a.grants())
	l.kill()
	_, _, ok = e.LastRenewal()
	require.True(t, ok, "nothing has told the endpoint yet")
	l.start()
	l.waitPrimary(true)
	require.Equal(t, []uint64{2}, a.releases())
	require.Equal(t, 3, a.grants())
	require.Equal(t, "1", l.sql("db", "SELECT x FROM t"))

	// An orderly end releases.
	l.stop()
	require.Equal(t, []uint64{2, 3}, a.releases())
}

// A cluster id that could not be committed must not make a primary.
func TestLiteFSClusterIDRefused(t *testing.T) {
	noLeaks(t)
	a := &script{allow: true, setErr: errors.New("no majority")}
	e, _ := newEndpoint(t, "http://"+freeAddr(t), a)
	l := newLiteFS(t, "node-a", "http://"+e.Addr().String())
	eventually(t, func() bool { return len(a.releases()) > 2 }, "it gives the key up each time: %s", l.out)
	require.False(t, l.isPrimary())
	require.NoFileExists(t, filepath.Join(l.data(), "clusterid"))
	a.set(func() { a.setErr = nil })
	l.waitPrimary(true)
	stored, err := os.ReadFile(filepath.Join(l.data(), "clusterid"))
	require.NoError(t, err)
	require.Contains(t, string(stored), a.clusterID)
}

// Another cluster's id keeps LiteFS away from the key.
func TestLiteFSOfAnotherCluster(t *testing.T) {
	noLeaks(t)
	a := &script{allow: true}
	e, _ := newEndpoint(t, "http://"+freeAddr(t), a)
	l := newLiteFS(t, "node-a", "http://"+e.Addr().String())
	l.waitPrimary(true)
	l.stop()
	grants := a.grants()
	a.set(func() { a.clusterID, a.serveID = "LFSC0123456789ABCDEF", true })
	loops := a.loopCount()
	l.start()
	eventually(t, func() bool { return a.loopCount() > loops+5 }, "it asks: %s", l.out)
	require.Equal(t, grants, a.grants())
	require.False(t, l.isPrimary())
}
