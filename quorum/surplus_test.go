package quorum

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/policy"
)

func TestSurplus(t *testing.T) {
	one, two := policy.Pos{TXID: 1, Checksum: 1}, policy.Pos{TXID: 2, Checksum: 2}
	for _, c := range []struct {
		own, opener policy.Positions
		want        []string
	}{
		{policy.Positions{"a": one}, policy.Positions{"a": two}, nil},
		{policy.Positions{"a": two}, policy.Positions{"a": one}, nil},
		{policy.Positions{"a": {}}, policy.Positions{}, nil},
		{policy.Positions{}, policy.Positions{"a": one}, nil},
		{policy.Positions{"b": one, "a": two, "c": one}, policy.Positions{"c": one}, []string{"a", "b"}},
		{policy.Positions{"a": one}, policy.Positions{"a": {}}, []string{"a"}},
	} {
		require.Equal(t, c.want, surplus(c.own, c.opener))
	}
}

// stranded makes a cluster in which one follower has a database that its
// primary lacks.
func stranded(t *testing.T, edit func(*Config)) (c *testCluster, w, f *testNode) {
	c = newCluster(t, 3, edit)
	w = c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	f = c.others(w)[0]
	f.lite.stopped.Store(true)
	eventually(t, "its stream ends", func() bool { return !f.lite.fed.Load() })
	f.lite.keeps.Store(true)
	f.lite.commit("extra", 9)
	require.NoError(t, f.lite.SetMarker(policy.OpenRef{})) // of an older Open, say
	f.lite.stopped.Store(false)
	return c, w, f
}

// The primary's databases are told under the very Open that is asked for.
func TestDatabasesAreToldUnderTheOpen(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	f, ref := c.others(w)[0], w.fsm.state().ref()
	ask := func(n *testNode, ref policy.OpenRef) (databasesAnswer, error) {
		return f.peers.databases(t.Context(), c.addrs[n.name], databasesRequest{ref})
	}
	a, err := ask(w, ref)
	require.NoError(t, err)
	require.Equal(t, databasesAnswer{ref, policy.Positions{"db": {TXID: 1, Checksum: 1}}}, a)
	for what, other := range map[string]policy.OpenRef{
		"an older Open": {Index: ref.Index - 1, ID: ref.ID}, "another log's": {Index: ref.Index, ID: "0123"}, "none": {},
	} {
		_, err := ask(w, other)
		require.ErrorContains(t, err, errNoPrimary.Error(), what)
	}
	_, err = ask(f, ref)
	require.ErrorContains(t, err, errNoPrimary.Error(), "a follower")

	// Its LiteFS gives the role up, and takes it again under another Open.
	w.lite.stopped.Store(true)
	eventually(t, "the role is gone", func() bool { _, err := w.Serving(); return err != nil })
	_, err = ask(w, ref)
	require.Error(t, err)
	w.lite.stopped.Store(false)
	eventually(t, "another Open", func() bool { w = c.writer(); return w.fsm.state().ref() != ref })
	_, err = ask(w, ref)
	require.Error(t, err)
}

// What lies about in the primary's directory, and LiteFS does not have, puts
// nobody in step.
func TestHistoryOfNoDatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	w.lite.commit("extra", 9)
	pos := policy.Positions{"extra": w.lite.at("extra")}
	q := historyRequest{Open: w.fsm.state().ref(), Positions: pos}
	ok, err := w.serveHistory(t.Context(), q)
	require.NoError(t, err)
	require.True(t, ok)
	w.lite.mu.Lock()
	delete(w.lite.pos, "extra") // its history stays
	w.lite.mu.Unlock()
	require.True(t, w.lite.InHistory(pos))
	ok, err = w.serveHistory(t.Context(), q)
	require.NoError(t, err)
	require.False(t, ok)
}

// Where LiteFS is not ours to stop, status says what to do.
func TestSurplusIsReported(t *testing.T) {
	t.Parallel()
	c, w, f := stranded(t, nil)
	eventually(t, "status says so", func() bool {
		return f.Status(t.Context()).OutOfStep == "extra: on this node and not on its primary "+w.name+", and LiteFS does not drop that; stop LiteFS here, move dbs/NAME out of litefs.data-dir, start LiteFS"
	})
	m, _ := f.lite.Marker()
	require.Zero(t, m)
	f.lite.drop("extra")
	c.inStep(w)
	eventually(t, "it is forgotten", func() bool {
		f.Node.mu.Lock()
		defer f.Node.mu.Unlock()
		return f.outOfStep == ""
	})
}

// asideHook is Config.SetAside of every node.
type asideHook struct {
	mu    sync.Mutex
	do    func(e Lost, sure func(context.Context) error) error
	calls []Lost
}

func (h *asideHook) config(cfg *Config) {
	cfg.SetAside = func(_ context.Context, e Lost, sure func(context.Context) error) error {
		h.mu.Lock()
		h.calls = append(h.calls, e)
		do := h.do
		h.mu.Unlock()
		return do(e, sure)
	}
}

func (h *asideHook) called() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.calls)
}

