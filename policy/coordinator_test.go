package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// stage plays the world to a Coordinator and writes down what it was told.
type stage struct {
	stale  bool
	fails  map[Step]error
	heals  bool // the first step that is taken ends the split brain
	script []string
	c      *Coordinator
	during func(Step) // called in each step
}

func newStage() *stage {
	s := &stage{fails: map[Step]error{}}
	s.c = NewCoordinator(Ports{
		Detector: s, Resolver: s, Office: s,
		Ended: func(step Step, err error) {
			if err != nil {
				s.note("%s failed", step)
			}
		},
		Moved: func(from, to State) { s.note("%s -> %s", from, to) },
	})
	return s
}

func (s *stage) note(format string, args ...any) {
	s.script = append(s.script, fmt.Sprintf(format, args...))
}

func (s *stage) DetectStaleLeadership() bool { return s.stale }

func (s *stage) step(step Step) error {
	s.note("%s", step)
	if s.during != nil {
		s.during(step)
	}
	if step == StepStepDown && s.heals {
		s.stale = false
	}
	return s.fails[step]
}

func (s *stage) FenceWriteAccess(context.Context) error        { return s.step(StepFence) }
func (s *stage) ApplyResolutionStrategy(context.Context) error { return s.step(StepRecover) }
func (s *stage) StepDown(context.Context) error                { return s.step(StepStepDown) }
func (s *stage) Follow(context.Context) error                  { return s.step(StepFollow) }

func (s *stage) check() (State, error) { return s.c.CheckAndResolve(context.Background()) }

func (s *stage) told() string {
	t := strings.Join(s.script, ", ")
	s.script = nil
	return t
}

var (
	seesStale   = Observation{Node: "n1", Started: true, Role: RolePrimary}
	followsNone = Observation{Node: "n1", Started: true, Role: RoleReplica}
	followsN2   = Observation{Node: "n1", Started: true, Role: RoleReplica, Leader: "n2"}
	leads       = Observation{Node: "n1", Started: true, Role: RolePrimary, RaftLeader: true, Leader: "n1", LeaseValid: true}
)

func TestCoordinatorResolves(t *testing.T) {
	s := newStage()
	state, err := s.check()
	require.NoError(t, err)
	require.Equal(t, StateHealthy, state)
	require.Empty(t, s.told(), "nothing is done to a healthy node")

	s.stale, s.heals = true, true
	s.c.Observe(seesStale)
	state, err = s.check()
	require.NoError(t, err)
	require.Equal(t, StateResolved, state)
	require.Equal(t, "healthy -> split_brain_detected, fence, recover, step-down, follow, split_brain_detected -> resolved", s.told())

	require.Equal(t, StateResolved, s.c.Observe(followsNone), "until there is somebody to follow")
	require.Equal(t, StateHealthy, s.c.Observe(followsN2))
	state, err = s.check()
	require.NoError(t, err)
	require.Equal(t, StateHealthy, state)
}

// Each step failing: the state is failed, the error is wrapped, and every other
// step is taken all the same. What failed is taken again, and nothing else.
func TestCoordinatorEachStepFails(t *testing.T) {
	all := "fence, recover, step-down, follow"
	for _, step := range steps {
		t.Run(string(step), func(t *testing.T) {
			s := newStage()
			broken := errors.New("broken")
			s.stale, s.heals, s.fails[step] = true, true, broken
			state, err := s.check()
			require.Equal(t, StateFailed, state)
			require.ErrorIs(t, err, ErrSplitBrainDetected)
			require.ErrorIs(t, err, broken)
			require.ErrorContains(t, err, string(step)+": broken")
			var did []string
			for _, line := range strings.Split(s.told(), ", ") {
				if !strings.Contains(line, " ") {
					did = append(did, line)
				}
			}
			require.Equal(t, all, strings.Join(did, ", "), "the others are taken all the same")
			require.True(t, s.c.Failed())
			_, kept := s.c.State()
			require.Equal(t, err, kept)

			for _, o := range []Observation{followsNone, followsN2, leads} {
				require.Equal(t, StateFailed, s.c.Observe(o), "it stays failed, whatever comes")
			}
			s.told()
			state, err = s.check()
			require.Equal(t, StateFailed, state)
			require.ErrorIs(t, err, broken)
			require.Equal(t, string(step)+", "+string(step)+" failed", s.told(), "only what failed, again")

			delete(s.fails, step)
			state, err = s.check()
			require.NoError(t, err)
			require.Equal(t, StateResolved, state)
			require.Equal(t, string(step)+", failed -> resolved", s.told())
			require.False(t, s.c.Failed())
			require.Equal(t, StateHealthy, s.c.Observe(followsN2))
		})
	}
}

