package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/litefence/litefence/quorum"
)

// copiesLate is for how long commits may wait for copies before the doctor says
// so.
const copiesLate = time.Second

// copiesText is what commits wait for with quorum.confirm: replicated; "" where
// that is not on.
func copiesText(c *quorum.CopiesStatus) string {
	if c == nil {
		return ""
	}
	on := orNone(strings.Join(c.On, ", "))
	text := fmt.Sprintf("commits wait for %d beside the primary: %s", c.Wanted, on)
	if c.Waiting > 0 {
		text += fmt.Sprintf("; %d wait, the oldest for %v, held up by %s", c.Waiting,
			(time.Duration(c.OldestMS) * time.Millisecond).Round(10*time.Millisecond), heldUpBy(c))
	}
	return text
}

// heldUpBy names who holds commits up. Nobody of the set does where too few
// replicas follow.
func heldUpBy(c *quorum.CopiesStatus) string {
	if len(c.HeldUpBy) > 0 {
		return strings.Join(c.HeldUpBy, ", ")
	}
	return fmt.Sprintf("the want of replicas: %d follow in step (%s)", len(c.Connected), orNone(strings.Join(c.Connected, ", ")))
}
