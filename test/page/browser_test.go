package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const missing = "chromium is missing: install Debian's chromium"

// chromium is the browser's path, or "". CHROMIUM names another one.
func chromium() string {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// browser is one Chromium with a directory of its own.
type browser struct {
	ctx context.Context
}

// open starts Chromium; it is ended, with all of its processes, when the test
// is.
func open(t *testing.T) *browser {
	t.Helper()
	path := chromium()
	if path == "" {
		t.Skip(missing)
	}
	dir, err := os.MkdirTemp("", "litefence-chromium-")
	require.NoError(t, err)
	var cmd *exec.Cmd
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(dir),
		chromedp.DisableGPU,
		chromedp.Flag("lang", "en-US"),
		chromedp.Flag("disable-lcd-text", true), // letters with coloured edges do not shrink
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.ModifyCmdFunc(func(c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // a group, to end its helpers with it
			cmd = c
		}))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox) // Chromium refuses to start as root otherwise
	}
	all, endAll := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, end := chromedp.NewContext(all)
	t.Cleanup(func() {
		end()
		endAll()
		if cmd != nil && cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		require.NoError(t, removeAll(dir))
	})
	require.NoError(t, chromedp.Do(ctx))
	return &browser{ctx}
}

// removeAll takes a directory away that a process just ended may still write to.
func removeAll(dir string) (err error) {
	for range 50 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// tab is one page in it.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []string
}

// look is how a reader looks at the page.
type look struct {
	width, height int64
	dark          bool
	calm          bool // prefers-reduced-motion
}

var (
	desktop = look{width: 1180, height: 860}
	phone   = look{width: 360, height: 740}
)

func (l look) darkened() look { l.dark = true; return l }

// visit opens a tab at url. What the page writes to the console, and every
// breach of its security policy, fails the test at its end; refused connections
// are expected where a daemon dies.
func (b *browser) visit(t *testing.T, url string, l look) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(b.ctx)
	p := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx))
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.messages = append(p.messages, fmt.Sprintf("%s: %s (%s)", m.Type, m.Text, m.URL))
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		for _, m := range p.console() {
			t.Errorf("the page's console says: %s", m)
		}
		end()
	})
	p.looks(l)
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(url)))
	return p
}

// in is the tab for a subtest.
func (p *tab) in(t *testing.T) *tab {
	p.t = t
	return p
}

func (p *tab) console() (found []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.messages {
		if !strings.Contains(m, "net::ERR_") && !strings.Contains(m, "503 (Service Unavailable)") {
			found = append(found, m)
		}
	}
	return found
}

// forgive drops what the console says of a thing that the test did on purpose,
// and fails where it says nothing of it.
func (p *tab) forgive(what string) {
	p.t.Helper()
	end := time.Now().Add(patience)
	for {
		p.mu.Lock()
		before := len(p.messages)
		p.messages = slices.DeleteFunc(p.messages, func(m string) bool { return strings.Contains(m, what) })
		found := len(p.messages) < before
		p.mu.Unlock()
		if found {
			return
		}
		require.True(p.t, time.Now().Before(end), "the console never says %q", what)
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *tab) looks(l look) {
	p.t.Helper()
	scheme, motion := "light", "no-preference"
	if l.dark {
		scheme = "dark"
	}
	if l.calm {
		motion = "reduce"
	}
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion},
	}})
	require.NoError(p.t, err)
	require.NoError(p.t, chromedp.Do(p.ctx, chromedp.EmulateViewport(l.width, l.height)))
}

// eval evaluates a JavaScript expression.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err, expression)
	return v
}

// text is what stands in the element, as a reader sees it.
func (p *tab) text(id string) string {
	p.t.Helper()
	return eval[string](p, "document.getElementById("+quote(id)+").innerText")
}

// await waits until the expression is true.
func (p *tab) await(expression string) {
	p.t.Helper()
	end := time.Now().Add(patience)
	for !eval[bool](p, "Boolean("+expression+")") {
		if time.Now().After(end) {
			p.t.Fatalf("the page never had %s; it shows:\n%s", expression, eval[string](p, "document.body.innerText"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// says waits until the element's text contains want.
func (p *tab) says(id, want string) {
	p.t.Helper()
	p.await("document.getElementById(" + quote(id) + ").innerText.includes(" + quote(want) + ")")
}

// shoot writes the page, without its last line, as a PNG of at most 150 KB.
func (p *tab) shoot(path string) {
	p.t.Helper()
	h := eval[float64](p, "Math.ceil(document.querySelector('main').getBoundingClientRect().bottom + 20)")
	w := eval[float64](p, "innerWidth")
	wide := true
	shot, err := chromedp.Call(p.ctx, cdpage.CaptureScreenshot, cdpage.CaptureScreenshotParams{
		CaptureBeyondViewport: &wide, Clip: &cdpage.Viewport{Width: w, Height: h, Scale: 1.5},
	})
	require.NoError(p.t, err)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	small := shrink(p.t, shot.Data)
	require.Less(p.t, len(small), 150<<10, path)
	require.NoError(p.t, os.WriteFile(path, small, 0o644))
}

func quote(s string) string { return fmt.Sprintf("%q", s) }
