package policy

import "time"

// Health is what a node says of itself. The zero value counts as healthy: of a
// node that says nothing nothing is held against it.
type Health string

const (
	Healthy   Health = "healthy"
	Degraded  Health = "degraded"  // something is wrong; it votes and counts like a healthy node
	Unhealthy Health = "unhealthy" // its answers do not count towards a lease
)

func (h Health) rank() int {
	switch h {
	case Unhealthy:
		return 2
	case Degraded:
		return 1
	}
	return 0
}

// Worse returns the worse of h and o.
func (h Health) Worse(o Health) Health {
	if o.rank() > h.rank() {
		return o
	}
	return h
}

// Better returns the better of h and o.
func (h Health) Better(o Health) Health {
	if o.rank() < h.rank() {
		return o
	}
	return h
}

// HealthStatus is a node's health and what it rests on.
type HealthStatus struct {
	Health    Health    `json:"status"`
	Reason    string    `json:"reason"`     // "" while healthy
	LastCheck time.Time `json:"last_check"` // wall clock; zero = not yet
}

// How many results in a row it takes, by default. Coming back takes longer than
// going: a node that is ill now and then stays out.
const (
	FailuresToUnhealthy = 3
	SuccessesToHealthy  = 6
)

// Hysteresis makes a health of a row of single results. The first failure
// degrades, Fail failures in a row make unhealthy, and only Heal successes in a
// row make healthy again. So a probe that flaps is degraded and nothing else,
// and between two times of becoming unhealthy lie Heal good results. Neither
// field may be below 1.
type Hysteresis struct {
	Fail, Heal int

	health Health
	failed int // results in a row, at the end
	passed int
}

// Note takes one result in and returns the health after it.
func (h *Hysteresis) Note(ok bool) Health {
	if ok {
		h.failed, h.passed = 0, h.passed+1
	} else {
		h.failed, h.passed = h.failed+1, 0
	}
	switch {
	case h.failed >= h.Fail:
		h.health = Unhealthy
	case h.failed > 0:
		h.health = h.health.Worse(Degraded)
	case h.passed >= h.Heal || h.health == "":
		h.health = Healthy
	}
	return h.health
}
