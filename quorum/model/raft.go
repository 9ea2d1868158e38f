package model

type msgKind uint8

const (
	mAppend msgKind = iota
	mBeat           // AppendEntries without entries: says nothing about the log
	mVote
	mTimeoutNow
	mAppendAnswer
	mVoteAnswer
)

func (k msgKind) String() string {
	return [...]string{"append", "heartbeat", "request-vote", "timeout-now", "answer", "vote-answer"}[k]
}

type msg struct {
	kind     msgKind
	from, to int8
	toID     int8 // raft ID that it is addressed to; answers: that was asked
	fromID   int8
	run      int8 // of the asker's process
	ok       bool
	term     int32
	asked    int32 // answers: term of the request
	number   int32
	lastTerm int32
	lastLen  int16
	commit   int16
	sent     int64 // boot time of the asker
	age      int64
	log      []entry
}

func (w *leaseWorld) post(m msg) {
	if len(w.msgs) == maxMsgs {
		w.msgs = append(w.msgs[:0], w.msgs[1:]...)
	}
	w.msgs = append(w.msgs, m)
}

func (w *leaseWorld) setTerm(nd *node, term int32) {
	if term > nd.term {
		nd.prevTerm = nd.term
		nd.term, nd.voted = term, -1
	}
}

// stepDown ends a leadership as raft does: its replication goroutines are told
// later, and may send once more (linger).
func (w *leaseWorld) stepDown(n int) {
	nd := &w.nodes[n]
	if nd.role == leader {
		if w.off.on(Prompt) {
			nd.linger = nd.lease.term
		}
	}
	nd.role = follower
}

func (w *leaseWorld) campaign(n int) {
	nd := &w.nodes[n]
	if nd.empty() || !nd.admitted || !nd.conf().has(nd.id) || nd.role == leader {
		return
	}
	w.stepDown(n)
	w.setTerm(nd, nd.term+1)
	w.saw(n, nd.term) // a candidacy of our own ends our older lease
	nd.voted, nd.role, nd.votes = nd.id, candidate, 1<<nd.id
	w.began[n] = w.waitClock(n)
	if w.o.say != nil {
		w.o.tell("n%d stands for term %d", n, nd.term)
	}
	for id := int8(0); id < w.ids; id++ {
		if nd.conf().has(id) && id != nd.id {
			w.post(msg{kind: mVote, from: int8(n), to: w.owner[id], toID: id, fromID: nd.id, run: nd.run,
				term: nd.term, lastTerm: nd.lastTerm(), lastLen: int16(len(nd.log))})
		}
	}
	w.count(n)
}

func (w *leaseWorld) count(n int) {
	nd := &w.nodes[n]
	if c := nd.conf(); nd.role == candidate && 2*(nd.votes&c).n() > c.n() {
		nd.role, nd.linger = leader, 0
		nd.match = [maxIDs]int16{}
		nd.append(entry{kind: kNoop, term: nd.term})
		nd.barrier = len(nd.log)
		if w.o.say != nil {
			w.o.tell("n%d leads term %d", n, nd.term)
		}
		w.lead(n, nd.term)
		w.advanceCommit(n)
	}
}

func (w *leaseWorld) sendAppend(n int, id int8, beat bool) {
	nd := &w.nodes[n]
	m := msg{kind: mAppend, from: int8(n), to: w.owner[id], toID: id, fromID: nd.id, run: nd.run, term: nd.term, sent: w.stamp(n)}
	if w.numbers++; true {
		m.number = w.numbers
	}
	if beat {
		m.kind = mBeat
	} else {
		m.log, m.commit = nd.log, int16(nd.commit)
	}
	if nd.role != leader {
		m.term = nd.linger
	}
	w.post(m)
}

// deliver hands a message to the process it is for.
func (w *leaseWorld) deliver(m msg) {
	n := int(m.to)
	nd := &w.nodes[n]
	if m.kind >= mAppendAnswer {
		if m.run != nd.run {
			return
		}
		if m.fromID != m.toID && w.off.on(AnswerID) {
			w.saw(n, m.term) // as the transport does, before it looks at the ID
			return
		}
	}
	switch m.kind {
	case mAppend, mBeat:
		w.onAppend(n, m)
	case mVote:
		w.onVote(n, m)
	case mTimeoutNow:
		w.campaign(n)
	case mAppendAnswer:
		w.onAppendAnswer(n, m)
	case mVoteAnswer:
		w.saw(n, m.term)
		if m.term > nd.term {
			w.stepDown(n)
			w.setTerm(nd, m.term)
		}
		if m.ok && nd.role == candidate && m.asked == nd.term {
			nd.votes |= 1 << m.toID
			w.count(n)
		}
	}
}

