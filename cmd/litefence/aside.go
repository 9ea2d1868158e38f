package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/litefence/litefence/quorum"
	"github.com/litefence/litefence/quorum/litefs"
)

// liteFSEnds is how long LiteFS may take to end before it is killed: it recovers
// from that as from a crash.
const liteFSEnds = 5 * time.Second

var errStopping = errors.New("litefence is stopping")

// asides lets the node set databases aside where LiteFS is ours to stop.
func (d *daemon) asides(q quorum.Config) quorum.Config {
	if len(d.cfg.LiteFS.Command) > 0 && !d.cfg.LiteFS.follows() {
		q.SetAside = d.setAside
	}
	return q
}

// setAside is quorum.Config.SetAside.
func (d *daemon) setAside(ctx context.Context, e quorum.Lost, sure func(context.Context) error) error {
	dir := d.cfg.LiteFS.DataDir
	e.Path = litefs.AsidePath(dir, e.ID)
	a := litefs.Aside{ID: e.ID}
	for _, db := range e.Databases {
		a.Databases = append(a.Databases, db.Name)
	}
	var err error
	if a.Note, err = json.Marshal(e); err != nil {
		return err
	}
	if err := d.untilMounted(ctx); err != nil {
		return err
	}
	return d.whileLiteFSStops(ctx, func(ctx context.Context) error {
		if err := d.liteFSGone(ctx); err != nil {
			return err
		}
		if err := sure(ctx); err != nil {
			return err
		}
		return litefs.SetAside(dir, a, d.recordAside)
	})
}

// untilMounted keeps LiteFS from being stopped while `run` still waits for it.
func (d *daemon) untilMounted(ctx context.Context) error {
	for d.mounted.Load() == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lowerTick):
		}
	}
	return nil
}

// recordAside writes down what `litefence lost` shows of a.
func (d *daemon) recordAside(a litefs.Aside) error {
	var e quorum.Lost
	if err := json.Unmarshal(a.Note, &e); err != nil {
		return fmt.Errorf("set aside %s: %w", a.ID, err)
	}
	return quorum.SaveLost(d.cfg.Quorum.DataDir, e)
}

// finishAsides ends what a crash has cut off, before LiteFS starts. What it
// cannot end stays as it is: LiteFS then shows those databases again, and
// whether they are surplus is decided anew.
func (d *daemon) finishAsides(ctx context.Context) {
	if d.cfg.LiteFS.follows() || d.liteFSGone(ctx) != nil {
		return
	}
	done, err := litefs.FinishAsides(d.cfg.LiteFS.DataDir, d.recordAside)
	for _, a := range done {
		d.log.Warn("databases set aside, as begun before the last stop; see `litefence lost`", "id", a.ID, "databases", a.Databases)
	}
	if err != nil {
		d.log.Error("databases that were to be set aside before the last stop are not", "err", err)
	}
}

// liteFSGone is an error while a LiteFS answers: litefs.command may be a script
// that leaves it behind.
func (d *daemon) liteFSGone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	if _, err := d.client.Info(ctx); err == nil {
		return fmt.Errorf("litefs.command does not run, but a LiteFS answers at %s; litefs.command must end with LiteFS (`exec litefs`, in a script)", d.cfg.LiteFS.URL)
	}
	return ctx.Err() // no answer in time: it may be there
}

// whileLiteFSStops stops litefs.command, calls f and starts it again.
func (d *daemon) whileLiteFSStops(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	select {
	case d.liteFSStop <- func(ctx context.Context) { done <- f(ctx) }:
		return <-done
	case <-d.liteFSLeft:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}