func TestCoordinatorEveryStepFails(t *testing.T) {
	s := newStage()
	s.stale = true
	for _, step := range steps {
		s.fails[step] = errors.New(string(step) + " is broken")
	}
	_, err := s.check()
	for _, step := range steps {
		require.ErrorIs(t, err, s.fails[step])
	}
	require.ErrorIs(t, err, ErrSplitBrainDetected)
}

// A second split brain takes every step again, also those that had not failed.
func TestCoordinatorFailedAndStaleAgain(t *testing.T) {
	s := newStage()
	s.stale, s.heals, s.fails[StepRecover] = true, true, errors.New("broken")
	_, _ = s.check()
	s.told()
	s.stale = true
	delete(s.fails, StepRecover)
	state, err := s.check()
	require.NoError(t, err)
	require.Equal(t, StateResolved, state)
	require.Equal(t, "fence, recover, step-down, follow, failed -> resolved", s.told())
}

// LiteFS has a lease of its own and clings to the role: all has been done, and
// it is a split brain still. That is no failure of ours.
func TestCoordinatorStaleStill(t *testing.T) {
	s := newStage()
	s.stale = true
	state, err := s.check()
	require.NoError(t, err)
	require.Equal(t, StateSplitBrain, state)
	require.Equal(t, StateSplitBrain, s.c.Observe(seesStale))
	require.Equal(t, StateResolved, s.c.Observe(followsNone))
}

func TestCoordinatorForgives(t *testing.T) {
	s := newStage()
	s.stale, s.heals, s.fails[StepRecover] = true, true, errors.New("broken")
	_, _ = s.check()
	require.Equal(t, StateFailed, s.c.Observe(followsN2))
	s.c.Forgive()
	state, err := s.c.State()
	require.NoError(t, err)
	require.Equal(t, StateHealthy, state)
}

// The word may come while the steps are being taken.
func TestCoordinatorForgivesMeanwhile(t *testing.T) {
	s := newStage()
	s.stale, s.heals, s.fails[StepRecover] = true, true, errors.New("broken")
	s.during = func(step Step) {
		if step == StepStepDown {
			s.c.Forgive()
		}
	}
	state, err := s.check()
	require.ErrorIs(t, err, ErrSplitBrainDetected, "whoever asked is told all the same")
	require.Equal(t, StateResolved, state)
	require.False(t, s.c.Failed())
}

// A majority that is late and answers again before anything was done leaves
// nothing to resolve.
func TestStateLapse(t *testing.T) {
	s := newStage()
	require.Equal(t, StateSplitBrain, s.c.Observe(seesStale))
	require.Equal(t, StateHealthy, s.c.Observe(leads))
}

func TestStateConflict(t *testing.T) {
	o := leads
	o.Conflict = true
	s := newStage()
	require.Equal(t, StateFailed, s.c.Observe(o))
	require.False(t, s.c.Failed(), "no step of ours")
	require.Equal(t, StateHealthy, s.c.Observe(leads))

	o = followsN2
	o.ConflictHeard = true
	require.Equal(t, StateFailed, s.c.Observe(o), "it is the whole cluster's")
	o = seesStale
	o.ConflictHeard = true
	require.Equal(t, StateSplitBrain, s.c.Observe(o), "a stale leader has something to do first")
}

// Whatever happens in whatever order: a failed step keeps the state failed, a
// stale leader is never called healthy, and one who was is never called healthy
// again while nobody leads.
func TestStateHoldsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStage()
		s.heals = rapid.Bool().Draw(t, "heals")
		for range 30 {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				s.c.Forgive()
			case 1:
				for _, step := range steps {
					delete(s.fails, step)
					if rapid.IntRange(0, 3).Draw(t, string(step)) == 0 {
						s.fails[step] = errors.New("broken")
					}
				}
			case 2:
				state, err := s.check()
				require.Equal(t, s.c.Failed(), err != nil)
				require.False(t, s.c.Failed() && state != StateFailed)
				require.False(t, s.stale && state == StateHealthy)
			default:
				o := drawObservation(t)
				s.stale = o.DetectStaleLeadership()
				was, _ := s.c.State()
				state := s.c.Observe(o)
				require.Equal(t, s.c.Failed() || o.Conflict, state == StateFailed)
				if s.stale {
					require.NotContains(t, []State{StateHealthy, StateResolved}, state)
				}
				if was == StateSplitBrain && !o.Elected() && o.Leader == "" {
					require.NotEqual(t, StateHealthy, state)
				}
			}
		}
	})
}