// A follower under supervision is asked to set the database aside, takes no role
// meanwhile, and comes into step; a marking under way from before does not land.
func TestSurplusIsSetAside(t *testing.T) {
	t.Parallel()
	var h asideHook
	var lite *fakeLiteFS
	h.do = func(e Lost, sure func(context.Context) error) error {
		n := lite.node
		n.mu.Lock()
		asides := n.asides
		n.mu.Unlock()
		for _, old := range []uint64{asides - 1, asides} {
			if n.setMarker(n.fsm.state().ref(), old) == nil {
				return errors.New("marked while databases are being set aside")
			}
		}
		lite.stopped.Store(true)
		defer lite.stopped.Store(false)
		for lite.fed.Load() {
			time.Sleep(fakeDelay)
		}
		if err := sure(context.Background()); err != nil {
			return err
		}
		lite.drop("extra")
		return nil
	}
	h.mu.Lock() // until lite is known
	c, w, f := stranded(t, h.config)
	lite = f.lite
	h.mu.Unlock()
	c.inStep(w)
	require.Len(t, h.calls, 1)
	e := h.calls[0]
	require.Equal(t, []LostDB{{Name: "extra", From: f.name, Had: policy.Pos{TXID: 1, Checksum: 9}}}, e.Databases)
	require.Equal(t, "set-aside", e.Kind)
	require.Equal(t, w.name, e.Primary)
	require.Equal(t, w.fsm.state().Index, e.Open)
	require.Empty(t, f.Status(t.Context()).OutOfStep)
}

// With LiteFS stopped it is asked again, and not once more for a while where
// that says no.
func TestSurplusIsAskedAgain(t *testing.T) {
	t.Parallel()
	var h asideHook
	var lite, primary *fakeLiteFS
	answers := make(chan error, 8)
	h.do = func(e Lost, sure func(context.Context) error) error {
		n, ctx := lite.node, context.Background()
		ref := n.fsm.state().ref()
		answers <- sure(ctx)
		primary.commit("extra", 9)
		answers <- sure(ctx)
		primary.drop("extra")
		_ = lite.SetMarker(ref)
		answers <- sure(ctx)
		_ = lite.SetMarker(policy.OpenRef{})
		n.fsm.mu.Lock()
		st := n.fsm.st
		n.fsm.st.Accept.Node = n.cfg.Name
		n.fsm.mu.Unlock()
		answers <- sure(ctx)
		n.fsm.mu.Lock()
		n.fsm.st = st
		n.fsm.st.Index++
		n.fsm.mu.Unlock()
		answers <- sure(ctx)
		n.fsm.mu.Lock()
		n.fsm.st = st
		n.fsm.mu.Unlock()
		return errors.New("disk full")
	}
	h.mu.Lock()
	_, w, f := stranded(t, h.config)
	lite, primary = f.lite, w.lite
	h.mu.Unlock()
	for _, want := range []string{"", "the primary lacks [] by now", "in step by now", "accept-loss", "another primary"} {
		err := <-answers
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
	}
	eventually(t, "status says so", func() bool {
		return f.Status(t.Context()).OutOfStep == "extra: on this node and not on its primary "+w.name+", and not set aside, the next try is in 1m0s: disk full"
	})
	sleep(t.Context(), surplusFor+2*surplusEvery)
	require.Equal(t, 1, h.called())
	f.Node.mu.Lock()
	f.asideNext = time.Time{}
	f.Node.mu.Unlock()
	eventually(t, "another try, and then a longer wait", func() bool {
		return h.called() == 2 && strings.Contains(f.Status(t.Context()).OutOfStep, "the next try is in 2m0s")
	})
}

// A node with a role, or one that follows somebody else by now, does not begin.
func TestAsideOnAFollowerOnly(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	w := c.writer()
	w.lite.commit("db", 1)
	c.inStep(w)
	f := c.others(w)[0]
	l, st, ok := f.primary()
	require.True(t, ok)
	require.False(t, w.beginAside(following{leadership: w.followed, ref: st.ref()}), "a primary")
	other := l
	other.ctx = t.Context()
	require.False(t, f.beginAside(following{leadership: other, ref: st.ref()}), "of another leadership")
	g := f.offer(l.term)
	require.False(t, f.beginAside(following{leadership: l, ref: st.ref()}), "offered the key")
	f.Node.mu.Lock()
	f.grant = nil
	f.Node.mu.Unlock()
	g.cancel()
	require.True(t, f.beginAside(following{leadership: l, ref: st.ref()}))
	require.False(t, f.beginAside(following{leadership: l, ref: st.ref()}), "twice")

	// A leader meanwhile: its LiteFS gets the key only when that is over.
	w.Node.mu.Lock()
	w.grant = &grant{id: 1 << 40, term: w.reigning, taken: make(chan struct{}), left: make(chan struct{})}
	w.asiding = true
	w.Node.mu.Unlock()
	_, ok = w.Acquire(t.Context(), w.name)
	require.False(t, ok)
	r, err := w.ownReport(t.Context())
	require.NoError(t, err)
	require.False(t, r.Eligible)
	w.endAside(true)
	r, err = w.ownReport(t.Context())
	require.NoError(t, err)
	require.True(t, r.Eligible)
	_, ok = w.Acquire(t.Context(), w.name)
	require.True(t, ok)
}
