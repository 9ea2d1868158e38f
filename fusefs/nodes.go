package fusefs

import (
	"sync"
)

// Fixed node ids. The others count up and are never used again: LiteFS derives
// inode numbers from names, so its new -journal would be taken for the old one.
const (
	rootID    = 1
	primaryID = 2
	blockedID = 3
	firstID   = 16
)

// node is a name in the mount that the kernel knows of, or did.
type node struct {
	id   uint64
	name string
	kind Kind
	db   *database // of database, journal, wal and shm files; else nil
	born uint64    // of a database: no drop up to this transaction was its own

	lookups uint64  // guarded by nodeTable.mu
	shm     *memory // of a -shm
}

// nodeTable maps names and ids to nodes.
type nodeTable struct {
	mu     sync.Mutex
	byID   map[uint64]*node
	byName map[string]*node // the present bearer of the name
	last   uint64
}

func (t *nodeTable) init() {
	t.byID = map[uint64]*node{
		rootID:    {id: rootID, kind: KindRoot},
		primaryID: {id: primaryID, kind: KindPrimary, name: primaryName},
		blockedID: {id: blockedID, kind: KindBlocked, name: blockedName},
	}
	t.byName = map[string]*node{}
	t.last = firstID
}

func (t *nodeTable) get(id uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// lookup returns the node for a name, counted once more; fresh makes it a new
// one whatever was there.
func (t *nodeTable) lookup(name string, kind Kind, db *database, m *memory, fresh bool) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byName[name]
	if n == nil || fresh || n.shm != m || n.db != db {
		t.last++
		n = &node{id: t.last, name: name, kind: kind, db: db, shm: m}
		t.byID[n.id], t.byName[name] = n, n
		m.addRef()
	}
	n.lookups++
	return n
}

// each calls fn with the id of every node of d's database file: it may have an
// old one, of a file that was dropped, beside the one that bears the name.
func (t *nodeTable) each(d *database, fn func(id uint64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range t.byID {
		if n.db == d && n.kind == KindDatabase {
			fn(id)
		}
	}
}

// lookupDatabase is lookup for the database file. txid is asked where the node
// is new, before anything is opened through it.
func (t *nodeTable) lookupDatabase(name string, db *database, fresh bool, txid func(string) uint64) *node {
	t.mu.Lock()
	n := t.byName[name]
	known := n != nil && n.db == db && !fresh
	t.mu.Unlock()
	var born uint64
	if !known {
		born = txid(name)
	}
	n = t.lookup(name, KindDatabase, db, nil, fresh)
	t.mu.Lock()
	n.born = max(n.born, born)
	t.mu.Unlock()
	return n
}

// born is the transaction that the bearer of the name is younger than.
func (t *nodeTable) born(name string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byName[name]; n != nil {
		return n.born
	}
	return 0
}

// renew takes all names from their nodes, which live on under their ids.
func (t *nodeTable) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byName)
}

// drop takes the name from its node, which lives on under its id.
func (t *nodeTable) drop(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byName, name)
}

func (t *nodeTable) forget(id, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || id < firstID {
		return
	}
	if n.lookups -= min(count, n.lookups); n.lookups > 0 {
		return
	}
	delete(t.byID, id)
	if t.byName[n.name] == n {
		delete(t.byName, n.name)
	}
	n.shm.dropRef()
}

// closeAll ends what nodes keep open, once the mount has ended.
func (t *nodeTable) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range t.byID {
		n.shm.dropRef()
		delete(t.byID, id)
	}
}

// handle is an open file.
type handle struct {
	id    uint64
	node  *node
	lower *lowerFile // nil for -shm, .primary, .primary.blocked and directories

	mu   sync.Mutex
	text []byte  // of .primary and .primary.blocked, taken at offset 0
	dir  []entry // of a directory, taken at offset 0
}

// handleTable maps file handles to open files.
type handleTable struct {
	mu   sync.RWMutex
	m    map[uint64]*handle
	last uint64
}

func (t *handleTable) init() { t.m = map[uint64]*handle{} }

func (t *handleTable) add(h *handle) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	h.id = t.last
	t.m[h.id] = h
	return h
}

func (t *handleTable) get(id uint64) *handle {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[id]
}

func (t *handleTable) remove(id uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.m[id]
	delete(t.m, id)
	return h
}
