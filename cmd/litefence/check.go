package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/litefence/litefence/quorum/litefs"
)

const (
	severityError   = "error"   // it does not work, or does not protect
	severityWarning = "warning" // it works, and should be looked at
)

// finding is one thing that is wrong.
type finding struct {
	Check    string `json:"check"` // which examination found it
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Mend     string `json:"mend"`
}

func (f finding) String() string {
	s := f.Severity + ": " + f.Check + ": " + f.Message
	if f.Mend != "" {
		s += "; " + f.Mend
	}
	return s
}

// doctor is what all examinations know before they begin. They run at the same
// time, change nothing, and are bounded: what asks a mount, which may hang for
// ever, does so in a process of its own.
type doctor struct {
	path    string
	cfg     *Config
	litefs  *litefs.Settings // nil: LiteFS's config is not known
	daemon  daemonSeen
	witness bool
	user    *user.User // the application's, where it was named
}

// runs reports whether this config's daemon answers.
func (d *doctor) runs() bool { return d.daemon.status != nil }

// held reports whether a daemon has the admin socket, whether it answers or not. One
// in another process namespace has no number here.
func (d *doctor) held() bool { return d.runs() || d.daemon.pid != 0 }

// examination is one subject. look returns its findings, and where it could not
// look, why.
type examination struct {
	name, subject string
	data          bool // a witness has nothing of it
	look          func(*doctor, context.Context) (found []finding, skipped string)
}

var examinations = []examination{
	{"daemon", "the admin socket, and what a running daemon says is wrong", false, (*doctor).lookDaemon},
	{"data-dir", "state on disk, a second daemon on it", false, (*doctor).lookDataDir},
	{"config", "what weakens the promises", false, (*doctor).lookConfig},
	{"litefs-config", "LiteFS's config against ours", true, (*doctor).lookLiteFSConfig},
	{"litefs", "LiteFS itself: does it answer, where does it listen, is it ours", true, (*doctor).lookLiteFS},
	{"halt-lock", "locks that a killed litefence left in LiteFS", true, (*doctor).lookHalt},
	{"lower", "LiteFS's mount", true, (*doctor).lookLower},
	{"lower-reach", "who can reach LiteFS past the fence", true, (*doctor).lookReach},
	{"bypass", "who has files on LiteFS's mount open past the fence", true, (*doctor).lookBypass},
	{"mount", "the fenced mount", true, (*doctor).lookMount},
	{"user", "what the application's user can enter", true, (*doctor).lookUser},
	{"ports", "ports of ours that others have, addresses that this machine lacks", false, (*doctor).lookPorts},
	{"tls", "certificates and keys", false, (*doctor).lookTLS},
	{"peers", "peers: reachable, same timings, mode and version", false, (*doctor).lookPeers},
	{"clock", "this machine's clocks", false, (*doctor).lookClock},
}

// hostExamination needs no config.
var hostExamination = examination{"host", "rights, kernel, /dev/fuse", true, (*doctor).lookHost}

// examineWithin bounds one examination.
const examineWithin = 10 * time.Second

// examined is what came of one examination.
type examined struct {
	Check   string    `json:"check"`
	Subject string    `json:"subject"`
	Skipped string    `json:"skipped,omitempty"` // why it did not look
	Found   []finding `json:"-"`
}

// checked is what check shows as JSON.
type checked struct {
	Config   string     `json:"config"`
	Node     string     `json:"node,omitempty"`
	Running  bool       `json:"running"` // a daemon answers
	Errors   int        `json:"errors"`
	Warnings int        `json:"warnings"`
	Findings []finding  `json:"findings"`
	Checks   []examined `json:"checks"`
}

