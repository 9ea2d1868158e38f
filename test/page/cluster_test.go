package page

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/test/cluster"
)

// TestPageOfRealNodes watches three nodes with real LiteFS through what may
// happen to them. With PAGE_SCREENSHOTS=DIR it leaves pictures there.
func TestPageOfRealNodes(t *testing.T) {
	c := start(t, cluster.Options{TLS: true})
	first := writable(t, c.Nodes...)
	for i, db := range []string{"app.db", "sessions.db"} {
		rows := []string{"PRAGMA journal_mode=wal", "CREATE TABLE t (id INTEGER PRIMARY KEY)"}
		for n := range 40 - 25*i {
			rows = append(rows, fmt.Sprintf("INSERT INTO t VALUES (%d)", n))
		}
		_, err := first.SQL(filepath.Join(first.Fenced(), db), rows...)
		require.NoError(t, err)
	}
	require.NoError(t, cluster.WaitInStep(deadline(t), first, c.Others(first)...))

	w := &watch{t: t, b: open(t), tabs: map[*cluster.Node]*tab{}}
	for _, n := range c.Nodes {
		w.visit(n)
	}
	t.Run("healthy", func(t *testing.T) { w.healthy(t, c, first) })
	t.Run("fenced", func(t *testing.T) { w.fenced(t, c) })
	t.Run("partitioned", func(t *testing.T) { w.partitioned(t, c) })
	t.Run("daemon lost", func(t *testing.T) { w.daemonLost(t, c) })
}

// watch is a browser with a tab for each node.
type watch struct {
	t    *testing.T
	b    *browser
	tabs map[*cluster.Node]*tab
}

func (w *watch) visit(n *cluster.Node) {
	w.t.Helper()
	addr, err := n.Forward("127.0.0.1:20280")
	require.NoError(w.t, err)
	w.tabs[n] = w.b.visit(w.t, "http://"+addr+"/", desktop)
	w.tabs[n].await("document.body.dataset.link === 'live'")
}

func (w *watch) healthy(t *testing.T, c *cluster.Cluster, primary *cluster.Node) {
	p := w.tabs[primary].in(t)
	p.says("title", "Writes pass")
	p.says("facts", "healthy")
	p.await(shown + " > .4")
	p.await("document.querySelectorAll('#picture .link.up.leads').length === 2 && document.querySelectorAll('#picture .link.up').length === 3")
	p.await("[...document.querySelectorAll('#picture .ms')].filter(n => /ms$/.test(n.textContent)).length === 3")
	p.await("document.querySelectorAll('#events li').length > 3")
	p.says("events", "Writes pass")
	p.says("databases", "app.db")
	p.await("!document.querySelector('#notices li')")
	// By its ticks: ten a second, and the bar moves between them.
	n := eval[int](p, `new Promise(done => { let n = 0; source.addEventListener('lease', () => n++); setTimeout(() => done(n), 1000); })`)
	require.GreaterOrEqual(t, n, 7)
	for _, other := range c.Others(primary) {
		p := w.tabs[other].in(t)
		p.says("title", "Read-only, as it should be")
		p.says("means", primary.Name+" is the primary")
		p.await("document.querySelectorAll('#picture .link.up').length === 3")
		p.says("left", "none here")
	}
	w.shoot(p, "healthy")
}

// fenced: the page shows a fence within a second of its happening.
func (w *watch) fenced(t *testing.T, c *cluster.Cluster) {
	for i := range 3 {
		n := writable(t, c.Nodes...)
		require.NoError(t, cluster.WaitInStep(deadline(t), n, c.Others(n)...))
		p := w.tabs[n].in(t)
		p.await("document.body.dataset.fence === 'open'")
		happened, began := make(chan time.Time, 1), time.Now()
		go func() {
			_ = cluster.WaitFor(deadline(t), func() error {
				s, err := n.Status()
				if err == nil && s.Reason != "manual" {
					err = fmt.Errorf("reason %q", s.Reason)
				}
				return err
			})
			happened <- time.Now()
		}()
		go func() {
			_, err := n.CLI("fence", "-reason", "the disk is replaced")
			if err != nil {
				t.Errorf("fence: %v", err)
			}
		}()
		p.await("document.body.dataset.reason === 'manual' && document.getElementById('title').innerText.includes('Fenced by hand')")
		seen, at := time.Now(), <-happened
		t.Logf("fence %d: in /v1/status %v after the command began, on the page %v after that", i+1,
			at.Sub(began).Round(time.Millisecond), seen.Sub(at).Round(time.Millisecond))
		require.Less(t, seen.Sub(at), time.Second)
		p.says("means", "the disk is replaced")
		p.says("events", "Writes are refused: fenced by hand")
		next := writable(t, c.Others(n)...)
		w.tabs[next].in(t).says("title", "Writes pass")
		p.says("about", "held by "+next.Name)
		p.says("databases", "app.db")
		p.await("document.querySelectorAll('#picture .link.up').length === 3")
		if i == 0 {
			w.shoot(p, "fenced")
		}
		_, err := n.CLI("unfence")
		require.NoError(t, err)
		p.says("title", "Read-only, as it should be")
	}
}

