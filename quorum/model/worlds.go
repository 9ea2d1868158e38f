package model

var worlds = [...]struct {
	name   string
	length int
	make   func(Rules, Step, *oracle) machine
}{
	Lease:  {"lease", 90, func(off Rules, st Step, o *oracle) machine { return newLeaseWorld(off, st, o, false) }},
	Frozen: {"frozen", 90, func(off Rules, st Step, o *oracle) machine { return newLeaseWorld(off, st, o, true) }},
	Data:   {"data", 140, func(off Rules, st Step, o *oracle) machine { return newDataWorld(off, st, o) }},
	Copied: {"copied", 160, func(off Rules, st Step, o *oracle) machine { return newCopiedWorld(off, st, o) }},
}

func (w World) String() string { return worlds[w].name }
