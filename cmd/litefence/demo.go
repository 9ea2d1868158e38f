package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/litefence/litefence/test/cluster"
)

type demoOptions struct {
	partition time.Duration
	litefs    string
	journal   string
	compare   bool
	keepLogs  int
	asJSON    bool
	out       io.Writer // what is told meanwhile
}

func demoMain(fs *cli) int {
	var o demoOptions
	fs.DurationVar(&o.partition, "partition", 20*time.Second, "how long (`duration`) the primary is cut off")
	fs.StringVar(&o.litefs, "litefs", "", "LiteFS `file` (default: beside litefence, then on the PATH)")
	fs.StringVar(&o.journal, "journal", "wal", "journal mode of the application's database: `wal|delete|truncate|persist`")
	fs.BoolVar(&o.compare, "compare", true, "repeat it with the application writing straight to LiteFS")
	fs.IntVar(&o.keepLogs, "log-lines", 30, "how many `lines` of each log to show when something fails")
	fs.BoolVar(&o.asJSON, "json", false, "the figures as JSON; what happens meanwhile is told on standard error")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	if o.out = os.Stdout; o.asJSON {
		o.out = os.Stderr
	}
	if err := o.complete(); err != nil {
		return fail(exitUsage, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return demo(ctx, o)
}

func (o *demoOptions) complete() error {
	if o.partition < 5*time.Second {
		return fmt.Errorf("-partition %v is too short to show anything; allowed: 5s and more", o.partition)
	}
	if o.litefs == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.litefs = filepath.Join(filepath.Dir(self), "litefs")
		if _, err := os.Stat(o.litefs); err != nil {
			if o.litefs, err = exec.LookPath("litefs"); err != nil {
				return errors.New("LiteFS is neither beside litefence nor on the PATH; run `make build`, or name it with -litefs")
			}
		}
	}
	var err error
	o.litefs, err = filepath.Abs(o.litefs)
	return err
}

// demo runs the partition with the fence, then without it, and judges only the
// first: the second shows what there is to fence against.
func demo(ctx context.Context, o demoOptions) int {
	fenced, err := runDemo(ctx, o, "with litefence: the application opens the fenced mount", (*cluster.Node).Fenced, true)
	if err != nil {
		return demoFailed(ctx, err)
	}
	broken := fenced.broken()
	shown := demoShown{Broken: append([]string{}, broken...), Fenced: fenced.shown()}
	fenced.print(o.out)
	if o.compare {
		direct, err := runDemo(ctx, o, "for comparison: the same partition, the application writes straight to LiteFS (litefence still elects)", (*cluster.Node).Lower, false)
		if err != nil {
			return demoFailed(ctx, err)
		}
		direct.print(o.out)
		printComparison(o.out, fenced, direct)
		without := direct.shown()
		shown.Without = &without
	}
	if o.asJSON {
		showJSON(shown)
	}
	for _, b := range broken {
		fmt.Fprintln(o.out, "BROKEN:", b)
	}
	if len(broken) > 0 {
		return exitBroken
	}
	fmt.Fprintln(o.out, "Every promise that this demo looks at was kept.")
	return exitDone
}

var errCleanUp = errors.New("not everything could be removed")

func demoFailed(ctx context.Context, err error) int {
	switch {
	case errors.Is(err, errCleanUp): // even when interrupted, this must be said
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted; everything has been removed")
		return exitFailed
	case errors.Is(err, cluster.ErrUnable):
		return fail(exitNotReady, err)
	}
	return fail(exitFailed, err)
}

// runDemo is one partition from an empty cluster to the verdict. The cluster
// is gone when it returns, whatever happened; its logs are shown first where
// it failed, or broke a promise that it is judged by.
func runDemo(ctx context.Context, o demoOptions, title string, mount func(*cluster.Node) string, judged bool) (v *verdict, err error) {
	fmt.Fprintf(o.out, "\n== %s\n", title)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c, err := cluster.New(cluster.Options{Litefence: self, LiteFS: o.litefs})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			c.DumpLogs(os.Stderr, o.keepLogs)
		}
		if cerr := c.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", errCleanUp, cerr))
		}
	}()
	s := newScenario(o, c, mount)
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	if v = s.judge(); judged && len(v.broken()) > 0 {
		c.DumpLogs(os.Stderr, o.keepLogs)
	}
	return v, nil
}
