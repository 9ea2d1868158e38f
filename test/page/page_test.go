package page

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestPage looks at the page over a server that speaks the wire, in one browser.
func TestPage(t *testing.T) {
	b := open(t)
	for name, test := range map[string]func(*testing.T, *browser){
		"says what is":                   testSaysWhatIs,
		"every reason has words":         testEveryReason,
		"nothing becomes markup":         testHostile,
		"the picture":                    testPicture,
		"databases":                      testDatabases,
		"the lease runs down":            testLease,
		"the timeline":                   testTimeline,
		"fits a phone":                   testPhone,
		"contrast":                       testContrast,
		"for a reader without eyes":      testAccessible,
		"loses the daemon and finds it":  testLosesAndFinds,
		"silence is a loss":              testSilence,
		"a refusal is a loss":            testRefused,
		"a new daemon brings a new page": testNewVersion,
	} {
		t.Run(name, func(t *testing.T) { test(t, b) })
	}
}

func (b *browser) live(t *testing.T, f *fake, l look) *tab {
	t.Helper()
	p := b.visit(t, f.url(), l)
	p.await("document.body.dataset.link === 'live'")
	return p
}

func testSaysWhatIs(t *testing.T, b *browser) {
	f := newFake(t, primary())
	p := b.live(t, f, desktop)
	p.says("title", "Writes pass")
	p.says("who", "n1 · primary · leads")
	p.says("left", "281\u202fms of 300\u202fms")
	p.says("facts", "53\u202f334")
	require.Contains(t, eval[string](p, "document.title"), "n1: Writes pass")
	require.False(t, eval[bool](p, "!!document.querySelector('#notices li')"))

	f.set(object{"writable": false, "fenced": true, "reason": "manual", "fence_reason": "disk is replaced", "enforce": false, "insecure": true,
		"problem":             "no primary: nobody that answers is in step; run `litefence accept-loss`",
		"certificate_expires": time.Now().Add(30 * time.Hour), "lower_gone": true})
	p.says("title", "Observing: Fenced by hand")
	p.says("means", "“disk is replaced”")
	p.says("todo", "litefence unfence")
	p.says("notices", "No primary: nobody that answers is in step; run litefence accept-loss")
	p.says("notices", "Observing only.")
	p.says("notices", "Insecure.")
	p.says("notices", "It expires in 29")
	p.says("notices", "LiteFS has died")
	require.Equal(t, "shut", eval[string](p, "document.body.dataset.fence"))
}

func testEveryReason(t *testing.T, b *browser) {
	f := newFake(t, cutOff(primary()))
	p := b.live(t, f, desktop)
	reasons := eval[[]string](p, "Object.keys(WORDS)")
	require.Contains(t, reasons, "stale-leader")
	seen := map[string]string{}
	for _, r := range append(reasons, "of-the-future", "constructor") {
		f.set(object{"reason": r})
		p.await("document.body.dataset.reason === " + quote(r))
		title := p.text("title")
		require.NotEmpty(t, p.text("means"), r)
		require.NotEmpty(t, p.text("todo"), r)
		require.NotContains(t, p.text("fence"), "undefined", r)
		seen[title] += r + " "
	}
	require.Equal(t, "of-the-future constructor ", seen["Writes are refused"])
	require.Len(t, seen, len(reasons)+1, "each has its own: %v", seen)
}