func (w *leaseWorld) reply(m msg, r msg) {
	r.from, r.to, r.toID, r.run, r.asked = m.to, m.from, m.toID, m.run, m.term
	r.sent, r.number, r.fromID = m.sent, m.number, w.nodes[m.to].id
	w.post(r)
}

func (w *leaseWorld) onAppend(n int, m msg) {
	nd := &w.nodes[n]
	if !nd.admitted && w.off.on(EmptySilentAppend) {
		return
	}
	age := w.age(n, m.term)
	if w.off.on(CreditStampEarly) {
		nd.lease.take(m.term, w.mono(n))
	} else {
		w.late[n] = lateStamp{true, m.term} // after the answer has left, some time
	}
	w.saw(n, m.term)
	if m.term < nd.term {
		// Past the main loop, raft's heartbeat handler has seen the old term and
		// puts it back (FACTS: a voter went back from term 6 to 5).
		if w.off.on(MainLoop) || m.kind != mBeat || m.term != nd.prevTerm || nd.role == leader {
			w.reply(m, msg{kind: mAppendAnswer, term: nd.term})
			return
		}
		nd.term = m.term
	}
	if m.term > nd.term || nd.role != follower {
		w.stepDown(n)
		w.setTerm(nd, m.term)
	}
	match := int16(0)
	if m.kind == mAppend {
		// The leader's whole log: a follower keeps what it has beyond it only
		// where the rest agrees.
		if l := len(m.log); len(nd.log) < l || nd.log[l-1].term != m.log[l-1].term {
			nd.log = m.log
		}
		match = int16(len(m.log))
		nd.commit = max(nd.commit, min(int(m.commit), len(m.log)))
		nd.admitted = true
	}
	w.reply(m, msg{kind: mAppendAnswer, ok: true, term: nd.term, lastLen: match, age: age})
}

func (w *leaseWorld) onVote(n int, m msg) {
	nd := &w.nodes[n]
	if !nd.admitted && w.off.on(EmptySilentVote) {
		return
	}
	w.saw(n, m.term)
	if m.term < nd.term {
		w.reply(m, msg{kind: mVoteAnswer, term: nd.term})
		return
	}
	if m.term > nd.term {
		w.stepDown(n)
		w.setTerm(nd, m.term)
	}
	ok := (nd.voted == -1 || nd.voted == m.fromID) &&
		(m.lastTerm > nd.lastTerm() || m.lastTerm == nd.lastTerm() && int(m.lastLen) >= len(nd.log))
	if ok {
		nd.voted = m.fromID
	}
	if w.o.say != nil && ok {
		w.o.tell("n%d votes for n%d in term %d", n, m.from, m.term)
	}
	w.reply(m, msg{kind: mVoteAnswer, term: nd.term, ok: ok})
}

func (w *leaseWorld) onAppendAnswer(n int, m msg) {
	nd := &w.nodes[n]
	w.saw(n, m.term)
	success := m.ok && m.term == m.asked
	if success && m.asked == nd.lease.term || !w.off.on(OwnTerm) {
		sent := m.sent
		if !w.off.on(SendTime) {
			sent = w.stamp(n)
		}
		w.ack(n, m.toID, sent, m.age)
		if nd.op.lower && m.number > nd.op.sentAfter {
			nd.op.confirmed |= 1 << m.toID
		}
	}
	if m.term > nd.term {
		w.stepDown(n) // raft does not take the term over here
	}
	if success && nd.role == leader && m.asked == nd.term {
		nd.match[m.toID] = max(nd.match[m.toID], m.lastLen)
		w.advanceCommit(n)
	}
}

func (w *leaseWorld) advanceCommit(n int) {
	nd := &w.nodes[n]
	c := nd.conf()
	for i := len(nd.log); i > nd.commit && nd.log[i-1].term == nd.term; i-- {
		have := 0
		for id := int8(0); id < w.ids; id++ {
			if c.has(id) && (id == nd.id || int(nd.match[id]) >= i) {
				have++
			}
		}
		if 2*have > c.n() {
			nd.commit = i
			return
		}
	}
}
