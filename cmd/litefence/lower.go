package main

import (
	"context"
	"fmt"
	"time"

	"github.com/litefence/litefence/fusefs"
)

// startLiteFS starts litefs.command, where it is set.
func (d *daemon) startLiteFS() (err error) {
	if len(d.cfg.LiteFS.Command) == 0 {
		return nil
	}
	if d.litefs, err = startChild(d.cfg.LiteFS.Command); err != nil {
		return fmt.Errorf("litefs.command: %w", err)
	}
	d.defers(d.litefs.stop)
	return nil
}

// startApp starts the application behind --, where one is given.
func (d *daemon) startApp() (err error) {
	if len(d.app) == 0 {
		return nil
	}
	if d.appChild, err = startChild(d.app); err != nil {
		return usageError(err)
	}
	d.defers(d.appChild.stop)
	return nil
}

// waitLower returns when LiteFS is mounted at fence.lower.
func (d *daemon) waitLower(ctx context.Context) error {
	late := time.NewTimer(d.lowerTimeout)
	defer late.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	said := false
	for {
		err := fusefs.CheckLower(d.cfg.Fence.Lower)
		if err == nil {
			return nil
		}
		if !said {
			d.log.Info("waiting for LiteFS", "lower", d.cfg.Fence.Lower, "because", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-d.node.Fatal():
			return usageError(err)
		case <-d.litefs.exited():
			return notReadyError(fmt.Errorf("litefs.command ended with exit code %d before its mount was there", d.litefs.code()))
		case <-late.C:
			return notReadyError(fmt.Errorf("fence.lower: %w", err))
		case <-tick.C:
		}
	}
}
