package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	watchEvery = time.Second
	// watchAnswer is how long a daemon may take to answer before it is called
	// lost: more than it waits for a LiteFS that hangs.
	watchAnswer = statusLimit + 500*time.Millisecond
)

// watchStatus shows the status every second until ctx ends.
func watchStatus(ctx context.Context, c *adminClient, out *os.File, asJSON bool) int {
	w := &statusScreen{out: out}
	if !asJSON && w.terminal() {
		w.begin()
		defer w.end()
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		err := w.ask(ctx, c)
		if ctx.Err() != nil {
			return exitDone
		}
		if err = w.show(asJSON, err); err != nil {
			return exitDone // nobody reads any more
		}
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return exitDone
			case <-resized:
				w.draw()
			case <-tick.C:
				again = true
			}
		}
	}
}

// statusScreen is what `status -watch` has on its output.
type statusScreen struct {
	out   *os.File
	live  bool // drawn in place
	last  *statusReply
	since time.Time // of the loss of the daemon
	lines []string
}

func (w *statusScreen) ask(ctx context.Context, c *adminClient) error {
	ctx, cancel := context.WithTimeout(ctx, watchAnswer)
	defer cancel()
	s, err := c.status(ctx)
	if err == nil {
		w.last, w.since = &s, time.Time{}
	} else if w.since.IsZero() {
		w.since = time.Now()
	}
	return err
}

// show puts the newest answer, or its absence, on the output.
func (w *statusScreen) show(asJSON bool, lost error) (err error) {
	switch {
	case asJSON && lost != nil:
		return json.NewEncoder(w.out).Encode(map[string]string{"error": lost.Error()})
	case asJSON:
		return json.NewEncoder(w.out).Encode(w.last)
	}
	w.lines = w.lines[:0]
	if lost != nil {
		w.lines = append(w.lines, fmt.Sprintf("LOST the daemon at %s: %v", w.since.Format(time.TimeOnly), lost))
		if w.last != nil {
			w.lines = append(w.lines, "as it was before:")
		}
	}
	if w.last != nil {
		w.lines = append(w.lines, watchBlock(*w.last, time.Now())...)
	}
	if w.live {
		return w.draw()
	}
	_, err = fmt.Fprintf(w.out, "%s\n\n", strings.Join(w.lines, "\n"))
	return err
}

// The terminal's alternate screen keeps what was on it before; within it each
// frame is one write that overwrites the last one, so that nothing flickers.
const (
	screenBegin = "\x1b[?1049h\x1b[?25l" // alternate screen, no cursor
	screenEnd   = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	clearLine   = "\x1b[K" // to its end
	clearRest   = "\x1b[J"
)

func (w *statusScreen) terminal() bool {
	_, err := unix.IoctlGetWinsize(int(w.out.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

func (w *statusScreen) begin() {
	w.live = true
	fmt.Fprint(w.out, screenBegin)
}

// end leaves the last frame on the ordinary screen.
func (w *statusScreen) end() {
	fmt.Fprint(w.out, screenEnd)
	for _, l := range w.lines {
		fmt.Fprintln(w.out, l)
	}
}

func (w *statusScreen) draw() error {
	if !w.live {
		return nil
	}
	_, err := w.out.WriteString(frame(w.lines, w.size))
	return err
}

func (w *statusScreen) size() (columns, rows int) {
	ws, err := unix.IoctlGetWinsize(int(w.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col == 0 || ws.Row == 0 {
		return 80, 24
	}
	return int(ws.Col), int(ws.Row)
}

// frame is one picture for a terminal: no line wraps, none scrolls.
func frame(lines []string, size func() (columns, rows int)) string {
	columns, rows := size()
	var b strings.Builder
	b.WriteString(screenHome)
	for i, l := range lines[:min(len(lines), rows)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(clip(l, columns) + clearLine)
	}
	return b.String() + clearRest
}

func clip(s string, columns int) string {
	r := []rune(s)
	if len(r) <= columns {
		return s
	}
	return string(r[:max(columns-1, 0)]) + "…"
}
