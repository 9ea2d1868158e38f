package model

// Groups of faults that a schedule may be without.
const (
	dTamper uint8 = 1 << iota
	dCrash
	dLite
	dAside
	dElect
	dLate
)

type dataMove struct {
	name   string
	weight int
	group  uint8
	do     func(w *dataWorld, st Step)
}

var dataMoves = []dataMove{
	{"elect", 8, dElect, func(w *dataWorld, st Step) { w.elect(w.pick(st[1])) }},
	{"elect where nobody leads", 8, 0, func(w *dataWorld, st Step) {
		if w.leader < 0 || !w.nodes[w.leader].up {
			w.elect(w.pick(st[1]))
		}
	}},
	{"follow", 12, 0, func(w *dataWorld, st Step) { w.follow(w.pick(st[1])) }},
	{"hear", 12, 0, func(w *dataWorld, st Step) { w.hear(w.pick(st[1])) }},
	{"loop", 12, 0, func(w *dataWorld, st Step) { w.loop(w.pick(st[1]), st[2]&1 == 0) }},
	{"connect", 14, 0, func(w *dataWorld, st Step) { w.connect(w.pick(st[1])) }},
	{"frame", 14, 0, func(w *dataWorld, st Step) { w.frame(w.pick(st[1]), int8(st[2]%dbs), st[3]&3 != 0) }},
	{"apply", 4, dLate, func(w *dataWorld, st Step) { w.applyLate(w.pick(st[1])) }},
	{"ask", 5, 0, func(w *dataWorld, st Step) { w.ask(w.pick(st[1])) }},
	{"mark", 10, 0, func(w *dataWorld, st Step) { w.mark(w.pick(st[1])) }},
	{"report", 12, 0, func(w *dataWorld, st Step) {
		if w.leader >= 0 {
			w.tell(w.pick(st[1]))
		}
	}},
	{"everybody reports", 10, 0, func(w *dataWorld, st Step) {
		missing := rarely(st[1])
		for y := range w.n {
			if missing>>y&1 == 0 && w.leader >= 0 {
				w.follow(y)
				w.loop(y, st[2]>>y&1 == 0)
				w.tell(y)
			}
		}
		w.choose()
	}},
	{"fail over", 8, 0, func(w *dataWorld, st Step) {
		w.elect(w.pick(st[1]))
		missing := rarely(st[2] ^ 1)
		for y := range w.n {
			if missing>>y&1 == 0 && w.leader >= 0 {
				w.follow(y)
				w.loop(y, st[3]>>y&1 == 0)
				w.tell(y)
			}
		}
		w.choose()
		for range 4 {
			w.open()
		}
	}},
	{"choose", 12, 0, func(w *dataWorld, st Step) { w.choose() }},
	{"open", 28, 0, func(w *dataWorld, st Step) {
		for range 1 + st[1]&3 {
			w.open()
		}
	}},
	{"replicate", 14, 0, func(w *dataWorld, st Step) {
		y := w.pick(st[1])
		w.follow(y)
		w.hear(y)
		w.loop(y, true)
		w.connect(y)
		if st[2]&1 != 0 {
			w.mark(y)
		}
		for range st[3] & 3 {
			w.frame(y, int8(st[2]>>1&1), true)
		}
	}},
	{"poll", 8, 0, func(w *dataWorld, st Step) { w.poll(w.pick(st[1]), w.pick(st[2])) }},
	{"poll everybody and record", 8, 0, func(w *dataWorld, st Step) {
		if w.leader >= 0 {
			for y := range w.n {
				if st[1]>>y&1 == 0 {
					w.poll(int(w.leader), y)
				}
			}
			w.record()
		}
	}},
	{"record", 3, 0, func(w *dataWorld, st Step) { w.record() }},
	{"write", 22, 0, func(w *dataWorld, st Step) {
		n := w.pick(st[1])
		for i := range w.n {
			if m := (n + i) % w.n; w.nodes[m].gate || w.nodes[m].op.on {
				n = m
				break
			}
		}
		for range 1 + st[3]&3 {
			w.write(n, int8(st[2]>>6&st[2]&1))
		}
	}},
	{"cut a stream", 4, 0, func(w *dataWorld, st Step) {
		nd := &w.nodes[w.pick(st[1])]
		if nd.stream {
			w.cutStream(nd)
			nd.looped = false
		}
	}},
	{"lose the grant", 2, dLite, func(w *dataWorld, st Step) { w.endRole(&w.nodes[w.pick(st[1])]) }},
	{"set aside", 6, dAside, func(w *dataWorld, st Step) { w.setAside(w.pick(st[1])) }},
	{"kill litefence", 5, dCrash, func(w *dataWorld, st Step) { w.crash(w.pick(st[1])) }},
	{"start litefence", 8, dCrash, func(w *dataWorld, st Step) { w.nodes[w.pick(st[1])].up = true }},
	{"restart LiteFS", 4, dLite, func(w *dataWorld, st Step) {
		n := w.pick(st[1])
		w.stopLite(n)
		w.startLite(n)
		if w.o.say != nil {
			w.o.tell("n%d: LiteFS is restarted", n)
		}
	}},
	{"back up", 4, dTamper, func(w *dataWorld, st Step) {
		nd := &w.nodes[w.pick(st[1])]
		nd.backup = nd.files
	}},
	{"restore", 4, dTamper, func(w *dataWorld, st Step) {
		n := w.pick(st[1])
		w.tamper(n, w.nodes[n].backup, "restored")
	}},
	{"wipe", 2, dTamper, func(w *dataWorld, st Step) { w.tamper(w.pick(st[1]), files{}, "wiped") }},
}

var dataTables = tables(dataMoves)

func tables(moves []dataMove) (t [64][256]uint8) {
	weights, groups := make([]int, len(moves)), make([]uint8, len(moves))
	for i, m := range moves {
		weights[i], groups[i] = m.weight, m.group
	}
	for set := range t {
		t[set] = table(uint8(set), weights, groups)
	}
	return t
}

func (w *dataWorld) pick(b uint8) int { return int(b) % w.n }

func (w *dataWorld) move(st Step) {
	if w.copied {
		copiedMoves[copiedTables[w.groups][st[0]]].do(w, st)
		return
	}
	dataMoves[dataTables[w.groups][st[0]]].do(w, st)
}
