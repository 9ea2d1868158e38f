package litefs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// cluster is a primary and a replica, both real, and the relay between them.
type cluster struct {
	*pair
	authA, authB *script
	a, b         *liteFS
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{authA: &script{allow: true}, authB: &script{primary: "node-a"}}
	addrA := freeAddr(t)
	c.pair = newPair(t, "http://"+addrA)
	endA, _ := newEndpoint(t, c.primary.URL(), c.authA)
	endB, _ := newEndpoint(t, c.replica.URL(), c.authB)
	c.a = newLiteFSAt(t, "node-a", addrA, "http://"+endA.Addr().String())
	c.a.waitPrimary(true)
	c.a.sql("db", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	c.b = newLiteFS(t, "node-b", "http://"+endB.Addr().String())
	return c
}

func (l *liteFS) positions() policy.Positions {
	l.t.Helper()
	pos, err := l.client.Positions(l.t.Context())
	require.NoError(l.t, err)
	return pos
}

func (c *cluster) inStep(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return c.a.positions().Equal(c.b.positions()) }, "the replica catches up: %s", c.b.out)
}

func TestReplicationThroughTheRelay(t *testing.T) {
	noLeaks(t)
	c := newCluster(t)
	c.inStep(t)
	require.Equal(t, "1", c.b.sql("db", "SELECT count(*) FROM t"))
	for i := range 20 {
		c.a.sql("db", fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
	}
	c.inStep(t)
	require.Equal(t, "21", c.b.sql("db", "SELECT count(*) FROM t"))
	require.Equal(t, 1, c.replica.Active())
	info, err := c.b.client.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, "node-a", info.Primary.Hostname)
	require.Equal(t, c.authA.clusterID, info.ClusterID, "adopted from the stream")

	for name, cut := range map[string]func(){
		"leadership changes":               func() { c.cutUp() },
		"leadership changes, packets lost": func() { c.wire.setDead(true); c.cutUp() },
		"the lease ends":                   func() { c.endLease() },
		"LiteFS loses its role":            func() { c.authA.set(func() { c.authA.allow = false }) },
	} {
		// From the cut on LiteFS asks the endpoint again at once.
		loops := c.authB.loopCount()
		start := time.Now()
		cut()
		eventually(t, func() bool { return c.authB.loopCount() > loops }, "%s: LiteFS asks again", name)
		require.Less(t, time.Since(start), time.Second, name)
		eventually(t, func() bool { return c.replica.Active() == 0 }, "%s: nothing flows", name)

		// And follows again, with nothing but positions in between.
		c.restore()
		c.a.waitPrimary(true)
		n := c.toPrimary.connections()
		c.a.sql("db", "INSERT INTO t VALUES (0)")
		c.inStep(t)
		require.GreaterOrEqual(t, c.toPrimary.connections(), n)
	}
	first := c.toPrimary.connected[0]
	require.Zero(t, first.Sum(), "it began with nothing")
}

func (c *cluster) restore() {
	c.wire.setDead(false)
	c.endLease()
	c.cutUp()
	c.renewLease()
	c.connect()
	c.authA.set(func() { c.authA.allow = true })
}

// Positions that LiteFS reported are the oracle; the LTX files must agree.
func TestInHistoryOfLiteFS(t *testing.T) {
	noLeaks(t)
	c := newCluster(t)
	c.a.sql("wal", "PRAGMA journal_mode=wal; CREATE TABLE t(x)")
	var early, late []policy.Positions
	write := func(seen *[]policy.Positions) {
		for range 5 {
			for _, db := range []string{"db", "wal"} {
				c.a.sql(db, "INSERT INTO t VALUES (randomblob(5000))")
				*seen = append(*seen, c.a.positions())
			}
		}
	}
	c.cutUp()
	write(&early)
	c.b.kill()
	require.NoError(t, os.RemoveAll(c.b.data())) // so that it begins with a snapshot
	c.connect()
	c.b.start()
	c.inStep(t)
	snapshot := c.b.positions()
	write(&late)
	c.inStep(t)

	for _, pos := range append(append(early, snapshot), late...) {
		ok, db := InHistory(c.a.data(), pos)
		require.True(t, ok, "%s of %v", db, pos)
	}
	for _, pos := range append(late, snapshot) {
		ok, db := InHistory(c.b.data(), pos)
		require.True(t, ok, "%s of %v, on the replica", db, pos)
	}
	ok, db := InHistory(c.b.data(), early[0])
	require.False(t, ok, "hidden in the snapshot")
	require.Equal(t, "db", db)

	last := late[len(late)-1]
	for name, p := range map[string]policy.Pos{
		"another content":          {TXID: last["wal"].TXID, Checksum: last["wal"].Checksum ^ 1},
		"a transaction to come":    {TXID: last["wal"].TXID + 1, Checksum: last["wal"].Checksum},
		"another content, earlier": {TXID: 2, Checksum: 1 << 63},
	} {
		for _, l := range []*liteFS{c.a, c.b} {
			ok, db := InHistory(l.data(), policy.Positions{"db": last["db"], "wal": p})
			require.False(t, ok, name)
			require.Equal(t, "wal", db)
		}
	}
	ok, db = InHistory(c.a.data(), policy.Positions{"db": last["db"], "gone": {TXID: 1, Checksum: 1 << 63}})
	require.False(t, ok)
	require.Equal(t, "gone", db)
	ok, _ = InHistory(c.a.data(), policy.Positions{"gone": {}})
	require.True(t, ok, "TXID 0 is absent")

	// The snapshot is one file from 1; the file after it proves it as well.
	files, newest, err := readLTXDir(filepath.Join(c.b.data(), "dbs", "db", "ltx"))
	require.NoError(t, err)
	require.Equal(t, last["db"].TXID, newest)
	require.NoError(t, os.Remove(filepath.Join(c.b.data(), "dbs", "db", "ltx", files[snapshot["db"].TXID])))
	ok, _ = InHistory(c.b.data(), snapshot)
	require.True(t, ok, "by the checksum before the next transaction")
}
