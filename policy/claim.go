package policy

import "time"

// claimSlack is how much younger a claim must be to count as newer: it covers
// the way of LiteFS's word to its node, and of the node's to another.
const claimSlack = time.Second

// Claim is a LiteFS's word that it is primary by a lease of its own, which
// nobody asked the quorum for.
type Claim struct {
	Node string
	Age  time.Duration // since its node first heard it
	Seen bool          // its node heard it begin; else it is older than Age, by an unknown time
}

// Newer reports whether c began after d for certain, where the clocks of two
// nodes differ in rate by at most drift.
func (c Claim) Newer(d Claim, drift float64) bool {
	return c.Seen && time.Duration(float64(c.Age)*(1+2*drift))+claimSlack < d.Age
}

// ElectClaimant says whose claim holds. Of several it is the newest: a lease
// server gives the key away only once the older session is over, and a LiteFS
// that cannot reach it goes on claiming for as long as its request hangs. A
// static lease has no such order, so single refuses more than one claim.
// Where the order is unknown nobody wins.
func ElectClaimant(claims []Claim, single bool, drift float64) (winner string, conflict bool) {
	if len(claims) == 0 {
		return "", false
	}
	if len(claims) > 1 && single {
		return "", true
	}
next:
	for i, c := range claims {
		for j, d := range claims {
			if i != j && !c.Newer(d, drift) {
				continue next
			}
		}
		return c.Node, false
	}
	return "", true
}
