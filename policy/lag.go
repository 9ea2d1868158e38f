package policy

import "time"

// Lag measures by the clock how far a replica's data is behind its primary's:
// for how long it has lacked a transaction that the primary was seen to have.
// One position of the primary is held on to until the replica has reached it,
// then the newest one is. So what is returned rises to the lag and falls back,
// and never exceeds it by more than the time between two looks. The zero value
// knows nothing.
type Lag struct {
	open  OpenRef   // positions of another primary do not compare
	goal  Positions // of the primary, not reached when last looked
	since time.Time // when goal was seen
}

// Look takes the replica's own positions and the newest known ones of the
// primary of open, and returns the lag at now.
func (l *Lag) Look(now time.Time, open OpenRef, own, primary Positions) time.Duration {
	if open != l.open || !own.Behind(l.goal) {
		l.open, l.goal, l.since = open, nil, now
	}
	if l.goal == nil && own.Behind(primary) {
		l.goal = primary
	}
	if l.goal == nil {
		return 0
	}
	return now.Sub(l.since)
}
