package model

// copiedMoves are those of Data, without backups that are restored, and what copies need.
var copiedMoves = append(withoutTampering(), []dataMove{
	{"report what is there", 7, 0, func(w *dataWorld, st Step) {
		y := w.pick(st[1])
		w.sayCopies(y)
		if st[2]&3 != 0 {
			w.hearCopies(y, w.said[y])
		}
	}},
	{"hear what is there", 6, 0, func(w *dataWorld, st Step) {
		y := w.pick(st[1])
		s := w.said[y]
		if st[2]&1 != 0 {
			s = w.older[y]
		}
		w.hearCopies(y, s)
	}},
	{"replicate and report", 20, 0, func(w *dataWorld, st Step) {
		late := rarely(st[1])
		for y := range w.n {
			if late>>y&1 != 0 {
				continue
			}
			w.follow(y)
			w.hear(y)
			w.loop(y, true)
			w.connect(y)
			w.mark(y)
			for i := range int8(dbs) {
				for range int(st[2]>>(2*i)) & 3 {
					w.frame(y, i, true)
				}
			}
			w.sayCopies(y)
			w.hearCopies(y, w.said[y])
		}
	}},
	{"choose copies", 6, 0, func(w *dataWorld, st Step) { w.chooseCopies(w.opener(st[1]), int(st[2])) }},
	{"look whether they have everything", 6, 0, func(w *dataWorld, st Step) { w.lookCopies(w.opener(st[1])) }},
	{"write copies", 6, 0, func(w *dataWorld, st Step) { w.writeCopies(w.opener(st[1]), st[2]&1 == 0, int(st[3])) }},
	{"change copies", 14, 0, func(w *dataWorld, st Step) {
		n := w.opener(st[1])
		if st[3]>>5 == 0 {
			y := w.pick(st[2])
			w.hearCopies(y, w.older[y])
		}
		w.chooseCopies(n, int(st[2]))
		w.lookCopies(n)
		w.writeCopies(n, st[3]&3 != 0, int(st[3]>>2))
	}},
	{"write, and acknowledge in the midst of a change", 10, 0, func(w *dataWorld, st Step) {
		n, i := w.opener(st[1]), int8(st[2]%dbs)
		w.write(n, i)
		w.write(n, i)
		w.chooseCopies(n, int(st[2]>>1))
		w.lookCopies(n)
		for y := range w.n {
			if st[3]>>y&1 == 0 {
				w.frame(y, i, true)
				w.sayCopies(y)
				w.hearCopies(y, w.said[y])
			}
		}
		w.acknowledge(n)
		w.writeCopies(n, true, 0)
	}},
	{"commit what is pending", 3, 0, func(w *dataWorld, st Step) { w.settle() }},
	{"acknowledge", 20, 0, func(w *dataWorld, st Step) { w.acknowledge(w.opener(st[1])) }},
	{"give up waiting", 5, 0, func(w *dataWorld, st Step) { w.nodes[w.pick(st[1])].copies.waits[st[2]%dbs] = 0 }},
	{"hand off", 3, dElect, func(w *dataWorld, st Step) { w.handOff(w.opener(st[1]), w.pick(st[2])) }},
	{"wipe the data", 2, dTamper, func(w *dataWorld, st Step) { w.tamper(w.pick(st[1]), files{}, "wiped") }},
	{"replace a machine", 3, dTamper, func(w *dataWorld, st Step) { w.replace(w.pick(st[1])) }},
}...)

func withoutTampering() (rest []dataMove) {
	for _, m := range dataMoves {
		if m.group != dTamper {
			rest = append(rest, m)
		}
	}
	return rest
}

var copiedTables = tables(copiedMoves)

// opener is the first node from b on whose gate is open.
func (w *dataWorld) opener(b uint8) int {
	for i := range w.n {
		if n := (int(b) + i) % w.n; w.nodes[n].gate {
			return n
		}
	}
	return w.pick(b)
}
