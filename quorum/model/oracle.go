package model

import "fmt"

// oracle judges what it is shown and knows none of the rules: neither terms nor
// leases nor markers, only true time, who admits writes, what is acknowledged
// and what the data of a node is made of.
type oracle struct {
	say    func(string)
	step   int
	broken *Violation

	last     int // who was last seen to admit writes, and how often that changed
	turns    int
	acks     int
	late     [maxNodes]bool  // the lower write came when somebody else could write
	safe     [dbs][]int32    // acknowledged, with copies
	admitted [maxNodes]int64 // true time at which the node was last seen to admit writes; 0 = never
}

func (o *oracle) fail(format string, args ...any) {
	if o.broken == nil {
		o.broken = &Violation{o.step, fmt.Sprintf(format, args...)}
	}
}

func (o *oracle) tell(format string, args ...any) {
	o.say(fmt.Sprintf("%3d  ", o.step) + fmt.Sprintf(format, args...))
}

// gates is shown who admits writes at true time now (P1).
func (o *oracle) gates(now int64, admits uint8) {
	first := -1
	for n := range maxNodes {
		if admits&(1<<n) == 0 {
			continue
		}
		o.admitted[n] = now
		if o.last != n+1 {
			o.last = n + 1
			o.turns++
		}
		if first >= 0 {
			o.fail("second writer: n%d and n%d admit writes at once", first, n)
		}
		first = n
	}
}

// acknowledged is shown a commit of node n that was begun at true time begun
// and is acknowledged now (P2): from its first look to its answer nobody else
// may have been able to write.
func (o *oracle) acknowledged(n int, begun int64) {
	o.acks++
	for other, at := range o.admitted {
		if other != n && at >= begun && at != 0 {
			o.fail("second writer: n%d acknowledges a commit although n%d admitted writes meanwhile", n, other)
		}
	}
}

// lowered is shown the lower write of a commit point on a machine whose clocks
// may have stood still. Of such a commit it is asked only that nobody else was
// able to write before it was carried out.
func (o *oracle) lowered(n int, begun int64) {
	o.late[n] = false
	for other, at := range o.admitted {
		o.late[n] = o.late[n] || other != n && at >= begun && at != 0
	}
}

func (o *oracle) confirmed(n int) {
	o.acks++
	if o.late[n] {
		o.fail("second writer: n%d acknowledges a commit that it carried out when another node could write", n)
	}
}
