package litefs

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

func newPrimary(t *testing.T) *liteFS {
	t.Helper()
	a := &script{allow: true}
	e, _ := newEndpoint(t, "http://"+freeAddr(t), a)
	l := newLiteFS(t, "node-a", "http://"+e.Addr().String())
	l.waitPrimary(true)
	l.sql("db", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	return l
}

func TestClientOfLiteFS(t *testing.T) {
	noLeaks(t)
	l := newPrimary(t)
	info, err := l.client.Info(t.Context())
	require.NoError(t, err)
	require.True(t, info.IsPrimary && info.Candidate)
	require.Equal(t, "node-a", info.Primary.Hostname)
	require.Equal(t, l.data(), info.Path)
	require.NotEmpty(t, info.ClusterID)

	f, err := os.Create(filepath.Join(l.mnt(), "empty"))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	pos := l.positions()
	require.Len(t, pos, 2)
	require.Zero(t, pos["empty"].TXID)
	stated, err := os.ReadFile(filepath.Join(l.mnt(), "db-pos"))
	require.NoError(t, err)
	want, err := policy.ParsePos(string(stated))
	require.NoError(t, err)
	require.Equal(t, want, pos["db"])

	l.stop()
	_, err = l.client.Positions(t.Context())
	require.Error(t, err, "no LiteFS is no empty position")
}

func TestDropsAreTold(t *testing.T) {
	noLeaks(t)
	l := newPrimary(t)
	l.sql("other", "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type drop struct {
		db   string
		txid uint64
	}
	drops, ended := make(chan drop, 10), make(chan error, 1)
	go func() { ended <- l.client.Drops(ctx, func(db string, txid uint64) { drops <- drop{db, txid} }) }()
	// The stream has no sign that it has begun: what is dropped until it is told.
	var got drop
	require.Eventually(t, func() bool {
		l.sql("again", "CREATE TABLE t(x)")
		require.NoError(t, os.Remove(filepath.Join(l.mnt(), "again")))
		select {
		case got = <-drops:
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, "again", got.db)
	require.Greater(t, got.txid, uint64(1))
	require.NoError(t, os.Remove(filepath.Join(l.mnt(), "other")))
	for got.db != "other" {
		got = <-drops
	}
	require.EqualValues(t, 3, got.txid, "CREATE, INSERT and the drop")
	cancel()
	require.Error(t, <-ended)
}

func TestHaltRepairsAHotJournal(t *testing.T) {
	noLeaks(t)
	l := newPrimary(t)
	_, kill := l.session("db", "PRAGMA cache_size=5; BEGIN; INSERT INTO t SELECT randomblob(1000) FROM generate_series(1,2000);")
	kill()
	journal := filepath.Join(l.mnt(), "db-journal")
	require.FileExists(t, journal)
	before := l.positions()
	held := false
	require.NoError(t, l.client.HaltWith(t.Context(), "db", func() {
		held = true
		require.NoFileExists(t, journal)
	}))
	require.True(t, held)
	require.Equal(t, before, l.positions())
	require.Equal(t, "1|ok", l.sql("db", "SELECT count(*), (SELECT * FROM pragma_integrity_check) FROM t"))
}

// A HALT that is given up, in whatever moment, leaves no lock.
func TestHaltGivenUp(t *testing.T) {
	noLeaks(t)
	l := newPrimary(t)
	in, _ := l.session("db", "BEGIN; SELECT * FROM t;")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	require.ErrorIs(t, l.client.Halt(ctx, "db"), context.DeadlineExceeded)
	require.Less(t, time.Since(start), time.Second, "LiteFS was made to answer")
	_, err := io.WriteString(in, "COMMIT;\n")
	require.NoError(t, err)
	l.sql("db", "PRAGMA busy_timeout=2000; INSERT INTO t VALUES (2)")

	for d := time.Duration(0); d < 8*time.Millisecond; d += 100 * time.Microsecond {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		_ = l.client.Halt(ctx, "db")
		cancel()
		requireNotHalted(t, l)
	}
}

// requireNotHalted asks with another lock id, which waits while ours is held.
func requireNotHalted(t *testing.T, l *liteFS) {
	t.Helper()
	for _, method := range []string{"POST", "DELETE"} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		req, err := http.NewRequestWithContext(ctx, method, "http://"+l.addr+"/halt?name=db&id=99", nil)
		require.NoError(t, err)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err, "a HALT lock was left")
		resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		cancel()
	}
}

func TestHaltAtOnce(t *testing.T) {
	noLeaks(t)
	l := newPrimary(t)
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() { errs <- l.client.Halt(t.Context(), "db") }()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	requireNotHalted(t, l)
	require.Equal(t, "1", l.sql("db", "SELECT count(*) FROM t"))
}

func TestUnhaltWhatAPredecessorLeft(t *testing.T) {
	noLeaks(t)
	l := newPrimary(t)
	require.NoError(t, l.client.postHalt(t.Context(), "db")) // and died
	require.NoError(t, l.client.Unhalt(t.Context(), "db"))
	requireNotHalted(t, l)
	require.NoError(t, l.client.Unhalt(t.Context(), "db"), "none is held")
}

// LiteFS would create the one and panic at the other.
func TestHaltOfNoDatabase(t *testing.T) {
	noLeaks(t)
	l := newPrimary(t)
	require.ErrorIs(t, l.client.Halt(t.Context(), "none"), ErrNoDatabase)
	require.ErrorIs(t, l.client.Unhalt(t.Context(), "none"), ErrNoDatabase)
	require.NotContains(t, l.positions(), "none")
}

func FuzzStoreVar(f *testing.F) {
	f.Add([]byte(`{"isPrimary":true,"dbs":{"db":{"name":"db","txid":"0000000000000001","checksum":"8000000000000001"}}}`))
	f.Add([]byte(`null`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, b []byte) {
		pos, err := parseStoreVar(b)
		require.Equal(t, err != nil, pos == nil)
	})
}