// Whatever the daemon passes on, from peers or from an operator, stays text.
func testHostile(t *testing.T, b *browser) {
	evil := func(name string) string {
		return name + `<img src=x onerror="window.hit=1"><script>window.hit=1</script>` + "`</title></svg>"
	}
	s := cutOff(primary())
	maps.Copy(s, object{"node": evil("node"), "reason": "manual", "fence_reason": evil("fence"), "problem": evil("problem"), "membership": evil("membership"),
		"leader": "__proto__", "version": evil("version"), "mount": evil("mount"), "state": evil("state"), "health_status": evil("health"),
		"health": object{"reason": evil("why")}, "positions": object{evil("db"): "0000000000000412/8000000000000001"},
		"refused": []any{object{"from": evil("from"), "name": evil("name"), "reason": evil("refused"), "times": 3}}})
	peer := s["peers"].([]any)[0].(object)
	maps.Copy(peer, object{"node": evil("peer"), "error": evil("error"), "membership": evil("part"), "reason": evil("reason")})
	s["peers"].([]any)[1].(object)["node"] = "<img>" // short enough for the picture
	f := newFake(t, s)
	f.event(object{"id": 1, "time": time.Now(), "kind": evil("kind"), "message": evil("message"), "state": "toString"})
	p := b.live(t, f, desktop)
	p.says("events", "Message<img")
	for id, want := range map[string]string{"who": "node<img", "means": "fence<img", "notices": "refused<img", "facts": "why<img", "nodes": "error<img", "footer": "mount<img", "databases": "db<img"} {
		p.says(id, want)
	}
	require.Zero(t, eval[int](p, "document.querySelectorAll('img, iframe, object, embed').length"))
	require.Equal(t, 1, eval[int](p, "document.scripts.length"))
	require.Equal(t, "undefined", eval[string](p, "typeof window.hit"))
	// And where some markup did get in, the policy would not let it run.
	blocked := eval[string](p, `(() => { const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s); return typeof window.hit; })()`)
	require.Equal(t, "undefined", blocked)
	p.forgive("Content Security Policy")
}

func testPicture(t *testing.T, b *browser) {
	s := primary()
	peers := s["peers"].([]any)
	maps.Copy(peers[0].(object), object{"hears": object{"n1": 0.4, "n3": nil}})
	maps.Copy(peers[1].(object), object{"witness": true, "reason": "witness", "hears": object{"n1": 0.4, "n2": nil}})
	f := newFake(t, s)
	p := b.live(t, f, desktop)
	count := func(selector string) int {
		return eval[int](p, "document.querySelectorAll('#picture "+selector+"').length")
	}
	require.Equal(t, 2, count(".link.up.leads"))
	require.Equal(t, 1, count(".link.cut"))
	require.NotEqual(t, "none", eval[string](p, "getComputedStyle(document.querySelector('#picture .cut')).strokeDasharray"))
	require.Equal(t, 2, count("circle.shape"))
	require.Equal(t, 1, count("rect.shape"), "a witness has a shape of its own")
	require.Equal(t, 1, count(".badge"))
	require.Contains(t, eval[string](p, "document.getElementById('picture').textContent"), "0.42\u202fms")
	label := eval[string](p, "document.getElementById('picture').getAttribute('aria-label')")
	require.Contains(t, label, "n1 leads.")
	require.Contains(t, label, "n2 and n3 do not hear each other")

	f.set(cutOff(s))
	p.await("document.querySelectorAll('#picture .link.cut').length === 2 && document.querySelectorAll('#picture .link.unknown').length === 1")
	require.Equal(t, 2, count(".gone"))
	require.Zero(t, count(".badge"), "nobody is known to lead")
	p.says("nodes", "last answer 21\u202fs ago")
	p.says("nodes", "no answer in time")
}

func testDatabases(t *testing.T, b *browser) {
	s := primary()
	s["peers"].([]any)[1].(object)["positions"] = object{"app.db": "00000000000003ff/8000000000000001", "sessions.db": "0000000000000007/800000000000000f"}
	f := newFake(t, s)
	p := b.live(t, f, desktop)
	p.says("databases", "1\u202f042")
	p.says("databases", "19 behind")
	require.Equal(t, "sessions.db contents differ", eval[string](p, "document.querySelector('#databases tbody th').innerText.replace(/\\s+/g, ' ')"), "the worst first")
	many := object{}
	for i := range 200 {
		many[fmt.Sprintf("tenant-%03d.db", i)] = "00ffffffffffffff/8000000000000001"
	}
	f.set(object{"positions": many})
	p.says("databases", "more, none further behind")
	require.Equal(t, 20, eval[int](p, "document.querySelectorAll('#databases tbody tr').length"))
	p.says("databases", "72\u202f057\u202f594\u202f037\u202f927\u202f935")
	f.set(object{"positions": object{}, "peers": []any{}})
	p.says("databases", "No database yet.")
}

