package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litefence/litefence/fusefs"
)

const (
	lowerTick    = 100 * time.Millisecond
	restartPause = time.Second // between two starts of litefs.command
)

// errLate is the cause of a context that waited for LiteFS's mount too long.
var errLate = errors.New("LiteFS's mount did not come in time")

// startLiteFS starts litefs.command, where it is set, and keeps it running.
func (d *daemon) startLiteFS(ctx context.Context) error {
	if len(d.cfg.LiteFS.Command) == 0 {
		return nil
	}
	d.finishAsides(ctx)
	c, err := startChild(d.cfg.LiteFS.Command)
	if err != nil {
		return fmt.Errorf("litefs.command: %w", err)
	}
	d.litefs.Store(c)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(d.liteFSLeft); d.superviseLiteFS(ctx) }()
	d.defers(func(stop context.Context) {
		cancel()
		<-d.liteFSLeft
		d.litefs.Load().stop(stop)
	})
	return nil
}

// superviseLiteFS alone starts and stops litefs.command until ctx ends.
func (d *daemon) superviseLiteFS(ctx context.Context) {
	for {
		c := d.litefs.Load()
		select {
		case <-ctx.Done():
			return
		case f := <-d.liteFSStop:
			ending, cancel := context.WithTimeout(ctx, liteFSEnds)
			c.stop(ending)
			cancel()
			f(ctx)
			if ctx.Err() != nil {
				return
			}
		case <-c.exited():
			d.log.Error("litefs.command has ended; starting it again", "exit_code", c.code())
			select {
			case <-ctx.Done():
				return
			case <-time.After(restartPause):
			}
		}
		if c, err := startChild(d.cfg.LiteFS.Command); err == nil {
			d.litefs.Store(c)
		} else {
			d.log.Error("litefs.command", "err", err)
		}
	}
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
	d.defers(d.appChild.passOn(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2))
	return nil
}

// mountLower waits for LiteFS's mount and lays the fenced mount over it.
func (d *daemon) mountLower(ctx context.Context) error {
	if err := d.waitLower(ctx); err != nil {
		return err
	}
	d.freeHaltLocks(ctx)
	m, err := fusefs.Mount(d.mountConfig())
	if err != nil {
		return notReadyError(err)
	}
	d.fs = m
	d.mounted.Store(m)
	m.NotifyState()
	d.log.Info("mounted", "lower", d.cfg.Fence.Lower, "mount", d.cfg.Fence.Mount)
	return nil
}

// replaceLower waits until a LiteFS that has died is mounted again, and puts the
// fenced mount over that one. Its old mount is detached: it would keep LiteFS
// from starting.
func (d *daemon) replaceLower(ctx context.Context) error {
	d.log.Error("LiteFS's mount is gone; what is open above it stays dead", "lower", d.cfg.Fence.Lower)
	for {
		if err := d.waitLower(ctx); err != nil {
			return err
		}
		err := d.fs.Relower()
		if err == nil {
			d.freeHaltLocks(ctx)
			d.log.Info("over LiteFS's new mount", "lower", d.cfg.Fence.Lower, "mount", d.cfg.Fence.Mount)
			return nil
		}
		d.log.Warn("LiteFS's new mount", "err", err)
	}
}

// waitLower returns when LiteFS is mounted at fence.lower. A dead mount there is
// detached.
func (d *daemon) waitLower(ctx context.Context) error {
	tick := time.NewTicker(lowerTick)
	defer tick.Stop()
	said := ""
	for {
		err := fusefs.CheckLower(d.cfg.Fence.Lower)
		if err == nil {
			return nil
		}
		if fusefs.IsDead(d.cfg.Fence.Lower) {
			d.log.Info("detaching LiteFS's dead mount", "lower", d.cfg.Fence.Lower)
			_ = unix.Unmount(d.cfg.Fence.Lower, unix.MNT_DETACH)
			continue
		}
		if said != err.Error() {
			said = err.Error()
			d.log.Info("waiting for LiteFS", "because", err)
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) == errLate {
				return notReadyError(fmt.Errorf("fence.lower: %w", err))
			}
			return ctx.Err()
		case err := <-d.node.Fatal():
			return usageError(err)
		case <-tick.C:
		}
	}
}

// watchLower returns a channel that is closed when the LiteFS under the mount
// is gone for good.
func (d *daemon) watchLower() <-chan struct{} {
	dead := make(chan struct{})
	m := d.fs
	go func() {
		tick := time.NewTicker(lowerTick)
		defer tick.Stop()
		for {
			select {
			case <-m.Done():
				return
			case <-tick.C:
			}
			if m.LowerGone() { // may hang while LiteFS is stopped; nobody waits for it
				close(dead)
				return
			}
		}
	}()
	return dead
}

// followDrops tells the mount of databases that LiteFS drops: where one is made
// anew under the same name at once, LiteFS's mount shows no difference.
func (d *daemon) followDrops() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			err := d.client.Drops(ctx, d.fs.Dropped)
			d.log.Debug("LiteFS's events have ended", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(lowerTick):
			}
		}
	}()
	d.defers(func(context.Context) {
		cancel()
		<-done
	})
}
