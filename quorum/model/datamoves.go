package model

import "github.com/litefence/litefence/policy"

// elect makes n raft's leader. It has every committed record: its barrier.
func (w *dataWorld) elect(n int) {
	up := 0
	for i := range w.n {
		if w.nodes[i].up {
			up++
		}
	}
	if !w.nodes[n].up || 2*up <= w.n {
		return
	}
	w.pending = w.pending[:min(w.kept, len(w.pending))]
	w.settle()
	w.term++
	w.leader = int8(n)
	if w.o.say != nil {
		w.o.tell("n%d leads term %d", n, w.term)
	}
	w.follow(n)
	w.nodes[n].applied = len(w.log)
}

// follow: n hears of the newest leader. Its streams are cut, its role ends.
func (w *dataWorld) follow(n int) {
	nd := &w.nodes[n]
	if !nd.up || w.leader < 0 || nd.term == w.term {
		return
	}
	nd.term, nd.leader = w.term, w.leader
	nd.reports = [maxNodes]report{}
	w.cutStream(nd)
	nd.looped = false
	nd.gate = false
	w.endRole(nd)
	if w.o.say != nil {
		w.o.tell("n%d follows n%d in term %d", n, w.leader, w.term)
	}
}

// endRole takes the key from LiteFS: gate, drain, and only then.
func (w *dataWorld) endRole(nd *dataNode) {
	nd.gate, nd.ending = false, true
	nd.copies.waits = [dbs]int32{} // in doubt
	if nd.op.on && !nd.op.landed && w.off.on(OperationOfGrant) && nd.primary {
		return
	}
	nd.primary, nd.ending, nd.grant, nd.open, nd.marked = false, false, 0, 0, false
	nd.reports = [maxNodes]report{}
}

func (w *dataWorld) cutStream(nd *dataNode) {
	nd.stream = false
	if w.off.on(MarkerConnected) {
		nd.answered = 0
	}
}

// loop is LiteFS asking the lease endpoint again: nothing is applied any more.
func (w *dataWorld) loop(n int, apply bool) {
	nd := &w.nodes[n]
	if !nd.up || !nd.lite || nd.stream || nd.primary {
		return
	}
	if apply {
		w.applyLate(n)
	}
	nd.late, nd.looped = false, true
	if nd.leader == int8(n) && nd.open != 0 && !w.off.on(OpenPerGrant) {
		nd.primary = true // the same grant goes on
		if w.o.say != nil {
			w.o.tell("n%d: LiteFS has the key again under Open %d, at %s", n, nd.open, w.at(nd.db))
		}
	}
}

func (w *dataWorld) applyLate(n int) {
	nd := &w.nodes[n]
	if !nd.late || !nd.lite {
		return
	}
	nd.late = false
	nd.db[nd.lateDB] = nd.lateAt
	if nd.lateBegin != 0 {
		nd.oldest[nd.lateDB] = nd.lateBegin
	}
	if w.o.say != nil {
		w.o.tell("n%d applies a frame: %s", n, w.at(nd.db))
	}
}

func (w *dataWorld) hear(n int) {
	nd := &w.nodes[n]
	if !nd.up || nd.term != w.term {
		return
	}
	nd.applied = len(w.log)
	if open, _, _ := w.newest(nd.applied); nd.stream && open.open != nd.under {
		w.cutStream(nd)
		nd.looped = false
	}
}

// serving: only an open primary's stream leaves a node.
func (w *dataWorld) serving(n int8) bool {
	p := &w.nodes[n]
	return p.up && p.lite && p.primary && p.open != 0 && p.marked
}

func (w *dataWorld) connect(n int) {
	nd := &w.nodes[n]
	open, _, ok := w.newest(nd.applied)
	if !ok || !nd.up || !nd.lite || nd.primary || nd.stream || !nd.looped || nd.leader == int8(n) ||
		open.term != nd.term || open.node != nd.leader || !w.serving(nd.leader) {
		return
	}
	nd.stream, nd.from, nd.under = true, nd.leader, open.open
	nd.answered, nd.looped = 0, false
	if w.o.say != nil {
		w.o.tell("n%d's LiteFS connects to n%d under Open %d, at %s", n, nd.from, nd.under, w.at(nd.db))
	}
	w.ask(n)
}

