package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Step is one part of a resolution.
type Step string

// The steps in their order. Detection comes before them and cannot fail.
const (
	StepFence    Step = "fence"     // the gate is shut and drained
	StepRecover  Step = "recover"   // the strategy
	StepStepDown Step = "step-down" // key and leadership are given up
	StepFollow   Step = "follow"    // LiteFS is primary no more
)

var steps = []Step{StepFence, StepRecover, StepStepDown, StepFollow}

// Ports are what a Coordinator acts through. All are required; each bounds
// itself in time.
type Ports struct {
	Detector interface{ DetectStaleLeadership() bool }
	Resolver ConflictResolver
	Office   Office
	// Ended is told of the end of every step, err nil where it succeeded. It
	// must not call the Coordinator's CheckAndResolve.
	Ended func(s Step, err error)
	// Moved is told of every change of the state, in order.
	Moved func(from, to State)
}

// Coordinator takes a stale leader out of the way, step by step, and holds the
// one state machine of its node: detect, fence, recover, step down, follow. It
// decides and keeps count; whatever touches the world is a port. Safe for
// concurrent use.
type Coordinator struct {
	ports Ports
	turn  sync.Mutex // one resolution at a time

	mu        sync.Mutex // never held while a port is called
	state     State
	last      Observation
	resolving bool
	forgiven  bool   // during this resolution
	failed    []Step // to be made good, in order
	err       error  // of the last resolution

	telling sync.Mutex // orders the calls of Moved
}

// NewCoordinator returns a Coordinator in StateHealthy.
func NewCoordinator(p Ports) *Coordinator { return &Coordinator{ports: p, state: StateHealthy} }

// State returns the state, and the error of the last resolution where that is
// why it is StateFailed.
func (c *Coordinator) State() (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.err
}

// Failed reports that a step has failed and has not been made good. The gate
// must stay shut, and the node out of any choice, while it is true.
func (c *Coordinator) Failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.failed) > 0
}

// Observe moves the state on o.
func (c *Coordinator) Observe(o Observation) State {
	c.telling.Lock()
	defer c.telling.Unlock()
	return c.move(func() { c.last = o })
}

// Forgive is an operator's word that what has failed need not be made good, nor
// what fails in a resolution that is under way.
func (c *Coordinator) Forgive() {
	c.change(func() { c.failed, c.err, c.forgiven = nil, nil, true })
}

// CheckAndResolve is the analysis's check_and_resolve_split_brain. Where this
// node is a stale leader it takes every step in turn; a step that fails makes
// the state StateFailed, and the following ones are taken all the same: a fence
// that did not drain is one more reason to step down. Where an earlier
// resolution has failed, and the node is not stale any more, the failed steps
// are taken again. Otherwise nothing is done.
//
// It returns the state, and an error that wraps ErrSplitBrainDetected and every
// step's. A node that has done all it can and is a stale leader still, because
// its LiteFS has a lease of its own, stays in StateSplitBrain, without an error.
func (c *Coordinator) CheckAndResolve(ctx context.Context) (State, error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	stale := c.ports.Detector.DetectStaleLeadership()
	c.mu.Lock()
	todo, state, err := c.failed, c.state, c.err
	c.mu.Unlock()
	if stale {
		todo = steps
	}
	if len(todo) == 0 {
		return state, err
	}
	c.change(func() { c.resolving, c.forgiven = true, false })
	var errs []error
	var failed []Step
	for _, s := range todo {
		err := c.take(ctx, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
			failed = append(failed, s)
			c.change(func() { c.fail(failed) })
		}
		c.ports.Ended(s, err)
	}
	if err = errors.Join(errs...); err != nil {
		err = fmt.Errorf("%w: %w", ErrSplitBrainDetected, err)
	}
	return c.end(failed, err, c.ports.Detector.DetectStaleLeadership()), err
}

// fail keeps what has failed. Called with mu held.
func (c *Coordinator) fail(failed []Step) {
	if !c.forgiven {
		c.failed = failed
	}
}

// end ends a resolution and returns the state that it came to.
func (c *Coordinator) end(failed []Step, err error, stale bool) State {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	c.resolving, c.failed, c.err = false, nil, nil
	from, to := c.state, StateResolved
	switch c.fail(failed); {
	case len(c.failed) > 0:
		to, c.err = StateFailed, err
	case stale:
		to = StateSplitBrain
	}
	c.state = to
	c.mu.Unlock()
	c.tell(from, to)
	return to
}

func (c *Coordinator) take(ctx context.Context, s Step) error {
	switch s {
	case StepFence:
		return c.ports.Resolver.FenceWriteAccess(ctx)
	case StepRecover:
		return c.ports.Resolver.ApplyResolutionStrategy(ctx)
	case StepStepDown:
		return c.ports.Office.StepDown(ctx)
	}
	return c.ports.Office.Follow(ctx)
}

// change does f, and lets the state follow from the last observation.
func (c *Coordinator) change(f func()) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.move(f)
}

func (c *Coordinator) move(f func()) State {
	c.mu.Lock()
	f()
	from := c.state
	c.state = from.next(c.last, c.resolving, len(c.failed) > 0)
	to := c.state
	c.mu.Unlock()
	c.tell(from, to)
	return to
}

func (c *Coordinator) tell(from, to State) {
	if from != to {
		c.ports.Moved(from, to)
	}
}