func checkMain(c *cli) int {
	path := c.String("config", "", "config `file` (default /etc/litefence.yml, then ./litefence.yml)")
	asJSON := c.Bool("json", false, "as JSON, with all that was looked at")
	name := c.String("user", "", "the application's user, a `name` or number: see whether it reaches the fenced mount, and not LiteFS's")
	verbose := c.Bool("v", false, "show all that was looked at, and what was not, and why")
	if _, code, ok := c.parse(); !ok {
		return code
	}
	app, err := findUser(*name)
	if err != nil {
		return c.misused("-user: %w", err)
	}
	r, err := runCheck(context.Background(), *path, app)
	if err != nil {
		return fail(exitUsage, err)
	}
	if *asJSON {
		showJSON(r)
	} else {
		r.show(os.Stdout, *verbose)
	}
	if r.Errors > 0 {
		return exitFailed
	}
	return exitDone
}

func (r checked) show(w io.Writer, verbose bool) {
	if verbose {
		for _, x := range r.Checks {
			state := "looked"
			if x.Skipped != "" {
				state = "not looked: " + x.Skipped
			}
			fmt.Fprintf(w, "%-13s  %s: %s\n", x.Check, x.Subject, state)
		}
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w, f)
	}
	if verbose && len(r.Findings) == 0 {
		fmt.Fprintln(w, "nothing is wrong")
	}
}

// runCheck fails only where there is no config to check by.
func runCheck(ctx context.Context, path string, app *user.User) (checked, error) {
	path, data, err := readConfig(path)
	if err != nil {
		return checked{}, err
	}
	d := &doctor{path: path, user: app}
	all := []examination{hostExamination}
	if err := d.read(data); err != nil {
		f := broken("config", fmt.Errorf("%s: %w", path, err))
		all = append(all, examination{"config", "whether it can be read", false, func(*doctor, context.Context) ([]finding, string) { return []finding{f}, "" }})
	} else {
		d.daemon = seeDaemon(ctx, d.cfg.Admin.Socket)
		all = append(all, examinations...)
	}
	r := checked{Config: path, Running: d.daemon.status != nil, Findings: []finding{}, Checks: d.examine(ctx, all)}
	if d.cfg != nil {
		r.Node = d.cfg.Node
	}
	for _, x := range r.Checks {
		for _, f := range x.Found {
			if r.Findings = append(r.Findings, f); f.Severity == severityError {
				r.Errors++
			} else {
				r.Warnings++
			}
		}
	}
	return r, nil
}

func (d *doctor) examine(ctx context.Context, all []examination) []examined {
	return d.examineFor(ctx, examineWithin, all)
}

// examineFor runs all at once and keeps their order. Who has not come back in time
// is left to itself.
func (d *doctor) examineFor(ctx context.Context, within time.Duration, all []examination) []examined {
	out := make([]examined, len(all))
	done := make([]chan examined, len(all))
	for i, x := range all {
		done[i] = make(chan examined, 1)
		out[i] = examined{Check: x.name, Subject: x.subject}
		if x.data && d.witness {
			out[i].Skipped = "a witness has neither LiteFS nor a mount"
			done[i] = nil
			continue
		}
		r, done := out[i], done[i]
		go func() {
			r.Found, r.Skipped = x.look(d, ctx)
			done <- r
		}()
	}
	late, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for i, x := range all {
		if done[i] == nil {
			continue
		}
		select {
		case out[i] = <-done[i]:
			continue
		case <-late.Done():
		}
		select {
		case out[i] = <-done[i]: // it was in time; others were waited for
		default:
			out[i].Found = []finding{{x.name, severityError, fmt.Sprintf("no answer within %v while looking at %s", within, x.subject), "something on this machine hangs; look for processes in state D (ps)"}}
		}
	}
	return out
}

func (d *doctor) err(check, mend, format string, args ...any) finding {
	return finding{check, severityError, oneLine(fmt.Errorf(format, args...)), mend}
}

func (d *doctor) warn(check, mend, format string, args ...any) finding {
	return finding{check, severityWarning, oneLine(fmt.Errorf(format, args...)), mend}
}

// broken is a finding of an error that words its mend after the last semicolon,
// as the errors of this program do.
func broken(check string, err error) finding {
	text := oneLine(err)
	if i := strings.LastIndex(text, "; "); i > 0 {
		return finding{check, severityError, text[:i], text[i+2:]}
	}
	return finding{check, severityError, text, ""}
}