// shown is how full the bar is drawn, 0 to 1.
const shown = `(1 + new DOMMatrix(getComputedStyle(document.getElementById('fill')).transform).e / document.getElementById('bar').clientWidth)`

func testLease(t *testing.T, b *browser) {
	f := newFake(t, primary())
	p := b.live(t, f, desktop)
	p.await(shown + " > .5")
	// Sampled by the page itself, each frame for a second: it falls between two
	// words of the daemon, and rises at each.
	samples := eval[[]float64](p, `new Promise(done => {
		const all = [], end = performance.now() + 1000;
		(function look() { all.push(`+shown+`); performance.now() < end ? requestAnimationFrame(look) : done(all); })();
	})`)
	falls, rises, low := 0, 0, 0
	for i := 1; i < len(samples); i++ {
		if samples[i] < samples[i-1]-.005 {
			falls++
		} else if samples[i] > samples[i-1]+.005 {
			rises++
		}
		require.LessOrEqual(t, samples[i], 1.0)
		if samples[i] < .2 {
			low++ // a browser that has stalled, on a busy machine
		}
	}
	require.Less(t, low, len(samples)/4, "it is refilled long before it ends: %v", samples)
	require.Greater(t, falls, 5)
	require.Greater(t, rises, 3)

	f.set(object{"lease_left_ms": 0, "writable": false, "fenced": true, "reason": "stale-leader", "state": "split_brain_detected", "stale_leadership": true})
	p.says("left", "run out")
	p.await(shown + " < .01")
	p.says("title", "Split brain")
	require.Equal(t, "0", eval[string](p, "document.getElementById('bar').getAttribute('aria-valuenow')"))

	f.set(primary())
	l := desktop
	l.calm = true
	still := b.live(t, f, l)
	still.await(shown + " > .5")
	require.Zero(t, eval[int](still, "lease.frame"), "nothing moves for who does not want it")
}

func testTimeline(t *testing.T, b *browser) {
	f := newFake(t, primary())
	say := func(id int, kind, message string) {
		f.event(object{"id": id, "time": time.Now().Add(time.Duration(id-100) * time.Second), "kind": kind, "message": message, "term": 4, "state": "healthy", "leader": "n1"})
	}
	for i := range 15 {
		say(i+1, "leader", fmt.Sprintf("event %d", i+1))
	}
	say(16, "lifted", "writes pass: a majority vouches for this node")
	p := b.live(t, f, desktop)
	lines := func() []string {
		return eval[[]string](p, "[...document.querySelectorAll('#events p:first-child')].map(n => n.innerText)")
	}
	p.says("events", "Writes pass: a majority")
	require.Len(t, lines(), 12)
	require.Equal(t, "Writes pass: a majority vouches for this node", lines()[0], "the newest first")
	require.Equal(t, "Event 15", lines()[1])
	require.NoError(t, chromedp.Do(p.ctx, chromedp.Evaluate[chromedp.Void]("document.getElementById('all').click()")))
	require.Len(t, lines(), 16)

	f.stop()
	p.await("document.body.dataset.link === 'lost'")
	f.start()
	p.await("document.body.dataset.link === 'live'")
	say(17, "handoff", "n2 is primary; no writes for 212 ms")
	p.says("events", "n2 is primary")
	require.Len(t, lines(), 17, "what is told again is not shown again")
}

