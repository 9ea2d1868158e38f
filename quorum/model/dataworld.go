package model

import "github.com/litefence/litefence/policy"

const dbs = 2

var dbNames = [dbs]string{"a", "b"}

// content is one state of a database. Its number in the world's table stands
// for the checksum; two nodes at the same number have the same rows.
type content struct {
	parent int32
	txid   uint64
}

// files is LiteFS's data directory.
type files struct {
	db     [dbs]int32 // content; 0 = no such database
	oldest [dbs]int32 // where the retained transactions begin
	marker int32      // Open; 0 = none
}

type recordKind uint8

const (
	rOpen recordKind = iota
	rHeld
	rCopies
	rClose // that names a successor with everything
)

type record struct {
	kind recordKind
	node int8
	id   int32 // Open: of the opener
	term int32
	open int32 // number of the Open
	pos  [dbs]int32
	set  idSet // Copies
}

type report struct {
	has bool
	files
}

// dataNode is litefence and LiteFS on one machine.
type dataNode struct {
	files
	id      int32 // raft ID
	outside int32 // marker, where it is kept outside of LiteFS's directory
	backup  files
	witness bool
	touched bool // data was wiped or restored since it last reported

	up, lite bool
	applied  int   // of the log
	term     int32 // that it follows, or leads in
	leader   int8  // -1 = unknown
	looped   bool  // LiteFS has begun another turn of its loop since the last cut

	stream    bool
	from      int8
	under     int32 // Open that the stream began under
	answered  int32 // Open that the opener has answered "in my history" for; 0 = none
	answerTo  int32 // term, where marks are per term
	late      bool  // a frame that LiteFS has received and not applied
	lateDB    int8
	lateAt    int32
	lateBegin int32

	// As leader.
	reports [maxNodes]report
	peers   [maxNodes]report // as polled
	primary bool             // LiteFS is
	grant   int32            // 0 = none
	open    int32            // Open of this grant; 0 = not committed yet
	marked  bool
	gate    bool
	ending  bool // the role is being taken away: the gate stays shut
	op      dataOp
	copies  copies
}

type dataOp struct {
	on, landed bool
	grant      int32
	db         int8
	base, made int32
}

// dataWorld is the data of one cluster. Of the lease it assumes what leaseWorld
// shows: when an Open is committed, no other gate admits any more.
type dataWorld struct {
	off      Rules
	o        *oracle
	line     lineage
	groups   uint8
	nodes    [maxNodes]dataNode
	n        int
	contents []content
	log      []record
	opens    int32
	term     int32
	leader   int8
	grants   int32
	tampered bool // data was wiped or restored

	copied  bool // commits wait for copies (copies.go)
	ids     int32
	said    [maxNodes]copyAt // reports on their way
	older   [maxNodes]copyAt // and under an older Open
	pending []record         // appended, and it is unknown whether raft commits them
	kept    int              // so many of them the next leader has
}

func newDataWorld(off Rules, st Step, o *oracle) *dataWorld {
	w := &dataWorld{off: off, o: o, groups: st[0] % 64, leader: -1, contents: make([]content, 1, 64)}
	w.n = []int{3, 3, 2, 3, 4, 5, 1, 3}[st[1]%8]
	w.ids = int32(w.n)
	first := w.child(w.child(0))
	second := w.child(first)
	other := w.child(w.child(0))
	start := [...][3]int32{{0, 0, 0}, {first, second, 0}, {first, first, first}, {first, second, second}, {first, first, first}, {0, 0, 0}, {second, second, first}, {first, other, 0}}[st[2]%8]
	for i := range w.n {
		nd := &w.nodes[i]
		nd.up, nd.lite, nd.leader, nd.id = true, true, -1, int32(i)
		nd.db[0] = start[(int(st[3])+i)%3]
		nd.backup = nd.files
	}
	if st[2]>>3&7 == 0 && w.n > 1 {
		nd := &w.nodes[w.n-1]
		nd.witness, nd.lite, nd.files = true, false, files{}
	}
	if o.say != nil {
		for i := range w.n {
			o.tell("n%d: databases at %s, witness: %v", i, w.at(w.nodes[i].db), w.nodes[i].witness)
		}
	}
	return w
}

func (w *dataWorld) child(parent int32) int32 {
	w.contents = append(w.contents, content{parent, w.contents[parent].txid + 1})
	return int32(len(w.contents) - 1)
}

