package quorum

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

func TestSameData(t *testing.T) {
	open := policy.OpenRef{Index: 7, ID: "o"}
	at := func(txid, sum uint64) policy.Positions { return policy.Positions{"db": {TXID: txid, Checksum: sum}} }
	then := policy.Report{Marker: open, Positions: at(5, 5)}
	for _, c := range []struct {
		marker policy.OpenRef
		now    policy.Positions
		want   string
	}{
		{open, at(5, 5), ""},
		{open, policy.Positions{"db": {TXID: 5, Checksum: 5}, "empty": {Checksum: 1}}, ""},
		{open, at(6, 6), "db stood at 0000000000000005/0000000000000005 then and stands at 0000000000000006/"},
		{open, policy.Positions{"db": {TXID: 5, Checksum: 5}, "new": {TXID: 1}}, "new stood at 0000000000000000/"},
		{open, at(4, 4), "db stood at 0000000000000005/0000000000000005 then and stands at 0000000000000004/"},
		{open, at(5, 6), "db stood at"},
		{open, nil, "db stood at"},
		{policy.OpenRef{}, at(5, 5), "marked with Open 7 then and 0 now"},
		{policy.OpenRef{Index: 7, ID: "of another cluster"}, at(5, 5), "marked with"},
	} {
		if err := sameData(then, c.marker, c.now); c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
}

// LiteFS is wiped, or an older copy is put in its place, after its node was
// chosen and before it acts on the key. No Open is made on that data: the other
// node, which has all rows, becomes primary.
func TestDataSwappedBeforeTheOpen(t *testing.T) {
	t.Parallel()
	for name, swap := range map[string]func(l, old *fakeLiteFS){
		"wiped": func(l, _ *fakeLiteFS) {
			l.copyFrom(newFakeLiteFS())
			_ = l.SetMarker(policy.OpenRef{})
		},
		"an older copy": func(l, old *fakeLiteFS) { l.copyFrom(old) },
	} {
		t.Run(name, func(t *testing.T) {
			var victim atomic.Pointer[testNode]
			c := newCluster(t, 3, nil)
			w := c.writer()
			w.lite.commit("db", 1)
			c.inStep(w)
			old := newFakeLiteFS()
			old.copyFrom(w.lite)
			w.lite.commit("db", 2)
			c.inStep(w)
			full := w.lite.at("db")
			for _, n := range c.others(w) {
				n.lite.mu.Lock()
				n.lite.before = func() {
					if victim.CompareAndSwap(nil, n) {
						swap(n.lite, old)
					}
				}
				n.lite.mu.Unlock()
			}
			c.cut.set(w.name, true)
			next := c.writer(w.name)
			require.NotSame(t, victim.Load(), next)
			require.NotNil(t, victim.Load())
			require.Equal(t, full, next.lite.at("db"))
			require.Equal(t, next.name, next.fsm.state().Open.Node)
			eventually(t, "the other one is brought into step", func() bool {
				m, _ := victim.Load().lite.Marker()
				return m == next.fsm.state().ref() && victim.Load().lite.at("db") == full
			})
		})
	}
}

// What was accepted is what was shown: a transaction more, after the choice and
// before the Open, and there is another choice, which comes to nobody.
func TestDataMovedOnBeforeTheOpen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	others := c.loneRows(w, 1)
	var moved atomic.Int32
	for _, n := range others {
		n.lite.copyFrom(newFakeLiteFS())
		require.NoError(t, n.lite.SetMarker(policy.OpenRef{}))
		n.lite.mu.Lock()
		n.lite.before = func() {
			moved.Add(1)
			n.lite.commit("db", 50)
		}
		n.lite.mu.Unlock()
	}
	c.writerNone(others)
	acceptOn(t, others[0])
	eventually(t, "its LiteFS gets the key", func() bool { return moved.Load() > 0 })
	c.writerNone(others)
	c.cut.set(w.name, false)
	require.Same(t, w, c.writer())
	require.Equal(t, int32(1), moved.Load())
}
