package fusefs

import (
	"sync"
	"sync/atomic"
)

// pipe carries lower writes out behind the application's back, in order: one
// that no commit point depends on alone is acknowledged at once, and the next
// is on its way up while LiteFS takes it. Whoever depends on them asks finish:
// the write of a commit frame, an fsync, a write of the database, the end of
// the transaction. A write that failed is told there, and those behind it are
// not carried out.
type pipe struct {
	db    *database
	low   atomic.Int64 // lowest offset under way in -wal; 0 = none
	pages int          // writes of the database file under way
	lost  bool         // err is that of a write of the database file

	mu    sync.Mutex
	idle  sync.Cond
	queue []lowerWrite
	spare []lowerWrite // the other half of a double buffer
	busy  bool
	err   error
}

// lowerWrite is one write under way. Its ticket is given back when LiteFS has
// taken it, so that a fence waits for it.
type lowerWrite struct {
	file   *lowerFile
	data   *[]byte
	off    int64
	ticket Ticket
	kind   Kind
}

// pipeDepth bounds what is under way; a writer that is faster waits.
const pipeDepth = 64

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (p *pipe) init(d *database) { p.db, p.idle.L = d, &p.mu }

// add takes a copy of data and its ticket over. An error is one of an earlier
// write of the same transaction; the ticket is then still the caller's.
func (p *pipe) add(w lowerWrite, data []byte) error {
	w.data = buffers.Get().(*[]byte)
	*w.data = append((*w.data)[:0], data...)
	w.file.refs.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) >= pipeDepth || p.err != nil && p.busy {
		p.idle.Wait()
	}
	if err := p.takeErr(); err != nil {
		w.free()
		return err
	}
	p.queue = append(p.queue, w)
	if low := p.low.Load(); w.kind == KindWAL && (low == 0 || w.off < low) {
		p.low.Store(w.off)
	}
	if w.kind == KindDatabase {
		p.pages++
	}
	if !p.busy {
		p.busy = true
		go p.run()
	}
	return nil
}

func (w *lowerWrite) free() {
	w.file.release()
	buffers.Put(w.data)
}

// run carries out what is queued, and ends.
func (p *pipe) run() {
	p.mu.Lock()
	for len(p.queue) > 0 {
		batch := p.queue
		p.queue, p.spare = p.spare[:0], batch
		err, lost := p.err, p.lost
		p.idle.Broadcast()
		p.mu.Unlock()
		pages := 0
		for i := range batch {
			if err == nil {
				err = p.do(&batch[i])
				lost = err != nil && batch[i].kind == KindDatabase
			}
			if batch[i].kind == KindDatabase {
				pages++
			}
			p.db.fs.gate.Leave(batch[i].ticket)
			batch[i].free()
		}
		p.mu.Lock()
		p.err, p.lost = err, lost
		p.pages -= pages
	}
	if p.err != nil {
		// What was acknowledged is not there: not its size, not its pages.
		p.db.forgetSizes()
		p.db.suspect.Store(true)
	}
	p.busy = false
	if p.err == nil {
		p.low.Store(0)
	}
	p.idle.Broadcast()
	p.mu.Unlock()
}

func (p *pipe) do(w *lowerWrite) error {
	if w.kind == KindWAL {
		if err := p.db.ensureWrite(); err != nil {
			return err
		}
	}
	return writeAll(w.file.fd, *w.data, w.off)
}

// drain waits until nothing is under way. Called with mu held.
func (p *pipe) drain() {
	for p.busy {
		p.idle.Wait()
	}
}

// finish waits until nothing is under way, and returns the error of what was.
// It is told once: SQLite rolls the transaction back, and must be able to.
func (p *pipe) finish() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drain()
	return p.takeErr()
}

// wait is finish without taking the error.
func (p *pipe) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drain()
}

// waitFor waits where a read of -wal that ends at end may meet a frame that is
// under way, and fails where it may meet one that was not written.
func (p *pipe) waitFor(end int64) error {
	if low := p.low.Load(); low == 0 || end <= low {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drain()
	return p.err
}

// waitPages waits for writes of the database file: the kernel asks for a page
// that it has dropped. It does not wait for others, which may wait for whoever
// waits for this page (ensureWrite, dropPages). An error is that of a write
// which may have been this page's.
func (p *pipe) waitPages() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.pages > 0 {
		p.idle.Wait()
	}
	if p.lost {
		return p.err
	}
	return nil
}

func (p *pipe) takeErr() error {
	err := p.err
	p.err, p.lost = nil, false
	if !p.busy {
		p.low.Store(0)
	}
	return err
}
