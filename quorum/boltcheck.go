package quorum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
)

// bbolt maps its file and trusts it: a damaged or short one makes it panic or
// die of SIGBUS, an emptied one is taken for new, and a damaged list of free
// pages makes it write over what is in use. Its own check runs in a goroutine
// of its own, where a panic cannot be caught. So the file is checked here, as
// plain bytes, before bbolt sees it (format: bbolt page.go, db.go, freelist.go).
//
// Values carry no checksums: a changed byte inside one is found only where it
// makes the record unreadable (checkRecords).

const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltElement    = 16
	boltBucket     = 16
	boltMetaSize   = 64 // with its checksum, which is the last 8 bytes

	boltBranch   = 0x01
	boltLeaf     = 0x02
	boltMetaFlag = 0x04
	boltFreelist = 0x10

	boltSubBucket = 0x01 // flag of a leaf element

	boltDepth = 64 // deeper than any tree of pages that fits into memory
)

type boltMeta struct {
	pageSize                   uint32
	root, freelist, high, txid uint64
}

// boltFile is a bbolt file as bytes, and which of its pages are accounted for.
type boltFile struct {
	b    []byte
	meta boltMeta
	used []bool
}

// checkBolt reports the first damage found in the file.
func checkBolt(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return checkBoltBytes(b)
}