func testPhone(t *testing.T, b *browser) {
	p := b.live(t, newFake(t, primary()), phone)
	fits := func(p *tab, what string) {
		t.Helper()
		p.await("document.querySelector('#picture .name')")
		require.LessOrEqual(t, eval[float64](p, "document.documentElement.scrollWidth"), 360.0, "%s: nothing sticks out", what)
		require.GreaterOrEqual(t, eval[float64](p, `Math.min(...[...document.querySelectorAll('.page *')].filter(n => n.textContent.trim() && n.getClientRects().length).map(n => parseFloat(getComputedStyle(n).fontSize)))`), 11.0, "%s: no letters that are too small", what)
		require.Equal(t, 1.0, eval[float64](p, `(() => { const s = document.getElementById('picture'); return s.clientWidth / s.viewBox.baseVal.width; })()`), "%s: the picture is not scaled down", what)
		require.Empty(t, eval[[]string](p, `[...document.querySelectorAll('#picture text')].filter(n => { const b = n.getBBox(), s = document.getElementById('picture').viewBox.baseVal; return b.x < 0 || b.y < 0 || b.x + b.width > s.width || b.y + b.height > s.height; }).map(n => n.textContent)`), "%s: outside of the picture", what)
	}
	fits(p, "three nodes")
	s := cutOff(five())
	s["reason"], s["problem"] = "out-of-step", "no primary: nobody that answers is in step with the last one; start a node that is, or run `litefence accept-loss` on the node that shall go on without it"
	fits(b.live(t, newFake(t, s), phone), "five nodes, cut off")
	s = five()
	s["node"] = "a-node-with-a-very-long-name.eu-west-1.internal"
	fits(b.live(t, newFake(t, s), phone), "a long name")
}

// contrastJS lists the texts whose colour is too near to what they stand on.
const contrastJS = `(() => {
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
	const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
	const ground = n => n ? over(parse(getComputedStyle(n).backgroundColor), ground(n.parentElement)) : [255, 255, 255];
	const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
	const bad = [];
	const walk = document.createTreeWalker(document.querySelector('.page'), NodeFilter.SHOW_TEXT);
	let texts = 0;
	while (walk.nextNode()) {
		const n = walk.currentNode, e = n.parentElement;
		if (!n.textContent.trim() || !e.getClientRects().length) continue;
		texts++;
		const style = getComputedStyle(e), svg = e instanceof SVGElement;
		const below = e.classList.contains('pill') ? parse(getComputedStyle(e.previousSibling).fill).slice(0, 3) : ground(svg ? e.closest('section') : e);
		const a = light(over(parse(svg ? style.fill : style.color), below)), b = light(below);
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) bad.push(n.textContent + ': ' + ratio.toFixed(2));
	}
	return texts > 40 ? bad : ['only ' + texts + ' texts'];
})()`

func testContrast(t *testing.T, b *browser) {
	s := five()
	maps.Copy(s, object{"insecure": true, "problem": "no primary: nobody"})
	f := newFake(t, s)
	for i, kind := range []string{"lifted", "fenced", "stale-leader", "state", "leader", "health", "handoff"} {
		f.event(object{"id": i + 1, "time": time.Now(), "kind": kind, "message": kind + ": words", "state": "failed", "leader": "n1"})
	}
	for scheme, l := range map[string]look{"light": desktop, "dark": desktop.darkened()} {
		p := b.live(t, f, l)
		for _, c := range []object{
			{"writable": true, "reason": "", "state": "healthy", "health_status": "healthy"},
			{"writable": false, "reason": "replica", "state": "resolved", "health_status": "degraded"},
			{"writable": false, "reason": "manual", "state": "split_brain_detected", "health_status": "unhealthy"},
			{"writable": false, "reason": "no-leader", "state": "failed", "health_status": "unhealthy"},
			{"writable": false, "reason": "witness", "state": "unheard of", "health_status": ""},
		} {
			f.set(c)
			p.await("document.body.dataset.reason === " + quote(c["reason"].(string)))
			require.Empty(t, eval[[]string](p, contrastJS), "%s, %v", scheme, c)
		}
	}
}

