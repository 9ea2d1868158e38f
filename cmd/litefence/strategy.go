package main

import (
	"context"
	"fmt"

	"github.com/litefence/litefence/policy"
)

// The values of policy.strategy.
const (
	strategyReplica  = "force-replica"
	strategySuspend  = "suspend"
	strategyShutdown = "shutdown-safe"
	strategyRollback = "rollback-to-checkpoint"
	strategyCustom   = "custom"
)

// resolve is what policy.strategy adds to the fence, the loss of the key and the
// following, which a stale leader goes through in any case. Two strategies need
// nothing here: force-replica is just that, and suspend is the mount's
// (fusefs/suspend.go). rollback-to-checkpoint acts later, when LiteFS connects to
// the next primary and before it is sent anything: not until then is there
// somebody who can say what the majority has (quorum/rollback.go).
//
// With fence.enforce: false nothing is done to the application.
func (d *daemon) resolve(ctx context.Context, e policy.Event) error {
	strategy := d.cfg.Policy.Strategy
	if !d.cfg.Fence.Enforce {
		d.log.Warn("fence.enforce: false: the strategy is not applied", "strategy", strategy)
		return nil
	}
	switch strategy {
	case strategyCustom:
		return d.custom.run(ctx, e)
	case strategyShutdown:
		d.log.Warn("policy.strategy: shutdown-safe: stopping", "node", e.Node, "term", e.Term, "reason", e.Reason)
		d.end(fmt.Errorf("split-brain: this node was a stale leader in term %d, and policy.strategy is %s; stopped in order", e.Term, strategy))
	}
	return nil
}

// end has the daemon stop in order, children included, and exit with 1.
func (d *daemon) end(why error) {
	select {
	case d.ends <- why:
	default: // it ends already
	}
}

// startStrategy prepares what a strategy needs before the mount is there.
func (d *daemon) startStrategy() (err error) {
	if d.cfg.Policy.Strategy != strategyCustom {
		return nil
	}
	if d.custom, err = startCustom(d.cfg.Policy.Command, d.log); err == nil {
		d.defers(d.custom.stop)
	}
	return err
}