func checkBoltBytes(b []byte) error {
	if len(b) == 0 {
		return errors.New("it is empty")
	}
	meta, err := newestMeta(b)
	if err != nil {
		return err
	}
	if want := meta.high * uint64(meta.pageSize); meta.high > uint64(len(b)) || want > uint64(len(b)) {
		return fmt.Errorf("it is cut short: %d bytes of at least %d", len(b), want)
	}
	f := &boltFile{b: b, meta: meta, used: make([]bool, meta.high)}
	f.used[0], f.used[1] = true, true
	if err := f.free(); err != nil {
		return err
	}
	if err := f.tree(meta.root, 0); err != nil {
		return err
	}
	for id, used := range f.used {
		if !used {
			return fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return nil
}

// newestMeta returns the newer of the two headers. A header fits into one sector
// and is replaced in turn, so after a power loss both are whole and one step
// apart; bbolt itself would go back to the older one without a word.
func newestMeta(b []byte) (boltMeta, error) {
	first, err := readMeta(b, 0)
	if err != nil {
		return first, fmt.Errorf("its first header: %w", err)
	}
	second, err := readMeta(b, int(first.pageSize))
	if err != nil {
		return first, fmt.Errorf("its second header: %w", err)
	}
	newer, older := first, second
	if second.txid > first.txid {
		newer, older = second, first
	}
	switch {
	case newer.txid != older.txid+1 || first.txid%2 != 0:
		return newer, fmt.Errorf("its headers do not follow each other (%d, %d)", first.txid, second.txid)
	case first.pageSize != second.pageSize:
		return newer, errors.New("its headers differ in the page size")
	case newer.high < 3 || newer.root >= newer.high:
		return newer, errors.New("its header names pages that are not there")
	}
	return newer, nil
}

func readMeta(b []byte, at int) (m boltMeta, err error) {
	if len(b) < at+boltPageHeader+boltMetaSize {
		return m, errors.New("it is cut short")
	}
	if flags := ne.Uint16(b[at+8:]); flags != boltMetaFlag {
		return m, errors.New("no header of a raft store")
	}
	p := b[at+boltPageHeader:]
	switch {
	case ne.Uint32(p) != boltMagic:
		return m, errors.New("not a raft store")
	case ne.Uint32(p[4:]) != boltVersion:
		return m, fmt.Errorf("version %d is not known", ne.Uint32(p[4:]))
	}
	h := fnv.New64a()
	_, _ = h.Write(p[:boltMetaSize-8])
	if h.Sum64() != ne.Uint64(p[boltMetaSize-8:]) {
		return m, errors.New("damaged (checksum)")
	}
	m = boltMeta{pageSize: ne.Uint32(p[8:]), root: ne.Uint64(p[16:]), freelist: ne.Uint64(p[32:]), high: ne.Uint64(p[40:]), txid: ne.Uint64(p[48:])}
	if m.pageSize < 512 || m.pageSize > 1<<20 {
		return m, fmt.Errorf("page size %d is impossible", m.pageSize)
	}
	return m, nil
}

var ne = binary.NativeEndian

type boltPage struct {
	id    uint64
	flags uint16
	count int
	data  []byte // with the header, overflow pages too
}

// take returns a page and marks it, with its overflow, as accounted for.
func (f *boltFile) take(id uint64) (boltPage, error) {
	if id < 2 || id >= f.meta.high {
		return boltPage{}, fmt.Errorf("page %d is outside of the file", id)
	}
	size := uint64(f.meta.pageSize)
	head := f.b[id*size:]
	p := boltPage{id: ne.Uint64(head), flags: ne.Uint16(head[8:]), count: int(ne.Uint16(head[10:]))}
	overflow := uint64(ne.Uint32(head[12:]))
	if p.id != id {
		return p, fmt.Errorf("page %d says that it is page %d", id, p.id)
	}
	if id+overflow >= f.meta.high {
		return p, fmt.Errorf("page %d is longer than the file", id)
	}
	for i := id; i <= id+overflow; i++ {
		if err := f.mark(i); err != nil {
			return p, err
		}
	}
	p.data = head[:(overflow+1)*size]
	return p, nil
}

func (f *boltFile) mark(id uint64) error {
	if id < 2 || id >= f.meta.high {
		return fmt.Errorf("page %d is outside of the file", id)
	}
	if f.used[id] {
		return fmt.Errorf("page %d is used twice", id)
	}
	f.used[id] = true
	return nil
}

// free takes in the list of free pages.
func (f *boltFile) free() error {
	p, err := f.take(f.meta.freelist)
	if err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	if p.flags != boltFreelist {
		return fmt.Errorf("page %d is no list of free pages", p.id)
	}
	ids, n := p.data[boltPageHeader:], uint64(p.count)
	if n == 0xFFFF { // too many for the header: the count is the first of the ids
		n, ids = ne.Uint64(ids), ids[8:]
	}
	if n > uint64(len(ids))/8 {
		return errors.New("list of free pages: longer than its page")
	}
	last := uint64(0)
	for i := range n {
		id := ne.Uint64(ids[8*i:])
		if id <= last {
			return errors.New("list of free pages: out of order")
		}
		if err := f.mark(id); err != nil {
			return fmt.Errorf("list of free pages: %w", err)
		}
		last = id
	}
	return nil
}

// tree takes in the pages of a bucket, from its root.
func (f *boltFile) tree(root uint64, depth int) error {
	if depth > boltDepth {
		return errors.New("its pages go round in a circle")
	}
	p, err := f.take(root)
	if err != nil {
		return err
	}
	return f.page(p, depth)
}

func (f *boltFile) page(p boltPage, depth int) error {
	if boltPageHeader+p.count*boltElement > len(p.data) {
		return fmt.Errorf("page %d holds more elements than fit", p.id)
	}
	if p.flags != boltBranch && p.flags != boltLeaf || p.flags == boltBranch && p.count == 0 {
		return fmt.Errorf("page %d is of no known kind", p.id)
	}
	var last []byte
	for i := range p.count {
		at := boltPageHeader + i*boltElement
		e := p.data[at:]
		key, value, flags, err := element(e, p.flags)
		if err != nil {
			return fmt.Errorf("page %d: %w", p.id, err)
		}
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("page %d: keys out of order", p.id)
		}
		last = key
		switch {
		case p.flags == boltBranch:
			err = f.tree(ne.Uint64(e[8:]), depth+1)
		case flags == boltSubBucket:
			err = f.bucket(value, depth+1)
		case flags != 0:
			err = fmt.Errorf("page %d: element of no known kind", p.id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// element returns what an element of a branch or leaf page says.
func element(e []byte, kind uint16) (key, value []byte, flags uint32, err error) {
	var pos, ksize, vsize uint64
	if kind == boltBranch {
		pos, ksize = uint64(ne.Uint32(e)), uint64(ne.Uint32(e[4:]))
	} else {
		flags = ne.Uint32(e)
		pos, ksize, vsize = uint64(ne.Uint32(e[4:])), uint64(ne.Uint32(e[8:])), uint64(ne.Uint32(e[12:]))
	}
	if pos < boltElement || pos+ksize+vsize > uint64(len(e)) {
		return nil, nil, 0, errors.New("element outside of the page")
	}
	return e[pos : pos+ksize], e[pos+ksize : pos+ksize+vsize], flags, nil
}

// bucket takes in a bucket that is the value of an element: with pages of its
// own, or in line.
func (f *boltFile) bucket(value []byte, depth int) error {
	if len(value) < boltBucket {
		return errors.New("a bucket is cut short")
	}
	if root := ne.Uint64(value); root != 0 {
		return f.tree(root, depth)
	}
	page := value[boltBucket:]
	if len(page) < boltPageHeader {
		return errors.New("a bucket is cut short")
	}
	p := boltPage{flags: ne.Uint16(page[8:]), count: int(ne.Uint16(page[10:])), data: page}
	if p.flags != boltLeaf {
		return errors.New("a bucket in line is no leaf")
	}
	return f.page(p, depth)
}
