package model

// acked is shown every commit that is acknowledged, in order.
func (o *oracle) acked(i int, c int32) { o.safe[i] = append(o.safe[i], c) }

// lost is shown every committed Open: what was acknowledged is there.
func (o *oracle) lost(w *dataWorld, n int, db [dbs]int32) {
	for i, all := range o.safe {
		for _, c := range all {
			if !w.descends(db[i], c) {
				o.fail("lost commit: n%d opens with database %s at #%d, without #%d, which was acknowledged", n, dbNames[i], db[i], c)
				return
			}
		}
	}
}

// someoneMay: as long as nobody lost any data, every majority has somebody who
// may become primary, once it was said who has copies.
func (o *oracle) someoneMay(w *dataWorld) {
	l := w.lineageAt(len(w.log))
	if w.tampered || !l.Copied || !w.off.on(LossOnly) {
		return
	}
	may := 0
	for y := range w.n {
		if w.report(y, w.nodes[y].files).Qualifies(l) {
			may++
		}
	}
	if may <= w.wanted() {
		o.fail("no successor: only %d of %d may become primary, and nobody lost any data", may, w.n)
	}
}

// handedTo: who was found to have everything may go on.
func (o *oracle) handedTo(w *dataWorld, y int) {
	if !w.report(y, w.nodes[y].files).Qualifies(w.lineageAt(len(w.log))) {
		o.fail("no successor: n%d has everything, the Open was closed for it, and it may not become primary", y)
	}
}