func testAccessible(t *testing.T, b *browser) {
	f := newFake(t, primary())
	p := b.live(t, f, desktop)
	require.True(t, eval[bool](p, "document.getElementById('title').closest('[aria-live=polite][aria-atomic=true]') !== null"), "the fence is read out")
	require.False(t, eval[bool](p, "document.getElementById('left').closest('[aria-live]') !== null || document.getElementById('since').closest('[aria-live]') !== null"), "what changes all the time is not")
	require.Equal(t, "meter", eval[string](p, "document.getElementById('bar').getAttribute('role')"))
	require.Equal(t, "300", eval[string](p, "document.getElementById('bar').getAttribute('aria-valuemax')"))
	require.Equal(t, "en", eval[string](p, "document.documentElement.lang"))
	require.Equal(t, 1, eval[int](p, "document.querySelectorAll('h1').length"))
	require.Zero(t, eval[int](p, "[...document.styleSheets[0].cssRules].filter(r => r.selectorText && r.selectorText.includes(':hover')).length"), "nothing needs a mouse over it")
	// Unchanged words are not written again: they would be read out each second.
	again := eval[int](p, `new Promise(done => {
		let n = 0;
		const o = new MutationObserver(list => n += list.length);
		o.observe(document.querySelector('[aria-live]'), { childList: true, characterData: true, subtree: true });
		setTimeout(() => { o.disconnect(); done(n); }, 2500);
	})`)
	require.Zero(t, again)
}

func testLosesAndFinds(t *testing.T, b *browser) {
	f := newFake(t, primary())
	p := b.live(t, f, desktop)
	p.says("title", "Writes pass")
	began := time.Now()
	f.stop()
	p.await("document.body.dataset.link === 'lost'")
	t.Logf("it says that it lost the daemon after %v", time.Since(began).Round(time.Millisecond))
	require.Less(t, time.Since(began), 2*time.Second)
	p.says("lost", "The daemon on n1 does not answer")
	p.says("lost", "may no longer be true")
	p.says("left", "not known")
	p.says("link", "no connection")
	require.Equal(t, "alert", eval[string](p, "document.getElementById('lost').getAttribute('role')"))
	require.Contains(t, eval[string](p, "getComputedStyle(document.getElementById('main')).filter"), "grayscale")
	require.Contains(t, eval[string](p, "document.title"), "no connection")

	f.set(object{"writable": false, "reason": "replica", "leader": "n2", "is_leader": false, "lease_left_ms": 0, "role": "replica"})
	began = time.Now()
	f.start()
	p.await("document.body.dataset.link === 'live'")
	t.Logf("it is back after %v", time.Since(began).Round(time.Millisecond))
	require.Less(t, time.Since(began), 3*time.Second)
	p.says("title", "Read-only, as it should be")
	require.Equal(t, "none", eval[string](p, "getComputedStyle(document.getElementById('main')).filter"))
	require.True(t, eval[bool](p, "document.getElementById('lost').hidden"))
	require.Contains(t, eval[string](p, "document.title"), "Read-only")
}

// A machine that vanishes ends no connection: what counts is that nothing comes.
func testSilence(t *testing.T, b *browser) {
	f := newFake(t, primary())
	p := b.live(t, f, desktop)
	began := time.Now()
	f.change(func() { f.silent = true })
	p.await("document.body.dataset.link === 'lost'")
	require.Less(t, time.Since(began), 5*time.Second)
	f.change(func() { f.silent = false })
	p.await("document.body.dataset.link === 'live'")
}

// 503 ends an EventSource for good; the page makes another.
func testRefused(t *testing.T, b *browser) {
	f := newFake(t, primary())
	f.change(func() { f.full = true })
	p := b.visit(t, f.url(), desktop)
	p.await("document.body.dataset.link === 'lost'")
	p.says("lost", "does not answer")
	f.change(func() { f.full = false })
	p.await("document.body.dataset.link === 'live'")
	p.says("title", "Writes pass")
}

func testNewVersion(t *testing.T, b *browser) {
	f := newFake(t, primary())
	p := b.live(t, f, desktop)
	require.Equal(t, 1, eval[int](p, "window.old = 1"))
	f.set(object{"version": "v0.7.0"})
	p.await("typeof window.old === 'undefined' && document.body && document.body.dataset.link === 'live'")
	p.says("footer", "v0.7.0")
}
