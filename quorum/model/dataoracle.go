package model

// lineage is the oracle's own book of the newest primary: every content that
// its databases had since its Open, and what a majority really had of it.
type lineage struct {
	any  bool
	node int
	had  [dbs][]int32
	held [dbs]int // index in had
}

func index(list []int32, c int32) int {
	for i, x := range list {
		if x == c {
			return i
		}
	}
	return -1
}

// openedBy is shown every committed Open: whoever opens stands where the
// newest primary once stood, and not before what a majority has of it (P9).
func (o *oracle) openedBy(w *dataWorld, n int, db [dbs]int32) {
	l := &w.line
	for i, c := range db {
		if !l.any {
			for y := range w.n {
				if !w.descends(c, w.nodes[y].db[i]) && !w.tampered {
					o.fail("replaced row: n%d opens first with database %s at #%d, which is not made from what n%d has (#%d)", n, dbNames[i], c, y, w.nodes[y].db[i])
				}
			}
			continue
		}
		at := index(l.had[i], c)
		if at < 0 {
			o.fail("replaced row: n%d opens with database %s at #%d, where the last primary n%d never stood", n, dbNames[i], c, l.node)
		} else if at < l.held[i] {
			o.fail("replaced row: n%d opens with database %s at #%d, but a majority has #%d", n, dbNames[i], c, l.had[i][l.held[i]])
		}
	}
	for y := range w.n {
		o.passedOver(w, n, y, db)
	}
	o.lost(w, n, db)
	w.line = lineage{any: true, node: n}
	if o.last != n+1 {
		o.last = n + 1
		o.turns++
	}
	for i, c := range db {
		w.line.had[i] = []int32{c}
	}
}

// passedOver: a node that has reported, and that follows or was the last
// primary, has not all that the one that opens has, and more.
func (o *oracle) passedOver(w *dataWorld, n, y int, db [dbs]int32) {
	nd, l := &w.nodes[y], &w.line
	if w.copied { // it need not have what was acknowledged
		return
	}
	if !l.any || y == n || !w.nodes[n].reports[y].has || nd.touched || y != l.node && nd.marker != w.opens {
		return
	}
	more := false
	for i := range db {
		mine, theirs := index(l.had[i], db[i]), index(l.had[i], nd.db[i])
		if theirs < 0 || theirs < mine {
			return // with several databases each may have what the other lacks
		}
		more = more || theirs > mine
	}
	if more {
		o.fail("replaced row: n%d opens, although n%d has reported and has more of the last primary's transactions", n, y)
	}
}

// wrote is shown every transaction that reaches a LiteFS which is primary.
func (o *oracle) wrote(w *dataWorld, n int, i int8, parent, c int32) {
	l := &w.line
	if !l.any || l.node != n {
		return // unacknowledged: the second look judges it
	}
	if h := l.had[i]; h[len(h)-1] != parent {
		o.fail("replaced row: n%d writes #%d over #%d, on top of #%d", n, c, h[len(h)-1], parent)
		return
	}
	l.had[i] = append(l.had[i], c)
}

func (o *oracle) answered(w *dataWorld, n int, c int32) {
	o.acks++
	if w.line.node != n {
		o.fail("second writer: n%d acknowledges #%d, n%d has opened", n, c, w.line.node)
	}
}

// heldBy is shown every Held record, and whether a majority really has it.
func (o *oracle) heldBy(w *dataWorld, pos [dbs]int32) {
	for i, c := range pos {
		at := index(w.line.had[i], c)
		if at < 0 && c != 0 {
			o.fail("replaced row: held #%d is no place where the primary stood", c)
			return
		}
		w.line.held[i] = max(w.line.held[i], at)
	}
	o.stillHeld(w)
}

// stillHeld: as long as nobody wiped or restored data, a majority has what
// Held says, and somebody may become primary.
func (o *oracle) stillHeld(w *dataWorld) {
	if w.tampered || !w.line.any || !w.off.on(LossOnly) {
		return
	}
	o.someoneMay(w)
	for i := range dbs {
		if w.copied {
			break // not a majority: those that copies are on
		}
		have, c := 0, w.line.had[i][w.line.held[i]]
		for y := range w.n {
			if w.descends(w.nodes[y].db[i], c) {
				have++
			}
		}
		if 2*have <= w.n && w.line.held[i] > 0 {
			o.fail("replaced row: a majority had database %s at #%d, now %d of %d have", dbNames[i], c, have, w.n)
		}
	}
	l := w.lineageAt(len(w.log))
	for y := range w.n {
		if w.report(y, w.nodes[y].files).Qualifies(l) {
			return
		}
	}
	o.fail("replaced row: nobody is in step with the newest primary any more, and nobody wiped any data")
}