// descends reports whether a is b or was made from it.
func (w *dataWorld) descends(a, b int32) bool {
	for w.contents[a].txid > w.contents[b].txid {
		a = w.contents[a].parent
	}
	return a == b
}

// inHistory is litefs.InHistory: back from now, as far as what is retained.
func (w *dataWorld) inHistory(f *files, pos [dbs]int32) bool {
	for i, want := range pos {
		if want == 0 {
			continue
		}
		if !w.descends(f.db[i], want) || w.contents[want].txid < w.contents[f.oldest[i]].txid {
			return false
		}
	}
	return true
}

func (w *dataWorld) positions(db [dbs]int32) policy.Positions {
	p := policy.Positions{}
	for i, c := range db {
		if c != 0 {
			p[dbNames[i]] = policy.Pos{TXID: w.contents[c].txid, Checksum: uint64(c)}
		}
	}
	return p
}

func (w *dataWorld) fromPositions(p policy.Positions) (db [dbs]int32) {
	for i := range db {
		db[i] = int32(p[dbNames[i]].Checksum)
	}
	return db
}

// newest folds the first n records: the newest Open, what is held under it, and
// whether a Held record says so.
func (w *dataWorld) newest(n int) (open record, held [dbs]int32, ok bool) {
	for i := n - 1; i >= 0; i-- {
		if r := w.log[i]; r.kind == rOpen {
			held = r.pos
			if w.off.on(HeldPositions) {
				for _, h := range w.log[i+1 : n] {
					if h.kind != rCopies {
						held = h.pos
					}
				}
			}
			return r, held, true
		}
	}
	return record{}, held, false
}

// used reports whether, in the first n records, something is held under the
// newest Open.
func (w *dataWorld) used(n int) bool {
	for ; n > 0 && w.log[n-1].kind != rOpen; n-- {
		if w.log[n-1].kind == rHeld {
			return true
		}
	}
	return false
}

// append commits a record of the leader's, and what lies before it in its log.
func (w *dataWorld) append(r record) {
	w.settle()
	w.log = append(w.log, r)
}

func ref(open int32) policy.OpenRef {
	if open == 0 {
		return policy.OpenRef{}
	}
	return policy.OpenRef{Index: uint64(open), ID: "o"}
}

func (w *dataWorld) lineageAt(n int) policy.Lineage {
	open, held, ok := w.newest(n)
	if !ok {
		return policy.Lineage{}
	}
	l := policy.Lineage{Open: ref(open.open), Held: w.positions(held), Opened: w.positions(open.pos), Used: w.used(n)}
	w.copiesAt(n, open, &l)
	return l
}

func (w *dataWorld) report(n int, f files) policy.Report {
	nd := &w.nodes[n]
	r := policy.Report{Node: string(rune('0' + n)), ID: itoa(int(nd.id)), HasLiteFS: !nd.witness, Eligible: true, Positions: w.positions(f.db)}
	m := f.marker
	if !w.off.on(MarkerPerOpen) {
		// The mark names a term: it fits every Open of that term.
		if open, _, ok := w.newest(len(w.log)); ok && m != 0 && w.openTerm(m) == open.term {
			m = open.open
		}
	}
	r.Marker = ref(m)
	l := w.lineageAt(len(w.log))
	if !w.off.on(InStep) || w.copied && !w.off.on(CopiesMarked) && (r.Positions.Equal(l.Held) || r.Positions.Equal(l.Opened)) {
		r.Marker = l.Open
	}
	if !w.off.on(NotBehind) && r.InStep(l) && !l.Open.IsZero() {
		r.Marker = l.Open
		for db, pos := range l.Held { // the rule is policy's: pass it by
			if r.Positions[db].TXID < pos.TXID {
				r.Positions[db] = pos
			}
		}
	}
	return r
}

func (w *dataWorld) openTerm(open int32) int32 {
	for _, r := range w.log {
		if r.kind == rOpen && r.open == open {
			return r.term
		}
	}
	return 0
}

// at formats contents as database:transaction#content.
func (w *dataWorld) at(db [dbs]int32) (s string) {
	for i, c := range db {
		if c != 0 {
			s += " " + dbNames[i] + ":" + itoa(int(w.contents[c].txid)) + "#" + itoa(int(c))
		}
	}
	if s == "" {
		return "nothing"
	}
	return s[1:]
}

func itoa(n int) string {
	if n >= 10 {
		return itoa(n/10) + string(rune('0'+n%10))
	}
	return string(rune('0' + n))
}