func (w *watch) partitioned(t *testing.T, c *cluster.Cluster) {
	n := writable(t, c.Nodes...)
	require.NoError(t, cluster.WaitInStep(deadline(t), n, c.Others(n)...))
	p := w.tabs[n].in(t)
	p.await("document.body.dataset.fence === 'open'")
	require.NoError(t, n.Isolate())
	p.await("document.body.dataset.reason === 'no-leader'")
	p.says("title", "Cut off: no leader is known")
	p.says("left", "none here")
	p.await("events.some(e => e.kind === 'stale-leader')")
	p.says("events", "Writes are refused: no leader is known")
	p.await("document.querySelectorAll('#picture .link.cut').length === 2 && document.querySelectorAll('#picture .gone').length === 2")
	p.says("means", "none of the other nodes answers it")
	next := writable(t, c.Others(n)...)
	q := w.tabs[next].in(t)
	q.says("title", "Writes pass")
	q.await("document.querySelectorAll('#picture .link.cut').length === 2 && document.querySelectorAll('#picture .link.up').length === 1")
	w.shoot(p, "partitioned")
	require.NoError(t, n.Heal())
	p.says("title", "Read-only, as it should be")
	p.says("means", next.Name+" is the primary")
	p.await("document.querySelectorAll('#picture .link.up').length === 3")
}

func (w *watch) daemonLost(t *testing.T, c *cluster.Cluster) {
	primary := writable(t, c.Nodes...)
	n := c.Others(primary)[0]
	p := w.tabs[n].in(t)
	began := time.Now()
	require.NoError(t, n.Litefence().Kill())
	p.await("document.body.dataset.link === 'lost'")
	t.Logf("the page says that the daemon is gone %v after the kill began", time.Since(began).Round(time.Millisecond))
	p.says("lost", "The daemon on "+n.Name+" does not answer")
	w.tabs[primary].in(t).await("document.querySelectorAll('#picture .link.cut').length === 2")
	require.NoError(t, n.StartLitefence())
	p.await("document.body.dataset.link === 'live'")
	p.says("title", "Read-only, as it should be")
	require.True(t, eval[bool](p, "document.getElementById('lost').hidden"))
	p.await("document.querySelectorAll('#picture .link.up').length === 3")
}

const calm = "[...document.querySelectorAll('#picture .ms')].every(n => !(parseFloat(n.textContent) > 15))"

// shoot leaves pictures of what p shows, where they are asked for.
func (w *watch) shoot(p *tab, name string) {
	dir := os.Getenv("PAGE_SCREENSHOTS")
	if dir == "" {
		return
	}
	// Round trips of a moment in which everything moved are not those of a cluster.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && !eval[bool](p, calm); {
		time.Sleep(50 * time.Millisecond)
	}
	for size, l := range map[string]look{"desktop": desktop, "phone": phone} {
		for scheme, l := range map[string]look{"light": l, "dark": l.darkened()} {
			p.looks(l)
			p.await(fmt.Sprintf("innerWidth === %d && document.getElementById('picture').clientWidth >= document.getElementById('picture').viewBox.baseVal.width", l.width))
			p.await("!last.writable || " + shown + " > .6")
			p.shoot(filepath.Join(dir, "page-"+name+"-"+scheme+"-"+size+".png"))
		}
	}
	p.looks(desktop)
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func writable(t *testing.T, nodes ...*cluster.Node) *cluster.Node {
	t.Helper()
	n, err := cluster.WaitWritable(deadline(t), nodes...)
	require.NoError(t, err)
	return n
}