// ask asks the opener whether all that this node has lies in its history.
func (w *dataWorld) ask(n int) {
	nd := &w.nodes[n]
	if !nd.stream || !w.serving(nd.from) || w.nodes[nd.from].open != nd.under && w.off.on(MarkerPerOpen) {
		return
	}
	if nd.marker != nd.under && !w.vouches(int(nd.from), n) {
		return
	}
	if w.inHistory(&w.nodes[nd.from].files, nd.db) || !w.off.on(MarkerHistory) {
		nd.answered, nd.answerTo = nd.under, nd.term
	}
}

func (w *dataWorld) mark(n int) {
	nd := &w.nodes[n]
	open, _, _ := w.newest(nd.applied)
	if nd.answered == 0 || !nd.up || !nd.lite || open.open != nd.answered || w.off.on(MarkerConnected) && !nd.stream {
		return
	}
	nd.marker, nd.outside = nd.answered, nd.answered
	nd.answered = 0
	if w.o.say != nil {
		w.o.tell("n%d is marked as in step with Open %d", n, nd.marker)
	}
}

// frame sends the next transaction of database i, or a snapshot.
func (w *dataWorld) frame(n int, i int8, at bool) {
	nd := &w.nodes[n]
	if !nd.stream || nd.late || !nd.lite || !w.nodes[nd.from].lite || !w.nodes[nd.from].primary {
		return
	}
	p := &w.nodes[nd.from].files
	if p.db[i] == nd.db[i] || p.db[i] == 0 {
		return
	}
	next, begin := p.db[i], p.db[i]
	if nd.db[i] != 0 && w.descends(p.db[i], nd.db[i]) {
		for begin = 0; w.contents[next].parent != nd.db[i]; {
			next = w.contents[next].parent
		}
	}
	nd.late, nd.lateDB, nd.lateAt, nd.lateBegin = true, i, next, begin
	if at {
		w.applyLate(n)
	}
}

// tell is y's report to the leader, read once nothing feeds its LiteFS.
func (w *dataWorld) tell(y int) {
	nd := &w.nodes[y]
	if !nd.up || !nd.lite && !nd.witness || nd.term != w.term || nd.primary ||
		!nd.looped && !nd.witness && w.off.on(ReportAfterStream) {
		return
	}
	b := &w.nodes[w.leader]
	if b.term != w.term || b.grant != 0 {
		return
	}
	b.reports[y] = report{true, nd.files}
	nd.touched = false
}

// choose runs policy.Elect on what was reported. The winner's LiteFS gets the
// key, or leadership is handed on.
func (w *dataWorld) choose() {
	if w.leader < 0 {
		return
	}
	n := int(w.leader)
	b := &w.nodes[n]
	if !b.up || b.term != w.term || b.grant != 0 || b.applied < len(w.log) && w.term == 0 {
		return
	}
	l := w.lineageAt(len(w.log))
	voters := w.n
	var reports []policy.Report
	for y := range w.n {
		if b.reports[y].has {
			reports = append(reports, w.report(y, w.marked(y, b.reports[y].files)))
			if w.nodes[y].witness {
				voters--
			}
		}
	}
	if !w.off.on(AllReport) {
		voters = 0
	}
	res := policy.Elect(string(rune('0'+n)), voters, l, reports)
	if res.Conflict != "" && !w.off.on(Conflicts) {
		for i := range reports { // one at a time there is nobody to disagree with
			if r := policy.Elect("", 0, l, reports[i:i+1]); r.Winner != "" {
				res = r
			}
		}
	}
	if !w.off.on(MostFirst) && res.Winner != "" {
		for i := range reports {
			if r := policy.Elect("", 0, l, reports[i:i+1]); r.Winner == string(rune('0'+n)) {
				res = r
			}
		}
	}
	switch {
	case res.Winner == "":
	case res.Winner != string(rune('0'+n)):
		w.elect(int(res.Winner[0] - '0'))
	default:
		w.grants++
		b.primary, b.grant, b.open, b.marked = false, w.grants, 0, false
		if w.o.say != nil {
			w.o.tell("n%d is chosen: the key is offered to its LiteFS", n)
		}
	}
}

// marked is what y's report says of its marker.
func (w *dataWorld) marked(y int, f files) files {
	if !w.off.on(MarkerInData) {
		f.marker = w.nodes[y].outside
	}
	return f
}
