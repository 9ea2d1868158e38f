package main

// demoShown is what demo shows as JSON.
type demoShown struct {
	Broken  []string      `json:"broken"` // promises that were seen broken
	Fenced  verdictShown  `json:"litefence"`
	Without *verdictShown `json:"litefs_directly,omitempty"`
}

// verdictShown is a verdict as JSON: milliseconds after the cut or the heal, null
// = never.
type verdictShown struct {
	OldPrimary       string            `json:"old_primary"`
	LastAckMS        *float64          `json:"last_ack_ms"` // on the old primary
	FenceMS          *float64          `json:"time_to_fence_ms"`
	Refused          int               `json:"writes_refused"` // there, during the partition
	StaleAcks        int               `json:"stale_acks"`     // there, after another node was writable
	LateAcks         int               `json:"late_acks"`      // there, after its lease must have ended
	WritableMS       *float64          `json:"majority_writable_ms"`
	Reads            int               `json:"reads_while_fenced"`
	FailedReads      int               `json:"reads_failed_while_fenced"`
	FollowedMS       *float64          `json:"followed_ms"` // after the heal
	Acked            int               `json:"rows_acknowledged"`
	Present          int               `json:"rows_present"`
	LostNew          int               `json:"lost_of_new_primary"`
	LostBefore       int               `json:"lost_acknowledged_before_cut"`
	LostWithinLease  int               `json:"lost_acknowledged_within_lease"`
	InDoubt          int               `json:"in_doubt"`
	IntegrityByNodes map[string]string `json:"integrity_check"`
}

func (v *verdict) shown() verdictShown {
	ms := func(ns int64) *float64 {
		if ns <= 0 {
			return nil
		}
		f := float64(ns) / 1e6
		return &f
	}
	followed := int64(0)
	if v.facts.followed > 0 {
		followed = v.facts.followed - v.facts.heal
	}
	return verdictShown{
		OldPrimary: v.facts.old, LastAckMS: ms(v.lastAck), FenceMS: ms(v.firstRefuse), Refused: v.refused,
		StaleAcks: v.staleAcks, LateAcks: v.lateAcks, WritableMS: ms(v.writable), Reads: v.reads, FailedReads: v.failedReads,
		FollowedMS: ms(followed), Acked: v.acked, Present: v.present, LostNew: v.lostNew, LostBefore: v.lostBefore,
		LostWithinLease: v.lostLease, InDoubt: v.inDoubt, IntegrityByNodes: v.facts.integrity,
	}
}
