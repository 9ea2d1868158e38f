package quorum

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

// fakeKeeper keeps nothing but the word.
type fakeKeeper struct {
	lite *fakeLiteFS

	mu       sync.Mutex
	kept     []Lost
	at       []policy.Positions // where LiteFS stood at each Keep
	held     int
	released int
	err      error
}

func (k *fakeKeeper) Joints(db string, skip, n int) (all []policy.Pos) {
	for txid := k.lite.at(db).TXID; txid > 0; txid-- {
		if sum, ok := k.lite.checksum(db, txid); ok {
			all = append(all, policy.Pos{TXID: txid, Checksum: sum})
		}
	}
	all = all[min(skip, len(all)):]
	return all[:min(n, len(all))]
}

func (k *fakeKeeper) Keep(e Lost) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return "", k.err
	}
	k.kept = append(k.kept, e)
	k.at = append(k.at, policy.Positions{"db": k.lite.at("db")})
	return "/aside/" + e.ID, nil
}

func (k *fakeKeeper) Hold(policy.Positions) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held++
	return nil
}

func (k *fakeKeeper) Release() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.released++
	return nil
}

func (k *fakeKeeper) fails(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *fakeKeeper) all() []Lost {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]Lost(nil), k.kept...)
}

// keptCluster cuts the primary off with three transactions that it alone has,
// and returns it with the next one, which has gone on.
func keptCluster(t *testing.T) (c *testCluster, old, next *testNode, k *fakeKeeper) {
	keepers := map[string]*fakeKeeper{}
	c, old, _ = witnessedCluster(t, func(cfg *Config) {
		k := &fakeKeeper{lite: cfg.LiteFS.(*fakeLiteFS)}
		keepers[cfg.Name], cfg.Rollback = k, k
	})
	k = keepers[old.name]
	c.cut.set(old.name, true)
	next = c.writer(old.name)
	for i := range 3 {
		old.lite.commit("db", uint64(900+i))
	}
	next.lite.commit("db", 7)
	eventually(t, "resolved", func() bool { return old.stateNow() == StateResolved })
	return c, old, next, k
}

func TestRolledBackIsKeptFirst(t *testing.T) {
	t.Parallel()
	c, old, next, k := keptCluster(t)
	old.lite.commit("own", 1) // the primary lacks this one; LiteFS drops it not
	c.cut.set(old.name, false)
	eventually(t, "the old primary follows", func() bool { return old.lite.at("db") == next.lite.at("db") })
	require.Len(t, k.all(), 1)
	e := k.all()[0]
	require.Equal(t, []LostDB{{Name: "db", From: old.name, Had: policy.Pos{TXID: 4, Checksum: 902}, Have: policy.Pos{TXID: 1, Checksum: 1}}}, e.Databases)
	require.Equal(t, policy.Pos{TXID: 4, Checksum: 902}, k.at[0]["db"], "before anything was replaced")
	saved, err := ListLost(old.dir)
	require.NoError(t, err)
	require.Len(t, saved, 1)
	require.Equal(t, []string{KindRolledBack, "/aside/" + e.ID, next.name}, []string{saved[0].Kind, saved[0].Path, saved[0].Primary})
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Equal(t, 1, k.held, "from the split brain on")
	require.NotZero(t, k.released)
}

// While it cannot be set aside, nothing is sent to LiteFS that would replace it.
func TestNothingFollowsBeforeItIsKept(t *testing.T) {
	t.Parallel()
	c, old, next, k := keptCluster(t)
	k.fails(errors.New("no room"))
	c.cut.set(old.name, false)
	eventually(t, "said in the status", func() bool { return old.Status(t.Context()).OutOfStep != "" })
	require.Contains(t, old.Status(t.Context()).OutOfStep, "no room")
	never(t, "LiteFS is sent something", func() bool { return old.lite.at("db").Checksum != 902 }, func() { sleep(t.Context(), c.H) })
	k.fails(nil)
	eventually(t, "the old primary follows", func() bool { return old.lite.at("db") == next.lite.at("db") })
	require.Len(t, k.all(), 1)
	c.inStep(next)
	require.Empty(t, old.Status(t.Context()).OutOfStep)
}

// A primary that says nothing is waited for; after that, everything above what
// a majority is known to hold is set aside. The same twice is one entry.
func TestKeptWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	_, old, _, k := keptCluster(t)
	st := state{Held: policy.Positions{"db": {TXID: 2, Checksum: 900}, "other": {TXID: 1, Checksum: 5}}}
	f := following{ref: policy.OpenRef{Index: 99, ID: "0011223344"}}
	f.addr = "127.0.0.1:1"
	pos := policy.Positions{"db": old.lite.at("db")}
	require.ErrorContains(t, old.keepRolledBack(t.Context(), f, st, pos), "does not say")
	require.Empty(t, k.all())
	old.mu.Lock()
	old.keepSince = time.Now().Add(-2 * keepPatience)
	old.mu.Unlock()
	for range 2 {
		require.NoError(t, old.keepRolledBack(t.Context(), f, st, pos))
	}
	require.Len(t, k.all(), 1)
	require.Equal(t, []LostDB{{Name: "db", From: old.name, Had: policy.Pos{TXID: 4, Checksum: 902}, Have: policy.Pos{TXID: 2, Checksum: 900}}}, k.all()[0].Databases)

	st.Held["db"] = policy.Pos{TXID: 2, Checksum: 4} // not of this node's history
	require.NoError(t, old.keepRolledBack(t.Context(), f, st, pos))
	require.Zero(t, k.all()[1].Databases[0].Have, "everything that there is")
}
